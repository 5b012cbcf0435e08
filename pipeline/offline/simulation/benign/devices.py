"""Honest oddities of devices: new phones and SIMs, battery saving, updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pipeline.offline.simulation.attacks.family import of_a_human, on_the_phone, person_of
from pipeline.offline.simulation.plan import MINUTE, Attempt, Day, DevicePlan, Session
from pipeline.offline.simulation.world.population import short_id

SAVING_MS: Final = 5 * MINUTE
"""Heartbeat interval of a device that saves its battery, in ms."""
UPDATED: Final = {
    "ios": "18.4",
    "android": "16",
    "macos": "15.4",
    "windows": "11 25H2",
    "linux": "Ubuntu 24.10",
}
"""The next version of each system."""


def new_phone(day: Day, attempt: Attempt) -> bool:
    """A new phone with the same SIM from the afternoon on; the sessions move to it."""
    found = day.pick(attempt.rng, _on_a_phone_again(day), before=0, after=8 * MINUTE)
    if found is None:
        return False
    first, _ = found
    person = person_of(day)
    old = person.phone.device_id
    person.phone = replace(person.phone, device_id=f"phone-{short_id(first.session_id, 'new phone')}")
    day.devices[person.phone.device_id] = DevicePlan(person.phone)
    for session in day.sessions:
        if session.device_id == old and session.start >= first.start:
            session.device_id = person.phone.device_id
    first.opening.append((11_000, "credential_added", {}))
    first.family = "new_phone"
    return True


def battery_saver(day: Day, attempt: Attempt) -> bool:
    """The phone saves its battery: it announces a longer heartbeat interval and reports less often."""
    found = day.pick(attempt.rng, on_the_phone(day), before=3 * MINUTE, after=12 * MINUTE)
    if found is None:
        return False
    session, at = found
    day.devices[session.device_id or ""].changes.append((at, {"heartbeat_interval_ms": SAVING_MS}))
    session.family = "battery_saver"
    return True


def mdm_lag(day: Day, attempt: Attempt) -> bool:
    """Updated to a system that the device management does not know yet: not compliant for some minutes."""
    found = day.pick(attempt.rng, _on_the_old_system(day), after=30 * MINUTE)
    if found is None:
        return False
    session, at = found
    person = person_of(day)
    plan = day.devices[session.device_id or ""]
    version = UPDATED[plan.device.platform]
    updated = replace(plan.device, os_version=version)
    if updated.device_id == person.phone.device_id:
        person.phone = updated
    else:
        person.laptop = updated
    plan.changes.append((at, {"os_version": version, "compliant": False}))
    plan.changes.append((at + attempt.rng.randint(4, 25) * MINUTE, {"compliant": True}))
    session.family = "mdm_lag"
    return True


def sim_upgrade(day: Day, attempt: Attempt) -> bool:
    """A new SIM from the carrier; nothing else changes."""
    found = day.pick(attempt.rng, on_the_phone(day), before=3 * MINUTE, after=8 * MINUTE)
    if found is None:
        return False
    session, at = found
    person = person_of(day)
    sim_id = f"sim-{short_id(person.principal_id, 'upgraded', at)}"
    person.phone = replace(person.phone, sim_id=sim_id)
    day.devices[session.device_id or ""].changes.append((at, {"sim_id": sim_id}))
    session.family = "sim_upgrade"
    return True


def _on_the_old_system(day: Day) -> Callable[[Session], bool]:
    """Return a test for a human's sessions on devices that report and have not been updated yet."""
    return lambda session: (
        of_a_human(session) and day.reports(session) and day.devices[session.device_id or ""].device.os_version is None
    )


def _on_a_phone_again(day: Day) -> Callable[[Session], bool]:
    by_hand = on_the_phone(day)
    return lambda session: by_hand(session) and day.has_history(session)
