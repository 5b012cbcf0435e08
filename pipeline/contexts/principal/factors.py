"""Authentication factors of a principal: when they were changed, and when a new device was first seen.

A factor is changed in one session, and the device that profits from it appears in another: only the context of the
principal sees both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.times import HOUR_MS
from schemas.fields import DAY_MS
from schemas.records import PrincipalActivityDict

SETTLED_SESSIONS: Final = 3
"""Sessions after which a device that was used in none of them counts as new."""
MAX_CHANGES: Final = 8
MAX_DEVICES: Final = 16
_KEEP_MS: Final = 2 * DAY_MS
_NEVER_NEW: Final = 0
"""In place of a time: the device was first seen when a new device did not mean anything yet."""


class FactorChange(NamedTuple):
    """A change of a factor: the event's time in ms, and the auth action."""

    at: int
    action: str


@dataclass(slots=True)
class Factors:
    """The newest factor *changes*, oldest first, and when each of *devices* was first seen, in ms.

    The time is 0 for devices of the first sessions: whatever happens to these, they are not new later.
    """

    changes: list[FactorChange] = field(default_factory=list)
    devices: dict[str, int] = field(default_factory=dict)


def remember_change(factors: Factors, event: PrincipalActivityDict, *, known: bool) -> None:
    """Remember that a factor was changed in some session, on a device that is *known* or not.

    A factor that is added on a device which the person has had for long is how a new phone is set up: it resets
    nothing. A factor that is removed, changed or recovered counts on every device.
    """
    is_old_device = known and factors.devices.get(event["device_id"] or "", _NEVER_NEW) == _NEVER_NEW
    if event["kind"] == "credential_added" and is_old_device:
        return
    change = FactorChange(event["occurred_at"], event["kind"])
    factors.changes = sorted([*factors.changes, change])[-MAX_CHANGES:]


def remember_device(factors: Factors, event: PrincipalActivityDict, *, known: bool, settled: bool) -> None:
    """Remember the device of a session; it is new if it is not *known* and the principal is *settled* on others."""
    device_id, at = event["device_id"], event["occurred_at"]
    if device_id is None or known or factors.devices.get(device_id) == _NEVER_NEW:
        return
    factors.devices.pop(device_id, None)
    factors.devices[device_id] = at if settled else _NEVER_NEW
    for old in [name for name, first in factors.devices.items() if _NEVER_NEW < first < at - _KEEP_MS]:
        del factors.devices[old]
    while len(factors.devices) > MAX_DEVICES:
        del factors.devices[next(iter(factors.devices))]


def signals(factors: Factors, event: PrincipalActivityDict) -> tuple[list[str], dict[str, str]]:
    """The signals for the session of *event*, and an explanation of each."""
    at = event["occurred_at"]
    first = factors.devices.get(event["device_id"] or "")
    if first is None or first == _NEVER_NEW:
        return [], {}
    explanations = {}
    if at - first <= HOUR_MS:
        explanations["new_device"] = f"first seen on this device {_minutes(at - first)} ago"
    resets = [change for change in factors.changes if 0 <= first - change.at <= DAY_MS]
    if resets and at - first <= DAY_MS:
        changed_at, action = resets[-1]
        explanations["factor_reset_new_device"] = (
            f"{action}, first seen on this device {_minutes(first - changed_at)} later"
        )
    return sorted(explanations), explanations


def _minutes(ms: int) -> str:
    return f"{max(ms, 0) // 60_000} min"
