"""Detections on authentication: sign-ins, second factors, and the tokens and devices that prove them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events import context_signals
from models.events.columns import ACTION, FACTOR_CHANGES
from models.events.operations import Stage
from models.features.table import HOUR
from pipeline.detections.detection import (
    FOREVER,
    HUMAN,
    STEP_UP_MISSED,
    Bools,
    Detection,
    Limits,
    View,
    event_fields,
    signal,
)

_FACTOR_PROVED: Final = (ACTION["mfa_passed"], ACTION["step_up_passed"])
_FACTOR_CHANGED: Final = tuple(ACTION[name] for name in FACTOR_CHANGES)


def _is_one_of(action: NDArray[Any], actions: tuple[int, ...]) -> Bools:
    return np.isin(action, actions)


def _fatigued(x: View, limit: Limits) -> Bools:
    return _is_one_of(x["action"], _FACTOR_PROVED) & (x["mfa_denials_10m"] > limit["denials"])


def _devices_not_established(x: View, limit: Limits) -> Bools:
    """Until enough of the principal's devices are known for a new one to mean anything."""
    return (x["kind"] == HUMAN) & (x["sessions_seen"] < limit["sessions"])


def _privileged_on_new_device(x: View, limit: Limits) -> Bools:
    privileged = (x["stage"] > 0) & (x["stage"] < Stage.SECRET)
    step = privileged | (x["action"] == ACTION["credential_added"]) | x["powerful"]
    recent = (x["session_age"] <= HOUR) | (x["client_changes_1h"] > 0.5)
    new_device = context_signals.has_signal(x["signals"], "new_device") & ~_devices_not_established(x, limit)
    return (x["kind"] == HUMAN) & step & recent & new_device & ~x["proved"]


def _token_reused(x: View, limit: Limits) -> Bools:
    """Not the client's own retry: the same client, on the same network, shortly after it used the token.

    Where the log has no refreshes, nobody knows how long ago that was, and the network before may be that of the
    sign-in; then it is a fact only of another client elsewhere.
    """
    elsewhere, other = x["network_changed"], x["client_changed"]
    in_time = x["since_refresh_s"] <= limit["grace_s"]
    retry = np.where(x["refreshed_at"] == 0, ~(elsewhere & other), ~elsewhere & ~other & in_time)
    return (x["action"] == ACTION["token_reused"]) & ~retry


def _after_sim_change(x: View, condition: Bools) -> Bools:
    return context_signals.has_signal(x["signals"], "sim_changed") & condition


