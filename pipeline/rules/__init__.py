"""The detections: one row each in the table of their subject; :data:`RULES` is all of them.

A rule's place in :data:`RULES` is its bit in the mask that session rows keep, and :data:`ORDER` names all
places: rows of another order are read without their mask (:meth:`pipeline.scorer.SessionScorer.restore`).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.signals import SIGNAL_BIT
from pipeline.rules.agents import AGENTS
from pipeline.rules.baseline import BASELINE
from pipeline.rules.client import CLIENT
from pipeline.rules.device import DEVICE
from pipeline.rules.factors import FACTORS
from pipeline.rules.network import NETWORK
from pipeline.rules.posture import POSTURE
from pipeline.rules.rule import ATTACK_VERSION, FOREVER, Holds, Limits, Rule, Severity, View
from pipeline.rules.usage import USAGE
from pipeline.rules.verdicts import VERDICTS

__all__ = [
    "ATTACK_VERSION", "BIT", "FOREVER", "ORDER", "RULES", "RULE_IDS", "Holds", "Limits", "Rule", "Severity",
    "View", "firing", "learning", "order_of", "unknown",
]  # fmt: skip


def order_of(rule_ids: Iterable[str]) -> bytes:
    """Four bytes that name the detections and their order."""
    return blake2b("\n".join(rule_ids).encode(), digest_size=4).digest()


RULES: Final[tuple[Rule, ...]] = (
    *DEVICE, *POSTURE, *CLIENT, *FACTORS, *USAGE, *AGENTS, *BASELINE, *VERDICTS, *NETWORK,
)  # fmt: skip
RULE_IDS: Final = tuple(rule.id for rule in RULES)
ORDER: Final = order_of(RULE_IDS)
BIT: Final = {rule_id: index for index, rule_id in enumerate(RULE_IDS)}


def unknown(name: str) -> str:
    """What to tell somebody who calls a detection *name*, which none is called."""
    like = get_close_matches(name, RULE_IDS, n=3, cutoff=0.6)
    instead = f"do you mean {' or '.join(like)}?" if like else "`session-risk detections` lists them"
    return f"no detection is called {name!r}; {instead}"


_SIGNALLED: Final = [(i, np.uint64(SIGNAL_BIT[rule.signal])) for i, rule in enumerate(RULES) if rule.signal]


def firing(view: View, limits: tuple[Limits, ...], count: int) -> NDArray[np.uint64]:
    """Which detections hold after each event: bit *i* is ``RULES[i]``; shape ``(count,)``."""
    mask = np.zeros(count, np.uint64)
    for index, rule in enumerate(RULES):
        if rule.holds is not None:
            holds = rule.holds(view, limits[index])
            if holds.any():
                mask |= holds.astype(np.uint64) << np.uint64(index)
    if view["signals"].any():
        for index, bit in _SIGNALLED:
            mask |= (view["signals"] >> bit & np.uint64(1)) << np.uint64(index)
    return mask


def learning(view: View, limits: tuple[Limits, ...], index: int) -> list[str]:
    """Which detections do not know yet, after event *index*, what is normal, and keep still."""
    one = {name: column[index : index + 1] for name, column in view.items()}
    asked = zip(RULES, limits, strict=True)
    return [rule.id for rule, limit in asked if rule.learning is not None and rule.learning(one, limit)[0]]
