"""Attacks that begin with the device: what it reports, or no longer reports, condemns the sessions on it."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

from pipeline.simulate.plan import MINUTE, Day, Session
from pipeline.simulate.strike import of_a_human, of_kind, on_the_phone

FRESH: Final = 15 * MINUTE
"""For how long an attestation proves anything about an agent's handset."""


def device_rooted(day: Day, rng: Random) -> bool:
    """The phone is jailbroken, or its app hooked, while somebody is signed in on it."""
    found = day.pick(rng, on_the_phone(day), before=3 * MINUTE, after=6 * MINUTE)
    return _reports(day, found, "device_rooted", {rng.choice(("rooted", "hooked")): True, "compliant": False})


def malware_on_device(day: Day, rng: Random) -> bool:
    """The device's protection finds malware while somebody is signed in on it."""
    found = day.pick(rng, lambda session: of_a_human(session) and day.reports(session))
    finding = {"malware": "detected", "malware_family": rng.choice(("stealer.a", "bankbot.c", "remote.f"))}
    return _reports(day, found, "malware_on_device", finding)


def telemetry_silent_while_active(day: Day, rng: Random) -> bool:
    """The telemetry agent is killed; the sessions on the device go on calling."""
    found = day.pick(rng, lambda session: of_a_human(session) and day.reports(session))
    if found is None:
        return False
    session, at = found
    device_id = session.device_id or ""
    day.devices[device_id].silent_from = at
    day.condemn_device(device_id, at, "telemetry_silent_while_active")
    return True


def agent_without_fresh_attestation(day: Day, rng: Random) -> bool:
    """The handset under an agent fails its attestation, or stops renewing it; heartbeats go on."""
    fails = rng.random() < 0.5
    found = day.pick(rng, of_kind("agent"), after=12 * MINUTE if fails else FRESH + 12 * MINUTE)
    if found is None:
        return False
    session, at = found
    plan = day.devices[session.device_id or ""]
    plan.unattested_from = at
    plan.changes.append((at, {"attestation": rng.choice(("failed", "none"))} if fails else {}))
    day.condemn(session, at if fails else at + FRESH, "agent_without_fresh_attestation")
    return True


def _reports(day: Day, found: tuple[Session, int] | None, family: str, posture: Mapping[str, object]) -> bool:
    if found is None:
        return False
    session, at = found
    device_id = session.device_id or ""
    day.devices[device_id].changes.append((at, dict(posture)))
    day.condemn_device(device_id, at, family)
    return True
