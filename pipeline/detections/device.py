"""Detections: what the session's device is, as it says of itself, or that it no longer says anything."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.events.context_columns import ATTESTATION, MALWARE, POSTURE_FLAGS
from models.updates.context import flag, malware
from pipeline.detections.detection import (
    AGENT,
    BY_AGENT,
    Detection,
    Holds,
    Limits,
    View,
    either,
    members,
    numbers,
    posture,
)

ON_A_DEVICE: Final = members("auth-events", "device_id")
_INFECTED: Final = ("posture", MALWARE["detected"] << 2 * len(POSTURE_FLAGS))
_HEALED: Final = "Ends when the device reports that it is healthy again; proving a factor does not clear it."
_BAD: Final = (ATTESTATION["failed"], ATTESTATION["virtual"])
_HEARD: Final = "Ends when the device is heard again."


def _silent(x: View, limit: Limits) -> Holds:
    answer: Holds = x["telemetry_gap"] > limit["intervals"]
    return answer


def _stale_agent(x: View, limit: Limits) -> Holds:
    """A device that never attested may be managed by what never asks it to: that is no sign of anything."""
    stale = x["attested"] & (x["unattested"] | (x["attestation_age"] > limit["minutes"] * 60_000))
    answer: Holds = (x["kind"] == AGENT) & x["calling"] & x["bound"] & (stale | np.isin(x["attestation"], _BAD))
    return answer


DEVICE: Final[tuple[Detection, ...]] = (
    Detection(
        "device_rooted", "The session's device is jailbroken or rooted.",
        "Your device no longer meets the security rules, so you were signed out.",
        "HIGH", 8.0, 0.0, False, ("T1404", "T1629.003"),
        lambda x, _: flag(x["posture"], "rooted", True),
        ("posture_faults", "posture faults"), "no posture faults", "test farms; developers' own devices",
        needs=members("device-telemetry", "rooted") + ON_A_DEVICE,
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5"), clearing=_HEALED, suppressible=False,
        prefilter=(posture("rooted"),),
    ),
    Detection(
        "device_hooked", "The app on the session's device runs hooked: something rewrites what it does.",
        "Another program interferes with the app on your device, so you were signed out.",
        "HIGH", 8.0, 0.0, False, ("T1617", "T1404"),
        lambda x, _: flag(x["posture"], "hooked", True),
        ("posture_faults", "posture faults"), "no posture faults",
        "security researchers, accessibility tools that inject code",
        needs=members("device-telemetry", "hooked") + ON_A_DEVICE,
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5"), clearing=_HEALED, suppressible=False,
        prefilter=(posture("hooked"),),
    ),
    Detection(
        "device_emulated", "The session's device is an emulator, not the phone it says it is.",
        "The app does not run on a real device, so you were signed out.",
        "HIGH", 8.0, 0.0, False, ("T1633.001",),
        lambda x, _: flag(x["posture"], "emulator", True),
        ("posture_faults", "posture faults"), "no posture faults",
        "test farms: keep them quiet by a suppression of their tenant or devices",
        needs=members("device-telemetry", "emulator") + ON_A_DEVICE,
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5"), clearing=_HEALED, suppressible=False,
        prefilter=(posture("emulator"),),
    ),
    Detection(
        "malware_on_device", "Malware was reported on the session's device and is not quarantined.",
        "Malware was found on your device, so you were signed out.",
        "HIGH", 8.0, 0.0, False, ("T1660", "T1539"),
        lambda x, _: malware(x["posture"], "detected"),
        ("posture_faults", "posture faults"), "none detected, or quarantined", "adware of low severity",
        needs=members("device-telemetry", "malware") + ON_A_DEVICE,
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5"),
        clearing="Ends when the device reports the malware quarantined or gone; a factor does not clear it.",
        suppressible=False,
        prefilter=(_INFECTED,),
    ),
    Detection(
        "telemetry_silent_while_active",
        "The device stopped sending telemetry while the session goes on calling.",
        "We lost contact with your device's security check, so you were signed out.",
        "HIGH", 6.0, 0.0, False, ("T1629.003", "T1562.001"),
        lambda x, limit: x["calling"] & _silent(x, limit),
        ("telemetry_gap", "intervals"), "≤ {intervals:g} intervals",
        "a tunnel, a flight, an update of the agent", numbers(intervals=3.0), silence=True,
        needs=members("device-telemetry", "heartbeat_interval_ms") + ON_A_DEVICE
        + members("api-calls", "occurred_at"),
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 7"), clearing=_HEARD,
        prefilter=("calling", "telemetry_gap"),
    ),
    Detection(
        "telemetry_silent_while_idle", "The device stopped sending telemetry; the session is idle.",
        "We have not heard from your device's security check for a while.",
        "LOW", 1.0, 0.0, False, ("T1629.003",),
        lambda x, limit: ~x["calling"] & _silent(x, limit),
        ("telemetry_gap", "intervals"), "≤ {intervals:g} intervals",
        "a device that sleeps: nobody is asked before the session is used again", numbers(intervals=3.0),
        silence=True,
        needs=members("device-telemetry", "heartbeat_interval_ms") + ON_A_DEVICE,
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 7"),
        clearing=_HEARD,
        prefilter=("telemetry_gap",),
    ),
    Detection(
        "agent_without_fresh_attestation",
        "An agent calls tools from a device that no longer proves its health, or failed to.",
        "Your assistant was disconnected until your device proves its health again.",
        "HIGH", 6.0, 0.0, False, ("T1645", "T1078.004"),
        _stale_agent, ("attestation_age_m", "minutes since the device attested"),
        "attested anew within {minutes:g} minutes, and neither failed nor as virtual; not asked of a device "
        "that never attested",
        "an attestation service that is down", numbers(minutes=15.0), silence=True,
        needs=members("device-telemetry", "attestation", "attested_at") + ON_A_DEVICE
        + members("api-calls", "principal_kind", "device_id"),
        references=("NIST CSF 2.0 PR.AA-03", "NIST SP 800-207 §2.1 tenet 4"),
        clearing="Ends with the next good attestation of the device; an agent cannot prove a factor.",
        prefilter=("calling", "bound", BY_AGENT, either("attested", "attestation")),
    ),
)  # fmt: skip
