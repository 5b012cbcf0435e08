"""Attacks on devices: telemetry, or its absence, shows that the sessions on the device are attacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.offline.simulation.attacks.family import at_the_desk, calls, of_a_human, on_the_phone, paced
from pipeline.offline.simulation.attacks.operations import EXPORTS
from pipeline.offline.simulation.plan import MINUTE, SECOND, Attempt, Day, Session

MALWARE: Final = ("stealer.a", "overlay.q", "bankbot.c", "keylog.m", "remote.f", "dropper.z")
DOWNGRADES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "ios": (
        ("17.6.1", "2024-08-07"),
        ("18.1", "2024-10-28"),
        ("16.7.2", "2023-10-25"),
        ("17.2", "2023-12-11"),
    ),
    "android": (("13", "2024-03-05"), ("14", "2025-01-05"), ("12", "2023-06-05"), ("11", "2022-11-05")),
    "macos": (("14.2", "2023-12-11"), ("13.6", "2023-09-21"), ("14.5", "2024-05-13"), ("12.7", "2023-09-21")),
    "windows": (
        ("11 22H2", "2024-02-13"),
        ("10 22H2", "2024-05-14"),
        ("11 21H2", "2023-10-10"),
        ("10 21H2", "2023-06-13"),
    ),
    "linux": (
        ("Ubuntu 22.04", "2024-01-15"),
        ("Ubuntu 20.04", "2023-05-02"),
        ("Ubuntu 22.10", "2023-04-20"),
        ("Ubuntu 18.04", "2022-06-01"),
    ),
}
"""Older systems, as version and patch level; the worlds get alternate rows."""


def device_rooted(day: Day, attempt: Attempt) -> bool:
    """The phone is jailbroken while somebody is signed in on it, with few or many signs of it."""
    loud: list[dict[str, Any]] = [
        {},
        {"compliant": False},
        {"compliant": False, "developer_mode": True, "app_signature_valid": False},
    ]
    return _reports(day, on_the_phone(day), attempt, {"rooted": True} | _by(attempt, loud))


def runtime_hooked(day: Day, attempt: Attempt) -> bool:
    """The app is hooked: its code is changed while it runs."""
    loud: list[dict[str, Any]] = [{}, {"debugger": True}, {"debugger": True, "app_signature_valid": False}]
    return _reports(day, on_the_phone(day), attempt, {"hooked": True} | _by(attempt, loud))


def malware_on_device(day: Day, attempt: Attempt) -> bool:
    """The device's protection finds malware while somebody is signed in on it."""
    finding = {"malware": "detected", "malware_family": attempt.pick("malware", MALWARE)}
    loud: list[dict[str, Any]] = [{}, {"compliant": False}, {"compliant": False, "debugger": True}]
    return _reports(day, _reporting(day), attempt, finding | _by(attempt, loud))


def posture_downgraded(day: Day, attempt: Attempt) -> bool:
    """During the session, screen lock, encryption or management of the device is switched off."""
    steps: list[dict[str, Any]] = [
        {attempt.rng.choice(("screen_lock", "encrypted")): False},
        {"screen_lock": False, "compliant": False},
        {
            "screen_lock": False,
            "compliant": False,
            "encrypted": False,
            "managed": False,
            "developer_mode": True,
        },
    ]
    return _reports(day, _reporting(day), attempt, _by(attempt, steps))


def attestation_downgraded(day: Day, attempt: Attempt) -> bool:
    """The attestation of the device gets worse: weaker, none, failed."""
    verdict = _by(attempt, [{"attestation": "basic"}, {"attestation": "none"}, {"attestation": "failed"}])
    return _reports(day, on_the_phone(day), attempt, verdict)


def os_downgraded(day: Day, attempt: Attempt) -> bool:
    """The device suddenly has an older system with known vulnerabilities."""
    found = day.pick(attempt.rng, _reporting(day), before=5 * MINUTE, after=10 * MINUTE)
    if found is None:
        return False
    device_id = found[0].device_id or ""
    version, patch = attempt.pick("system", DOWNGRADES[day.devices[device_id].device.platform])
    changed = {"patch_level": patch} if attempt.intensity == "low" else {"os_version": version, "patch_level": patch}
    return _report_at(day, found, attempt, changed)


def telemetry_silent_while_active(day: Day, attempt: Attempt) -> bool:
    """The telemetry agent is killed; the sessions on the device continue to make calls, or make more."""
    found = day.pick(attempt.rng, _reporting(day))
    if found is None:
        return False
    session, at = found
    device_id = session.device_id or ""
    day.devices[device_id].silent_from = at
    if attempt.at_least("medium"):
        count = attempt.whole("calls", (1, 1), (10, 30), (40, 90))
        gap = attempt.real("gap_s", (1, 1), (8, 20), (2, 6))
        operations = (attempt.pick("export", EXPORTS),) if attempt.intensity == "high" else session.operations
        calls(session, paced(at + 4 * MINUTE, count, gap, attempt.rng), operations, attempt.rng)
    day.mark_device_attacked(device_id, at, attempt)
    return True


def clock_tampered(day: Day, attempt: Attempt) -> bool:
    """The device's clock is changed, so that old attestations look fresh or new events old."""
    found = day.pick(attempt.rng, _reporting(day))
    if found is None:
        return False
    session, at = found
    plan = day.devices[session.device_id or ""]
    ahead = attempt.whole("off_s", (400, 900), (1800, 7200), (43_200, 180_000)) * SECOND
    plan.clock_from, plan.clock_off = at, ahead if attempt.rng.random() < 0.5 else -ahead
    day.mark_device_attacked(session.device_id or "", at, attempt)
    return True


def malware_in_browser(day: Day, attempt: Attempt) -> bool:
    """Malware on the owner's machine acts in the browser: network, device and client are the owner's."""
    found = day.pick(attempt.rng, at_the_desk(day), after=25 * MINUTE)
    if found is None:
        return False
    session, at = found
    count = attempt.whole("calls", (8, 16), (40, 80), (120, 260))
    gap = attempt.real("gap_s", (60, 140), (8, 20), (1, 3))
    operation = attempt.pick("export", EXPORTS)
    calls(session, paced(at, count, gap, attempt.rng), (operation,), attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def _by(attempt: Attempt, choices: list[dict[str, Any]]) -> dict[str, Any]:
    low, medium, high = choices
    return {"low": low, "medium": medium, "high": high}[attempt.intensity or "low"]


def _reporting(day: Day) -> Callable[[Session], bool]:
    return lambda session: of_a_human(session) and day.reports(session)


def _reports(day: Day, fits: Callable[[Session], bool], attempt: Attempt, posture: Mapping[str, object]) -> bool:
    found = day.pick(
        attempt.rng,
        lambda session: fits(session) and day.reports(session),
        before=5 * MINUTE,
        after=10 * MINUTE,
    )
    return found is not None and _report_at(day, found, attempt, posture)


def _report_at(day: Day, found: tuple[Session, int], attempt: Attempt, posture: Mapping[str, object]) -> bool:
    """The change of posture is reported during the session; in loud attacks, many calls follow."""
    session, at = found
    device_id = session.device_id or ""
    day.devices[device_id].changes.append((at, dict(posture)))
    if attempt.intensity == "high":
        count, gap = attempt.whole("calls", (15, 60)), attempt.real("gap_s", (2, 8))
        calls(session, paced(at + MINUTE, count, gap, attempt.rng), session.operations, attempt.rng)
    day.mark_device_attacked(device_id, at, attempt)
    return True
