"""The detections: one row each in the table of their subject; :data:`RULES` is all of them.

A rule's place in :data:`RULES` is its bit in the mask that session rows keep, and :data:`ORDER` names all
places: rows of another order are read without their mask (:meth:`pipeline.sessions.processor.SessionScorer.restore`).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events.context_signals import SIGNAL_BIT
from pipeline.detections.agents import AGENTS
from pipeline.detections.authentication import FACTORS
from pipeline.detections.baseline import BASELINE
from pipeline.detections.client import CLIENT
from pipeline.detections.data_and_rights import USAGE
from pipeline.detections.detection import (
    ATTACK_VERSION,
    FOREVER,
    Detection,
    Holds,
    Limits,
    Prefilter,
    Severity,
    View,
)
from pipeline.detections.device import DEVICE
from pipeline.detections.network import NETWORK
from pipeline.detections.posture import POSTURE
from pipeline.detections.verdicts import VERDICTS

__all__ = [
    "ATTACK_VERSION",
    "BIT",
    "DETECTIONS",
    "DETECTION_IDS",
    "FOREVER",
    "ORDER",
    "Detection",
    "Holds",
    "Limits",
    "Severity",
    "View",
    "firing",
    "learning",
    "order_of",
    "unknown",
]  # fmt: skip


def order_of(rule_ids: Iterable[str]) -> bytes:
    """Four bytes that name the detections and their order."""
    return blake2b("\n".join(rule_ids).encode(), digest_size=4).digest()


DETECTIONS: Final[tuple[Detection, ...]] = (
    *DEVICE, *POSTURE, *CLIENT, *FACTORS, *USAGE, *AGENTS, *BASELINE, *VERDICTS, *NETWORK,
)  # fmt: skip
DETECTION_IDS: Final = tuple(rule.id for rule in DETECTIONS)
ORDER: Final = order_of(DETECTION_IDS)
BIT: Final = {rule_id: index for index, rule_id in enumerate(DETECTION_IDS)}


def unknown(name: str) -> str:
    """What to tell somebody who calls a detection *name*, which none is called."""
    like = get_close_matches(name, DETECTION_IDS, n=3, cutoff=0.6)
    instead = f"do you mean {' or '.join(like)}?" if like else "`session-risk detections` lists them"
    return f"no detection is called {name!r}; {instead}"


_ANY_BIT: Final = -1
_SIGNALLED: Final = [(i, np.uint64(SIGNAL_BIT[rule.signal])) for i, rule in enumerate(DETECTIONS) if rule.signal]


def _bits(stirs: Prefilter | frozenset[Prefilter]) -> list[tuple[str, int]]:
    some = stirs if isinstance(stirs, frozenset) else (stirs,)
    return [prefilter if isinstance(prefilter, tuple) else (prefilter, _ANY_BIT) for prefilter in some]


_PREFILTERS: Final = [
    (index, rule.holds, [_bits(prefilter) for prefilter in rule.prefilter])
    for index, rule in enumerate(DETECTIONS)
    if rule.holds is not None
]


class _Prefiltered(dict[str, int]):
    """By the name of a fact, all bits that it has anywhere in the chunk; 1 where a number is not 0."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def __missing__(self, name: str) -> int:
        fact = self._view[name]
        bits = self[name] = int(fact.any() if fact.dtype.kind == "f" else np.bitwise_or.reduce(fact))
        return bits

    def by(self, stirs: list[list[tuple[str, int]]]) -> bool:
        """Whether the chunk has one of each of *stirs*."""
        for some in stirs:
            for name, bits in some:
                if self[name] & bits:
                    break
            else:
                return False
        return True


def firing(view: View, limits: tuple[Limits, ...], count: int) -> NDArray[np.uint64]:
    """Which detections hold after each event: bit *i* is ``RULES[i]``; shape ``(count,)``."""
    mask = np.zeros(count, np.uint64)
    stirred = _Prefiltered(view)
    for index, asked, stirs in _PREFILTERS:
        if stirred.by(stirs):
            holds = asked(view, limits[index])
            if holds.any():
                mask |= holds.astype(np.uint64) << np.uint64(index)
    if view["signals"].any():
        for index, bit in _SIGNALLED:
            mask |= (view["signals"] >> bit & np.uint64(1)) << np.uint64(index)
    return mask


def learning(view: View, limits: tuple[Limits, ...], index: int) -> list[str]:
    """Which detections do not know yet, after event *index*, what is normal, and keep still."""
    by_key = {name: column[index : index + 1] for name, column in view.items()}
    asked = zip(DETECTIONS, limits, strict=True)
    return [rule.id for rule, limit in asked if rule.learning is not None and rule.learning(by_key, limit)[0]]
