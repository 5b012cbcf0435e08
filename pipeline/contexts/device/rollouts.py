"""Rollout tracker: what many devices of a tenant do within the same hour is a rollout, not an attack on each of them.

It counts from the state of the devices alone, in event time, so that a worker that takes over counts the same.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final, TypeVar

from pipeline.times import HOUR_MS, MINUTE_MS

WINDOW_MINUTES: Final = 60
"""Changes within so many minutes belong together."""
MIN_SHARE: Final = 0.05
MIN_DEVICES: Final = 3
"""A rollout is at least so large a share of the tenant's devices in this partition, and at least so many devices."""
_WINDOWS_KEPT: Final = 3
"""Windows that are kept, for devices that report late."""
MAX_TENANTS: Final = 65_536
"""Tenants whose devices are counted; of more, those with the oldest reports are not."""

K = TypeVar("K")


class RolloutTracker:
    """For the devices of one partition: how many are active, and how many have lately downgraded a fact."""

    def __init__(self) -> None:
        self._active: OrderedDict[str, Counter[int]] = OrderedDict()
        self._downgraded: OrderedDict[tuple[str, str], Counter[int]] = OrderedDict()

    def add_report(self, tenant: str, before_ms: int, at_ms: int) -> None:
        """Count a device that reports at *at_ms*, after *before_ms* (0: never); an older report is ignored."""
        if at_ms > before_ms:
            _move(_counts(self._active, tenant), before_ms // HOUR_MS, at_ms // HOUR_MS, _WINDOWS_KEPT)

    def add_downgrade(self, tenant: str, fact: str, before_ms: int, at_ms: int) -> None:
        """Count a device whose *fact* is downgraded at *at_ms*, and was last downgraded at *before_ms* (0: never)."""
        minutes = _counts(self._downgraded, (tenant, fact))
        _move(minutes, before_ms // MINUTE_MS, at_ms // MINUTE_MS, _WINDOWS_KEPT * WINDOW_MINUTES)

    def forget_downgrade(self, tenant: str, fact: str, at_ms: int) -> None:
        """Do not count the downgrade at *at_ms* any more: its device forgot it, so a worker that takes over cannot."""
        minutes, minute = self._downgraded.get((tenant, fact), Counter()), at_ms // MINUTE_MS
        if minutes[minute] > 1:
            minutes[minute] -= 1
        else:
            del minutes[minute]

    def is_rollout(self, tenant: str, fact: str, at_ms: int) -> bool:
        """Whether too many devices downgraded *fact* in the hour before *at_ms* for an attack on each of them."""
        minute, hour = at_ms // MINUTE_MS, at_ms // HOUR_MS
        minutes = self._downgraded.get((tenant, fact), Counter()).items()
        downgraded = sum(count for when, count in minutes if minute - WINDOW_MINUTES <= when <= minute)
        active = self._active.get(tenant, Counter())
        return downgraded >= max(MIN_DEVICES, MIN_SHARE * (active[hour] + active[hour - 1]))


def _counts(counters: OrderedDict[K, Counter[int]], key: K) -> Counter[int]:
    """The counter of *key*, from now on the last one used; of too many, the least recently used is dropped."""
    counts = counters.setdefault(key, Counter())
    counters.move_to_end(key)
    if len(counters) > MAX_TENANTS:
        counters.popitem(last=False)
    return counts


def _move(counts: Counter[int], before: int, now: int, kept: int) -> None:
    """Move one device from *before* to *now*, and drop what is more than *kept* before the newest."""
    if counts[before] > 1:
        counts[before] -= 1
    else:
        del counts[before]
    counts[now] += 1
    newest = max(counts)
    for old in [count for count in counts if count < newest - kept]:
        del counts[old]
