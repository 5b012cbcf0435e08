"""Detections on device posture: facts that got worse during the session, and attestations that fail or expire."""

from __future__ import annotations

from typing import Final

from models.events.context_columns import ATTESTATION
from models.events.context_signals import has_signal
from models.updates.context import known
from pipeline.detections.detection import Bools, Detection, Limits, View, event_fields, signal
from pipeline.detections.device import ON_A_DEVICE

_HEALTH_REFERENCES: Final = ("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5")


def _stale_unknown_device(x: View, limit: Limits) -> Bools:
    """On a known device, missing patches are how its owner's sessions always were: no news about this one."""
    unknown_device = known(x["known"], "known_device", False) & (x["sessions_seen"] >= limit["sessions"])
    return has_signal(x["signals"], "patch_stale") & x["bound"] & unknown_device


POSTURE: Final[tuple[Detection, ...]] = (
    Detection(
        id="posture_downgraded",
        text="The device's posture got worse while the session was on it.",
        user_text="Please confirm it is you: a protection of your device was switched off.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        fleet_may_follow=True,
        signal="posture_downgraded",
        observed=("", "a posture fact got worse"),
        normal="as the session found it",
        attack=("T1404", "T1629.003", "T1632.001", "T1685"),
        references=_HEALTH_REFERENCES,
        needs=(
            event_fields(
                "device-telemetry",
                "managed",
                "compliant",
                "screen_lock",
                "encrypted",
                "developer_mode",
                "debugger",
            )
            + ON_A_DEVICE
        ),
        known_false_positives="an MDM server that reports late; a rollout to the whole fleet is recognised as such",
        clearing="Clears when the posture fact is restored, after an hour, or by a step-up.",
    ),
    Detection(
        id="attestation_failed",
        text="The device tried to prove its health to its maker's service and failed.",
        user_text="Your device could not prove that it is unchanged, so you were signed out.",
        severity="HIGH",
        weight=6.0,
        hold_s=0.0,
        cleared_by_step_up=False,
        is_fact=True,
        holds=lambda x, _: x["bound"] & (x["attestation"] == ATTESTATION["failed"]),
        prefilter=("bound", "attestation"),
        observed=("attestation_age_m", "minutes since the attestation"),
        normal="passed, or not evaluated",
        attack=("T1633.001", "T1645", "T1577", "T1617"),
        references=_HEALTH_REFERENCES,
        needs=event_fields("device-telemetry", "attestation") + ON_A_DEVICE,
        known_false_positives="devices that their maker never certified",
        clearing="Clears with the next attestation that does not fail; a step-up does not clear it.",
    ),
    Detection(
        id="attestation_downgraded",
        text="The device used to prove its health by hardware and no longer does.",
        user_text="Please confirm it is you: your device proves less about itself than before.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        signal="attestation_downgraded",
        observed=("", "less than a proof by hardware"),
        normal="the same proof as before, by hardware",
        attack=("T1633.001", "T1645", "T1577"),
        references=_HEALTH_REFERENCES,
        needs=event_fields("device-telemetry", "attestation") + ON_A_DEVICE,
        known_false_positives=(
            "an outage of the attestation service; one that affects the whole fleet is recognised as such"
        ),
        clearing="Clears with an attestation as strong as before, after a day, or by a step-up.",
    ),
    Detection(
        id="os_downgraded",
        text="The device went back to an older system version or patch level.",
        user_text="Please confirm it is you: your device went back to an older system.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        signal="os_downgraded",
        observed=("", "an older system than before"),
        normal="the same version or a newer one",
        attack=("T1661", "T1404"),
        references=("NIST CSF 2.0 PR.PS-02", "NIST SP 800-207 §2.1 tenet 5"),
        needs=event_fields("device-telemetry", "os_version", "patch_level", "platform") + ON_A_DEVICE,
        known_false_positives="dual boot, a restored backup, two agents that report versions in different formats",
        clearing="Clears when the version is restored, after a day, or by a step-up.",
    ),
    Detection(
        id="patch_stale",
        text="The device is new to its principal and lacks the patches of the last half year.",
        user_text="Your device lacks security updates; please install them.",
        severity="LOW",
        weight=1.0,
        hold_s=0.0,
        cleared_by_step_up=False,
        holds=_stale_unknown_device,
        prefilter=(signal("patch_stale"), "sessions_seen"),
        limits={"sessions": 3.0},
        observed=("", "a patch level of more than half a year ago"),
        normal="a device used before, or patched in 180 days",
        attack=("T1404",),
        references=("NIST CSF 2.0 PR.PS-02", "NIST SP 800-207 §2.1 tenet 5"),
        needs=event_fields("device-telemetry", "patch_level") + ON_A_DEVICE,
        known_false_positives="a second-hand phone that its maker no longer updates",
        clearing=(
            "Clears when the device reports a newer patch level; from the next session on, the device is a known one."
        ),
    ),
    Detection(
        id="clock_tampered",
        text="The device's clock jumped, or a proof of its health is dated after it was told.",
        user_text="Please confirm it is you: the clock of your device was set to another time.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        signal="clock_tampered",
        observed=("", "two clocks that contradict each other"),
        normal="as right or wrong as ever, give or take ten minutes",
        attack=("T1070.006",),
        references=("NIST CSF 2.0 DE.CM-09",),
        needs=event_fields("device-telemetry", "occurred_at", "attested_at", "sequence") + ON_A_DEVICE,
        known_false_positives=(
            "a clock set by hand to another time zone; a constant offset or a late upload does not trigger it"
        ),
        clearing="Clears an hour after the last jump, or by a step-up.",
    ),
)
