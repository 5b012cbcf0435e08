"""The detections: one row each in the table of their subject; :data:`DETECTIONS` is all of them.

A detection's index in :data:`DETECTIONS` is its bit in the mask that session rows store. :data:`ORDER` is a digest of
all indices: the mask of a row that was written under another order is not read
(:meth:`pipeline.sessions.processor.SessionProcessor.restore`).
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
    FOREVER,
    STEP_UP_MISSED,
    Bools,
    Detection,
    Limits,
    Prefilter,
    Severity,
    View,
)
from pipeline.detections.device import DEVICE
from pipeline.detections.mask import WORD_BITS
from pipeline.detections.network import NETWORK
from pipeline.detections.posture import POSTURE
from pipeline.detections.techniques import ATTACK_VERSION, TECHNIQUE, TECHNIQUES
from pipeline.detections.verdicts import VERDICTS

__all__ = [
    "ATTACK_VERSION",
    "BIT",
    "DETECTIONS",
    "DETECTION_IDS",
    "FACTS",
    "FOREVER",
    "MASK_WORDS",
    "ORDER",
    "STEP_UP_MISSED",
    "TECHNIQUE",
    "TECHNIQUES",
    "Bools",
    "Detection",
    "Limits",
    "Severity",
    "View",
    "digest_of_order",
    "firing",
    "learning",
    "unknown_detection",
]


def digest_of_order(detection_ids: Iterable[str]) -> bytes:
    """Digest of the detections and their order, 4 bytes."""
    return blake2b("\n".join(detection_ids).encode(), digest_size=4).digest()


DETECTIONS: Final[tuple[Detection, ...]] = (
    *DEVICE,
    *POSTURE,
    *CLIENT,
    *FACTORS,
    *USAGE,
    *AGENTS,
    *BASELINE,
    *VERDICTS,
    *NETWORK,
)
MASK_WORDS: Final = max(1, -(-len(DETECTIONS) // WORD_BITS))
"""Words that a mask of all detections has."""
DETECTION_IDS: Final = tuple(detection.id for detection in DETECTIONS)
ORDER: Final = digest_of_order(DETECTION_IDS)
BIT: Final = {detection_id: index for index, detection_id in enumerate(DETECTION_IDS)}

FACTS: Final = frozenset(detection.id for detection in DETECTIONS if detection.is_fact)
"""Ids of the detections that may end a session without asking anybody."""


def unknown_detection(name: str) -> str:
    """Error message for *name*, which is no detection's: the closest ids, or where to find them all."""
    similar = get_close_matches(name, DETECTION_IDS, n=3, cutoff=0.6)
    hint = f"do you mean {' or '.join(similar)}?" if similar else "`session-risk detections` lists them"
    return f"no detection is called {name!r}; {hint}"


_ANY_BIT: Final = -1
_SIGNALLED: Final = [
    (index, np.uint64(SIGNAL_BIT[detection.signal])) for index, detection in enumerate(DETECTIONS) if detection.signal
]


def _alternatives(prefilter: Prefilter | frozenset[Prefilter]) -> list[tuple[str, int]]:
    """The facts of which one suffices, each with the bits that count."""
    facts = prefilter if isinstance(prefilter, frozenset) else (prefilter,)
    return [fact if isinstance(fact, tuple) else (fact, _ANY_BIT) for fact in facts]


_PREFILTERS: Final = [
    (index, detection.holds, [_alternatives(prefilter) for prefilter in detection.prefilter])
    for index, detection in enumerate(DETECTIONS)
    if detection.holds is not None
]


class _ChunkBits(dict[str, int]):
    """Bits that each fact has anywhere in the chunk, by name; for a float, 1 if any value is not 0."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def __missing__(self, name: str) -> int:
        fact = self._view[name]
        bits = self[name] = int(fact.any() if fact.dtype.kind == "f" else np.bitwise_or.reduce(fact))
        return bits

    def satisfy(self, prefilters: list[list[tuple[str, int]]]) -> bool:
        """Whether the chunk has one fact of each of *prefilters*."""
        for alternatives in prefilters:
            for name, bits in alternatives:
                if self[name] & bits:
                    break
            else:
                return False
        return True


def firing(view: View, limits: tuple[Limits, ...], count: int) -> NDArray[np.uint64]:
    """Which detections hold after each event: a mask in which bit *i* is ``DETECTIONS[i]``, ``(count, MASK_WORDS)``."""
    mask = np.zeros((count, MASK_WORDS), np.uint64)
    chunk_bits = _ChunkBits(view)
    for index, holds_in, prefilters in _PREFILTERS:
        if chunk_bits.satisfy(prefilters):
            holds = holds_in(view, limits[index])
            if holds.any():
                word, bit = divmod(index, WORD_BITS)
                mask[:, word] |= holds.astype(np.uint64) << np.uint64(bit)
    if view["signals"].any():
        for index, signal_bit in _SIGNALLED:
            word, bit = divmod(index, WORD_BITS)
            mask[:, word] |= (view["signals"] >> signal_bit & np.uint64(1)) << np.uint64(bit)
    return mask


def learning(view: View, limits: tuple[Limits, ...], index: int) -> list[str]:
    """Which detections cannot fire after event *index*, because their baseline is not established yet."""
    event_view = {name: column[index : index + 1] for name, column in view.items()}
    return [
        detection.id
        for detection, limit in zip(DETECTIONS, limits, strict=True)
        if detection.learning is not None and detection.learning(event_view, limit)[0]
    ]
