"""The fleet guard: what many devices of a tenant do in the same hour is a rollout, not an attack on each.

Counted from the devices' records alone, in event time, so that a worker that takes over counts the same.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final, TypeVar

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
WINDOW: Final = 60
"""Minutes in which changes belong together."""
SHARE: Final = 0.05
LEAST: Final = 3
"""A rollout is so large a share of the tenant's devices in this partition, and at least so many."""
_KEPT: Final = 3
"""Windows that are kept, for devices that report late."""
MOST_TENANTS: Final = 65_536
"""Whose devices are counted: of more, those that nothing was heard of for longest are not."""

K = TypeVar("K")


class RolloutTracker:
    """The devices of one partition: how many are heard of, and how many changed a fact for the worse."""

    def __init__(self) -> None:
        self._heard: OrderedDict[str, Counter[int]] = OrderedDict()
        self._fell: OrderedDict[tuple[str, str], Counter[int]] = OrderedDict()

    def hear(self, tenant: str, before: int, at: int) -> None:
        """A device, last heard at *before* ms (0: never), is heard at *at*; what is older counts not."""
        if at > before:
            _move(_of(self._heard, tenant), before // HOUR_MS, at // HOUR_MS, _KEPT)

    def fall(self, tenant: str, fact: str, before: int, at: int) -> None:
        """A device whose *fact* last fell at *before* ms (0: never) says at *at* that it has fallen."""
        _move(_of(self._fell, (tenant, fact)), before // MINUTE_MS, at // MINUTE_MS, _KEPT * WINDOW)

    def forget(self, tenant: str, fact: str, at: int) -> None:
        """A device remembers no more that its *fact* fell at *at* ms: whoever takes over does not know it."""
        minutes, minute = self._fell.get((tenant, fact), Counter()), at // MINUTE_MS
        if minutes[minute] > 1:
            minutes[minute] -= 1
        else:
            del minutes[minute]

    def is_rollout(self, tenant: str, fact: str, at: int) -> bool:
        """Whether too many devices let *fact* fall in the hour before *at*, ms, for an attack on each."""
        minute, hour = at // MINUTE_MS, at // HOUR_MS
        counted = self._fell.get((tenant, fact), Counter()).items()
        fallen = sum(number for when, number in counted if minute - WINDOW <= when <= minute)
        counts = self._heard.get(tenant, Counter())
        return fallen >= max(LEAST, SHARE * (counts[hour] + counts[hour - 1]))


def _of(counted: OrderedDict[K, Counter[int]], key: K) -> Counter[int]:
    """What is counted under *key*, which is used now; what is unused for longest makes room."""
    counts = counted.setdefault(key, Counter())
    counted.move_to_end(key)
    if len(counted) > MOST_TENANTS:
        counted.popitem(last=False)
    return counts


def _move(counts: Counter[int], before: int, now: int, kept: int) -> None:
    """One device more at *now*, one less at *before*; what is older than *kept* before the newest goes."""
    if counts[before] > 1:
        counts[before] -= 1
    else:
        del counts[before]
    counts[now] += 1
    newest = max(counts)
    for old in [count for count in counts if count < newest - kept]:
        del counts[old]