FACTORS: Final[tuple[Detection, ...]] = (
    Detection(
        id="mfa_fatigue",
        text="A prompt was approved after a burst of denied prompts.",
        user_text="You denied several sign-in prompts and then one was approved, so the session was ended.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=False,
        is_fact=True,
        holds=_fatigued,
        prefilter=("action", "mfa_denials_10m"),
        limits={"denials": 3.0},
        observed=("mfa_denials_10m", "denials in 10 min"),
        normal="≤ {denials:g} denials",
        attack=("T1621",),
        references=("NIST CSF 2.0 DE.CM-03", "NIST CSF 2.0 PR.AA-03"),
        needs=event_fields("auth-events", "action"),
        known_false_positives="a person who is learning to use a new phone",
        clearing="Clears after an hour; a step-up does not clear it, because the factor itself was abused.",
    ),
    Detection(
        id=STEP_UP_MISSED,
        text="The session was asked to prove a factor again and did not by the deadline.",
        user_text="You were asked to confirm it is you and the time ran out.",
        severity="HIGH",
        weight=8.0,
        hold_s=FOREVER,
        cleared_by_step_up=True,
        is_fact=True,
        suppressible=False,
        observed=("strong_auth_age_m", "minutes since a factor"),
        normal="step-up passed in time",
        attack=("T1550.004",),
        references=("NIST CSF 2.0 PR.AA-03", "NIST SP 800-207 §2.1 tenet 6"),
        needs=event_fields("auth-events", "action"),
        known_false_positives="a person who is away from the desk",
        clearing="Clears by a step-up before the session is revoked.",
    ),
    Detection(
        id="new_device_privileged",
        text="A privileged step on a device new to the person, after a sign-in alone.",
        user_text="Please confirm it is you: a new device wants to change credentials or rights.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        holds=_privileged_on_new_device,
        prefilter=(signal("new_device"),),
        learning=_devices_not_established,
        limits={"sessions": 3.0},
        observed=("", "a privileged step within an hour on a new device"),
        normal="privileged steps on known devices, or after a factor",
        attack=("T1098.005", "T1078.004"),
        references=("NIST CSF 2.0 PR.AA-05", "NIST SP 800-207 §2.1 tenet 4"),
        needs=event_fields("auth-events", "device_id", "action", "scopes") + event_fields("api-calls", "operation"),
        known_false_positives="the first day with a new phone, a re-imaged laptop",
        clearing="Clears by a step-up, or after an hour.",
    ),
    Detection(
        id="factor_reset_new_device",
        text="A factor was reset, and within a day a new device signed in.",
        user_text="Please confirm it is you: a new device signed in after your sign-in methods changed.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        signal="factor_reset_new_device",
        observed=("", "a new device after a factor change"),
        normal="known devices after a factor change, or a factor added on a device used before",
        attack=("T1556.006", "T1098.005"),
        references=("NIST CSF 2.0 PR.AA-01", "NIST CSF 2.0 DE.AE-03"),
        needs=event_fields("auth-events", "action", "device_id"),
        known_false_positives="a lost phone: a reset by the help desk, then a new phone",
        clearing="Clears by a step-up.",
    ),
    Detection(
        id="refresh_token_reused",
        text="A refresh token that was already used was presented again.",
        user_text="Your session was continued from a copy, so it was ended.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=False,
        is_fact=True,
        holds=_token_reused,
        prefilter=("action",),
        limits={"grace_s": 60.0},  # identity providers let clients retry for up to a minute
        observed=("since_refresh_s", "s since its use or the session's start"),
        normal="never again, or by the same client within {grace_s:g} s",
        attack=("T1528", "T1550.001"),
        references=("NIST CSF 2.0 DE.CM-03", "RFC 9700 §4.14.2"),
        needs=event_fields("auth-events", "action", "ip", "asn", "user_agent"),
        known_false_positives="a client that retries after a lost response, several tabs",
        clearing="Clears after an hour; a step-up does not clear it, because the copied token remains valid.",
    ),
    Detection(
        id="sim_swapped",
        text="The device's SIM changed, and within a day credentials were changed or recovered.",
        user_text="Your SIM and your sign-in methods changed shortly after each other, so the session was ended.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=False,
        is_fact=True,
        holds=lambda x, _: _after_sim_change(x, _is_one_of(x["action"], _FACTOR_CHANGED)),
        prefilter=(signal("sim_changed"), "action"),
        observed=("", "a factor changed or recovery started within a day of a new SIM"),
        normal="the same SIM as yesterday",
        attack=("T1451", "T1111"),
        references=("NIST CSF 2.0 PR.AA-01", "NIST CSF 2.0 DE.AE-03"),
        needs=event_fields("device-telemetry", "sim_id") + event_fields("auth-events", "action", "device_id"),
        known_false_positives="a person who gets a new SIM and enrols again",
        clearing="Clears after an hour; a step-up does not clear it, because codes may reach the attacker's phone.",
    ),
    Detection(
        id="factor_after_sim_swap",
        text="A factor that reaches the SIM was proved within a day of its change.",
        user_text="Please confirm it is you with a factor other than a text message: your SIM changed.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        holds=lambda x, _: _after_sim_change(x, (x["action"] == ACTION["mfa_passed"]) & x["by_sim"]),
        prefilter=(signal("sim_changed"), "action", "by_sim"),
        observed=("", "a code by text or call within a day of a new SIM"),
        normal="the same SIM as yesterday",
        attack=("T1451", "T1111"),
        references=("NIST CSF 2.0 PR.AA-03",),
        needs=event_fields("device-telemetry", "sim_id") + event_fields("auth-events", "action", "amr", "device_id"),
        known_false_positives="a new mobile contract, a move to an eSIM",
        clearing="Clears by a step-up, or after an hour.",
    ),
)
