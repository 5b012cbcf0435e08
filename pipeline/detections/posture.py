"""Detections: what became worse on the session's device, and proofs of its health that fail or grow old."""

from __future__ import annotations

from typing import Final

from models.events.context_columns import ATTESTATION
from models.events.context_signals import has_signal
from models.updates.context import known
from pipeline.detections.detection import Detection, Holds, Limits, View, members, numbers, signal
from pipeline.detections.device import ON_A_DEVICE

_HEALTH: Final = ("NIST CSF 2.0 DE.CM-09", "NIST SP 800-207 §2.1 tenet 5")


def _stale_stranger(x: View, limit: Limits) -> Holds:
    """What a device always lacked is how its owner's sessions always were, and no news of this one."""
    stranger = known(x["known"], "known_device", False) & (x["sessions_seen"] >= limit["sessions"])
    answer: Holds = has_signal(x["signals"], "patch_stale") & x["bound"] & stranger
    return answer


POSTURE: Final[tuple[Detection, ...]] = (
    Detection(
        "posture_downgraded", "The device's posture got worse while the session was on it.",
        "Please confirm it is you: a protection of your device was switched off.",
        "MEDIUM", 4.0, 0.0, True, ("T1404", "T1629.003", "T1632.001", "T1562.001"), None,
        ("", "a posture fact got worse"),
        "as the session found it",
        "an MDM that lags behind other than after an update; a rollout to the whole fleet is recognised",
        needs=members(
            "device-telemetry", "managed", "compliant", "screen_lock", "encrypted", "developer_mode",
            "debugger",
        ) + ON_A_DEVICE,
        references=_HEALTH, signal="posture_downgraded", fleet_may_follow=True,
        clearing="Ends when the fact is as it was, after an hour, or when a factor is proved.",
    ),
    Detection(
        "attestation_failed", "The device tried to prove its health to its maker's service and failed.",
        "Your device could not prove that it is unchanged, so you were signed out.",
        "HIGH", 6.0, 0.0, False, ("T1633.001", "T1645", "T1577", "T1617"),
        lambda x, _: x["bound"] & (x["attestation"] == ATTESTATION["failed"]),
        ("attestation_age_m", "minutes since the attestation"), "passed, or not evaluated",
        "devices their maker never certified",
        needs=members("device-telemetry", "attestation") + ON_A_DEVICE, references=_HEALTH,
        clearing="Ends with the next attestation that does not fail; proving a factor does not clear it.",
        prefilter=("bound", "attestation"),
    ),
    Detection(
        "attestation_downgraded", "The device used to prove its health by hardware and no longer does.",
        "Please confirm it is you: your device proves less about itself than before.",
        "MEDIUM", 4.0, 0.0, True, ("T1633.001", "T1645", "T1577"), None,
        ("", "less than a proof by hardware"), "the same proof as before, by hardware",
        "an outage of the attestation service that is reported as none; a fleet-wide one keeps still",
        needs=members("device-telemetry", "attestation") + ON_A_DEVICE, references=_HEALTH,
        signal="attestation_downgraded",
        clearing="Ends with an attestation as good as before, after a day, or when a factor is proved.",
    ),
    Detection(
        "os_downgraded", "The device went back to an older system version or patch level.",
        "Please confirm it is you: your device went back to an older system.",
        "MEDIUM", 4.0, 0.0, True, ("T1661", "T1404"), None,
        ("", "an older system than before"), "the same version or a newer one",
        "a second system on the same machine, a restored backup, two agents that write versions differently",
        needs=members("device-telemetry", "os_version", "patch_level", "platform") + ON_A_DEVICE,
        references=("NIST CSF 2.0 PR.PS-02", "NIST SP 800-207 §2.1 tenet 5"), signal="os_downgraded",
        clearing="Ends when the version is as before, after a day, or when a factor is proved.",
    ),
    Detection(
        "patch_stale", "The device is new to its principal and lacks the patches of the last half year.",
        "Your device lacks security updates; please install them.",
        "LOW", 1.0, 0.0, False, ("T1404",), _stale_stranger,
        ("", "a patch level of more than half a year ago"), "a device used before, or patched in 180 days",
        "a second-hand phone that its maker no longer serves", numbers(sessions=3.0),
        needs=members("device-telemetry", "patch_level") + ON_A_DEVICE,
        references=("NIST CSF 2.0 PR.PS-02", "NIST SP 800-207 §2.1 tenet 5"),
        clearing="Ends when the device reports a newer patch level; the next session there knows the device.",
        prefilter=(signal("patch_stale"), "sessions_seen"),
    ),
    Detection(
        "clock_tampered", "The device's clock jumped, or a proof of its health is dated after it was told.",
        "Please confirm it is you: the clock of your device was set to another time.",
        "MEDIUM", 4.0, 0.0, True, ("T1070.006",), None,
        ("", "two clocks that contradict each other"), "as right or wrong as ever, give or take ten minutes",
        "a clock set by hand to another zone; one that is merely off is no sign, nor is a late upload",
        needs=members("device-telemetry", "occurred_at", "attested_at", "sequence") + ON_A_DEVICE,
        references=("NIST CSF 2.0 DE.CM-09",), signal="clock_tampered",
        clearing="Ends an hour after the last jump, or when a factor is proved.",
    ),
)  # fmt: skip
