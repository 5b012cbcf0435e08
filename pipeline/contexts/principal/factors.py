"""What a principal context remembers of factors: when they were changed, and when a device was first seen.

A factor is changed in one session, the device that profits from it shows itself in another: only who knows
all sessions of a principal sees the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.contexts.device.rollouts import HOUR_MS
from schemas.members import DAY_MS

SETTLED: Final = 3
"""Sessions after which a device that was in none of them means something."""
MOST_CHANGES: Final = 8
MOST_DEVICES: Final = 16
_KEPT_MS: Final = 2 * DAY_MS
_ALWAYS: Final = 0
"""First seen before a new device would have meant anything."""


@dataclass(slots=True)
class Factors:
    """Times in ms: *changes* are ``[at, action]``, oldest first; *devices* when each was first seen.

    0 for devices of the first sessions: whatever becomes of those, the devices are not new later.
    """

    changes: list[list[Any]] = field(default_factory=list)
    devices: dict[str, int] = field(default_factory=dict)


def remember_change(factors: Factors, event: dict[str, Any], *, known: bool) -> None:
    """A factor of the principal was changed, in whatever session; *known*: on a device used before.

    One more factor, added on a device that the person has had for long, is how a new phone is set up: it
    resets nothing. What is removed, changed or recovered counts on whatever device.
    """
    had = known and factors.devices.get(event["device_id"] or "", _ALWAYS) == _ALWAYS
    if event["kind"] == "credential_added" and had:
        return
    factors.changes = sorted([*factors.changes, [event["occurred_at"], event["kind"]]])[-MOST_CHANGES:]


def remember_device(factors: Factors, event: dict[str, Any], *, known: bool, settled: bool) -> None:
    """A session shows its device; it is new if not *known*, once the principal is *settled* elsewhere."""
    device_id, at = event["device_id"], event["occurred_at"]
    if device_id is None or known or factors.devices.get(device_id) == _ALWAYS:
        return
    factors.devices.pop(device_id, None)
    factors.devices[device_id] = at if settled else _ALWAYS
    for old in [name for name, first in factors.devices.items() if _ALWAYS < first < at - _KEPT_MS]:
        del factors.devices[old]
    while len(factors.devices) > MOST_DEVICES:
        del factors.devices[next(iter(factors.devices))]


def signals(factors: Factors, event: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """What the session of *event* is told: signals, and the words to each."""
    at = event["occurred_at"]
    first = factors.devices.get(event["device_id"] or "")
    if first is None or first == _ALWAYS:
        return [], {}
    words = {}
    if at - first <= HOUR_MS:
        words["new_device"] = f"first seen on this device {_minutes(at - first)} ago"
    reset = [change for change in factors.changes if 0 <= first - change[0] <= DAY_MS]
    if reset and at - first <= DAY_MS:
        changed_at, action = reset[-1]
        words["factor_reset_new_device"] = f"{action}, first seen on this device {_minutes(first - changed_at)} later"
    return sorted(words), words


def _minutes(ms: int) -> str:
    return f"{max(ms, 0) // 60_000} min"
