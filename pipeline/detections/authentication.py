"""Detections: how the session was signed in to, and what became of the factors and tokens that prove it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events import context_signals
from models.events.columns import ACTION, FACTOR_CHANGES
from models.events.operations import Stage
from pipeline.detections.detection import (
    FOREVER,
    HUMAN,
    Detection,
    Holds,
    Limits,
    View,
    members,
    numbers,
    signal,
)

_HOUR_MS: Final = 3_600_000
_PROVED: Final = (ACTION["mfa_passed"], ACTION["step_up_passed"])
_TAKING_OVER: Final = tuple(ACTION[name] for name in FACTOR_CHANGES)


def _is_one_of(action: NDArray[Any], numbers_: tuple[int, ...]) -> Holds:
    answer: Holds = np.isin(action, numbers_)
    return answer


def _fatigued(x: View, limit: Limits) -> Holds:
    answer: Holds = _is_one_of(x["action"], _PROVED) & (x["mfa_denials_10m"] > limit["denials"])
    return answer


def _new_to_devices(x: View, limit: Limits) -> Holds:
    """Too little is known of the principal's devices for a new one to mean anything."""
    answer: Holds = (x["kind"] == HUMAN) & (x["sessions_seen"] < limit["sessions"])
    return answer


def _privileged_on_new_device(x: View, limit: Limits) -> Holds:
    privileged = (x["stage"] > 0) & (x["stage"] < Stage.SECRET)
    step = privileged | (x["action"] == ACTION["credential_added"]) | x["powerful"]
    recent = (x["session_age"] <= _HOUR_MS) | (x["client_changes_1h"] > 0.5)
    new = context_signals.has_signal(x["signals"], "new_device") & recent & ~_new_to_devices(x, limit)
    answer: Holds = (x["kind"] == HUMAN) & step & new & ~x["proved"]
    return answer


def _token_reused(x: View, limit: Limits) -> Holds:
    """Not the client's own retry: the same client, in the same network, just after the token was used."""
    same = ~x["network_changed"] & ~x["client_changed"]
    retry = same & (x["refreshed_at"] > 0) & (x["since_refresh_s"] <= limit["grace_s"])
    answer: Holds = (x["action"] == ACTION["token_reused"]) & ~retry
    return answer


def _after_sim_change(x: View, did: Holds) -> Holds:
    answer: Holds = context_signals.has_signal(x["signals"], "sim_changed") & did
    return answer


FACTORS: Final[tuple[Detection, ...]] = (
    Detection(
        "mfa_fatigue", "A prompt was approved after a burst of denied prompts.",
        "You denied several sign-in prompts and then one was approved, so the session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1621",),
        _fatigued, ("mfa_denials_10m", "denials in 10 min"), "≤ {denials:g} denials",
        "somebody learning a new phone", numbers(denials=3.0),
        needs=members("auth-events", "action"), references=("NIST CSF 2.0 DE.CM-03", "NIST CSF 2.0 PR.AA-03"),
        clearing="Counts for an hour; proving a factor does not clear it, for a factor is what was abused.",
        prefilter=("action", "mfa_denials_10m"),
    ),
    Detection(
        "step_up_missed", "The session was asked to prove a factor again and did not by the deadline.",
        "You were asked to confirm it is you and the time ran out.",
        "HIGH", 8.0, FOREVER, True, ("T1550.004",),
        None, ("strong_auth_age_m", "minutes since a factor"), "step-up passed in time",
        "a person away from the desk",
        needs=members("auth-events", "action"),
        references=("NIST CSF 2.0 PR.AA-03", "NIST SP 800-207 §2.1 tenet 6"),
        clearing="Cleared by proving a factor before the session is revoked.", suppressible=False,
    ),
    Detection(
        "new_device_privileged", "A privileged step on a device new to the person, after a sign-in alone.",
        "Please confirm it is you: a new device wants to change credentials or rights.",
        "MEDIUM", 4.0, 3600.0, True, ("T1098.005", "T1078.004"),
        _privileged_on_new_device, ("", "a privileged step within an hour on a new device"),
        "privileged steps on known devices, or after a factor",
        "the day of a new phone, a re-imaged laptop", numbers(sessions=3.0), learning=_new_to_devices,
        needs=members("auth-events", "device_id", "action", "scopes") + members("api-calls", "operation"),
        references=("NIST CSF 2.0 PR.AA-05", "NIST SP 800-207 §2.1 tenet 4"),
        clearing="Cleared by proving a factor; else it counts for an hour.",
        prefilter=(signal("new_device"),),
    ),
    Detection(
        "factor_reset_new_device", "A factor was reset, and within a day a new device signed in.",
        "Please confirm it is you: a new device signed in after your sign-in methods changed.",
        "MEDIUM", 4.0, 0.0, True, ("T1556.006", "T1098.005"), None,
        ("", "a new device after a factor change"),
        "known devices after a factor change, or a factor added on a device used before",
        "a lost phone: a reset by the help desk, then a new one",
        needs=members("auth-events", "action", "device_id"),
        references=("NIST CSF 2.0 PR.AA-01", "NIST CSF 2.0 DE.AE-03"), signal="factor_reset_new_device",
        clearing="Cleared by proving a factor.",
    ),
    Detection(
        "refresh_token_reused", "A refresh token that was already used was presented again.",
        "Your session was continued from a copy, so it was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1528", "T1550.001"),
        _token_reused, ("since_refresh_s", "s since its use or the session's start"),
        "never again, or by the same client within {grace_s:g} s",
        "a client that tries again after a lost answer, several tabs", numbers(grace_s=15.0),
        needs=members("auth-events", "action", "ip", "asn", "user_agent"),
        references=("NIST CSF 2.0 DE.CM-03", "RFC 9700 §4.14.2"),
        clearing="Counts for an hour; proving a factor does not clear it, for the copy remains.",
        prefilter=("action",),
    ),
    Detection(
        "sim_swapped", "The device's SIM changed, and within a day credentials were changed or recovered.",
        "Your SIM and your sign-in methods changed shortly after each other, so the session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1451", "T1111"),
        lambda x, _: _after_sim_change(x, _is_one_of(x["action"], _TAKING_OVER)),
        ("", "a factor changed or recovery started within a day of a new SIM"), "the same SIM as yesterday",
        "a person who gets a new SIM and sets up anew",
        needs=members("device-telemetry", "sim_id") + members("auth-events", "action", "device_id"),
        references=("NIST CSF 2.0 PR.AA-01", "NIST CSF 2.0 DE.AE-03"),
        clearing="Counts for an hour; proving a factor does not clear it, for codes may reach another phone.",
        prefilter=(signal("sim_changed"), "action"),
    ),
    Detection(
        "factor_after_sim_swap", "A factor that reaches the SIM was proved within a day of its change.",
        "Please confirm it is you with a factor other than a text message: your SIM changed.",
        "MEDIUM", 4.0, 3600.0, True, ("T1451", "T1111"),
        lambda x, _: _after_sim_change(x, (x["action"] == ACTION["mfa_passed"]) & x["by_sim"]),
        ("", "a code by text or call within a day of a new SIM"), "the same SIM as yesterday",
        "a person who changed the contract or moved to an eSIM",
        needs=members("device-telemetry", "sim_id") + members("auth-events", "action", "amr", "device_id"),
        references=("NIST CSF 2.0 PR.AA-03",),
        clearing="Cleared by proving a factor; else it counts for an hour.",
        prefilter=(signal("sim_changed"), "action", "by_sim"),
    ),
)  # fmt: skip
