"""Detections on the session's device: integrity and malware as it reports them, and telemetry that stopped."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.events.context_columns import ATTESTATION, MALWARE, POSTURE_FLAGS
from models.features.table import MINUTE
from models.updates.context import flag, malware
from pipeline.detections.detection import (
    AGENT,
    BY_AGENT,
    Bools,
    Detection,
    Limits,
    View,
    either,
    event_fields,
    posture,
)

ON_A_DEVICE: Final = event_fields("auth-events", "device_id")
_MALWARE_DETECTED: Final = ("posture", MALWARE["detected"] << 2 * len(POSTURE_FLAGS))
_CLEARED_WHEN_HEALTHY: Final = "Clears when the device reports that the fault is gone; a step-up does not clear it."
_CLEARED_BY_TELEMETRY: Final = "Clears when the device reports telemetry again."
_UNHEALTHY: Final = (ATTESTATION["failed"], ATTESTATION["virtual"])


def _silent(x: View, limit: Limits) -> Bools:
    return x["telemetry_gap"] > limit["intervals"]


def _stale_agent(x: View, limit: Limits) -> Bools:
    """Only on a device that attested before: management that never requests an attestation proves nothing."""
    stale = x["attested"] & (x["unattested"] | (x["attestation_age"] > limit["minutes"] * MINUTE))
    return (x["kind"] == AGENT) & x["calling"] & x["bound"] & (stale | np.isin(x["attestation"], _UNHEALTHY))


DEVICE: Final[tuple[Detection, ...]] = (
    Detection(
        id="device_rooted",
        text="The session's device is jailbroken or rooted.",
        user_text="Your device no longer meets the security rules, so you were signed out.",
        severity="HIGH",
        weight=8.0,
        hold_s=0.0,
        cleared_by_step_up=False,
        is_fact=True,
        suppressible=False,
        holds=lambda x, _: flag(x["posture"], "rooted", True),
        prefilter=(posture("rooted"),),
        observed=("posture_faults", "posture faults"),
        normal="no posture faults",
        attack=("T1404", "T1629.003"),
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5"),
        needs=event_fields("device-telemetry", "rooted") + ON_A_DEVICE,
        known_false_positives="test farms, developers' own devices",
        clearing=_CLEARED_WHEN_HEALTHY,
    ),
    Detection(
        id="device_hooked",
        text="The app on the session's device runs hooked: something rewrites what it does.",
        user_text="Another program interferes with the app on your device, so you were signed out.",
        severity="HIGH",
        weight=8.0,
        hold_s=0.0,
        cleared_by_step_up=False,
        is_fact=True,
        suppressible=False,
        holds=lambda x, _: flag(x["posture"], "hooked", True),
        prefilter=(posture("hooked"),),
        observed=("posture_faults", "posture faults"),
        normal="no posture faults",
        attack=("T1617", "T1404"),
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5"),
        needs=event_fields("device-telemetry", "hooked") + ON_A_DEVICE,
        known_false_positives="security researchers, accessibility tools that inject code",
        clearing=_CLEARED_WHEN_HEALTHY,
    ),
    Detection(
        id="device_emulated",
        text="The session's device is an emulator, not the phone it says it is.",
        user_text="The app does not run on a real device, so you were signed out.",
        severity="HIGH",
        weight=8.0,
        hold_s=0.0,
        cleared_by_step_up=False,
        is_fact=True,
        suppressible=False,
        holds=lambda x, _: flag(x["posture"], "emulator", True),
        prefilter=(posture("emulator"),),
        observed=("posture_faults", "posture faults"),
        normal="no posture faults",
        attack=("T1633.001",),
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5"),
        needs=event_fields("device-telemetry", "emulator") + ON_A_DEVICE,
        known_false_positives="test farms: add a suppression for their tenant or their devices",
        clearing=_CLEARED_WHEN_HEALTHY,
    ),
    Detection(
        id="malware_on_device",
        text="Malware was reported on the session's device and is not quarantined.",
        user_text="Malware was found on your device, so you were signed out.",
        severity="HIGH",
        weight=8.0,
        hold_s=0.0,
        cleared_by_step_up=False,
        is_fact=True,
        suppressible=False,
        holds=lambda x, _: malware(x["posture"], "detected"),
        prefilter=(_MALWARE_DETECTED,),
        observed=("posture_faults", "posture faults"),
        normal="none detected, or quarantined",
        attack=("T1660", "T1539"),
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5"),
        needs=event_fields("device-telemetry", "malware") + ON_A_DEVICE,
        known_false_positives="low-severity adware",
        clearing="Clears when the device reports the malware as quarantined or removed; a step-up does not clear it.",
    ),
    Detection(
        id="telemetry_silent_while_active",
        text="The device stopped sending telemetry while the session goes on calling.",
        user_text="Please confirm it is you: we lost contact with your device's security check.",
        severity="HIGH",
        weight=6.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        cleared_for_s=1800.0,
        rests_on_silence=True,
        holds=lambda x, limit: x["calling"] & _silent(x, limit),
        prefilter=("calling", "telemetry_gap"),
        limits={"intervals": 3.0},
        observed=("telemetry_gap", "intervals"),
        normal="≤ {intervals:g} intervals",
        attack=("T1629.003", "T1685"),
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 7"),
        needs=event_fields("device-telemetry", "heartbeat_interval_ms")
        + ON_A_DEVICE
        + event_fields("api-calls", "occurred_at"),
        known_false_positives="a tunnel, a flight, an update of the telemetry agent",
        clearing=_CLEARED_BY_TELEMETRY,
    ),
    Detection(
        id="telemetry_silent_while_idle",
        text="The device stopped sending telemetry; the session is idle.",
        user_text="We have not heard from your device's security check for a while.",
        severity="LOW",
        weight=1.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        cleared_for_s=1800.0,
        rests_on_silence=True,
        holds=lambda x, limit: ~x["calling"] & _silent(x, limit),
        prefilter=("telemetry_gap",),
        limits={"intervals": 3.0},
        observed=("telemetry_gap", "intervals"),
        normal="≤ {intervals:g} intervals",
        attack=("T1629.003",),
        references=("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 7"),
        needs=event_fields("device-telemetry", "heartbeat_interval_ms") + ON_A_DEVICE,
        known_false_positives="a sleeping device: no step-up is requested before the session is used again",
        clearing=_CLEARED_BY_TELEMETRY,
    ),
    Detection(
        id="agent_without_fresh_attestation",
        text="An agent calls tools from a device that no longer proves its health, or failed to.",
        user_text="Your assistant was disconnected until your device proves its health again.",
        severity="HIGH",
        weight=6.0,
        hold_s=0.0,
        cleared_by_step_up=False,
        is_fact=True,
        rests_on_silence=True,
        holds=_stale_agent,
        prefilter=("calling", "bound", BY_AGENT, either("attested", "attestation")),
        limits={"minutes": 15.0},
        observed=("attestation_age_m", "minutes since the device attested"),
        normal=(
            "attested anew within {minutes:g} minutes, and neither failed nor as virtual; not asked of a device "
            "that never attested"
        ),
        attack=("T1645", "T1078.004"),
        agent_threats=("ASI10",),
        references=("NIST CSF 2.0 PR.AA-03", "NIST SP 800-207 §2.1 tenet 4"),
        needs=event_fields("device-telemetry", "attestation", "attested_at")
        + ON_A_DEVICE
        + event_fields("api-calls", "principal_kind", "device_id"),
        known_false_positives="an outage of the attestation service",
        clearing="Clears with the device's next successful attestation; an agent cannot pass a step-up.",
    ),
)
