"""Detections: what the session's device says, or no longer says, of itself."""

from __future__ import annotations

from typing import Final

from models.device_facts import flag, malware
from pipeline.rules.rule import AGENT, Holds, Limits, Rule, View, numbers


def _silent(x: View, limit: Limits) -> Holds:
    answer: Holds = x["telemetry_gap"] > limit["intervals"]
    return answer


def _stale_agent(x: View, limit: Limits) -> Holds:
    waited = (x["heard_at"] > 0) | (x["session_age"] > limit["grace_s"] * 1000)
    stale = x["unattested"] | (x["attestation_age"] > limit["minutes"] * 60_000)
    answer: Holds = (x["kind"] == AGENT) & x["calling"] & x["bound"] & waited & stale
    return answer


DEVICE: Final[tuple[Rule, ...]] = (
    Rule(
        "device_rooted", "The session's device is jailbroken, rooted, hooked or an emulator.",
        "Your device no longer meets the security rules, so you were signed out.",
        "HIGH", 8.0, 0.0, False, ("T1404", "T1629.003"),
        lambda x, _: flag(x["posture"], "rooted", True) | flag(x["posture"], "hooked", True)
        | flag(x["posture"], "emulator", True),
        ("posture_faults", "faults"), "no posture faults", "test farms; developers' own devices",
        mutable=False,
    ),
    Rule(
        "malware_on_device", "Malware was reported on the session's device and is not quarantined.",
        "Malware was found on your device, so you were signed out.",
        "HIGH", 8.0, 0.0, False, ("T1660", "T1539"),
        lambda x, _: malware(x["posture"], "detected"),
        ("posture_faults", "faults"), "none detected", "adware of low severity", mutable=False,
    ),
    Rule(
        "telemetry_silent_while_active",
        "The device stopped sending telemetry while the session goes on calling.",
        "We lost contact with your device's security check, so you were signed out.",
        "HIGH", 6.0, 0.0, False, ("T1629.003", "T1562.001"),
        lambda x, limit: x["calling"] & _silent(x, limit),
        ("telemetry_gap", "intervals"), "≤ {intervals:g} intervals",
        "a tunnel, a flight, an update of the agent", numbers(intervals=3.0), silence=True,
    ),
    Rule(
        "telemetry_silent_while_idle", "The device stopped sending telemetry; the session is idle.",
        "Please confirm it is you: we lost contact with your device's security check.",
        "MEDIUM", 4.0, 0.0, True, ("T1629.003",),
        lambda x, limit: ~x["calling"] & _silent(x, limit),
        ("telemetry_gap", "intervals"), "≤ {intervals:g} intervals",
        "a device that sleeps without saying so", numbers(intervals=3.0), silence=True,
    ),
    Rule(
        "agent_without_fresh_attestation",
        "An agent calls tools from a device without fresh proof of its health.",
        "Your assistant was disconnected until your device proves its health again.",
        "HIGH", 6.0, 0.0, False, ("T1645", "T1078.004"),
        _stale_agent, ("attestation_age_m", "minutes"), "attested within {minutes:g} minutes",
        "an attestation service that is down", numbers(minutes=15.0, grace_s=60.0), silence=True,
    ),
)  # fmt: skip
