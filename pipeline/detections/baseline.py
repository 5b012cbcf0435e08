"""Detections on behaviour: what deviates from the principal's own baseline or, until that is known, from its role."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.events.context_signals import has_signal
from models.updates.context import known
from pipeline.detections.detection import (
    API_KEY,
    HUMAN,
    SERVICE,
    Bools,
    Detection,
    Limits,
    View,
    authenticated,
    is_established,
    is_modelled,
    is_not_established,
    only_where,
    role_limit,
    signal,
)


def _rare_hour(x: View, limit: Limits) -> Bools:
    """Not from a new country: that explains the hour, and has detections of its own."""
    abroad = known(x["known"], "known_country", False)
    return is_established(x, limit) & (x["hour_share"] < limit["share"]) & ~abroad


def _too_many_sessions(x: View, limit: Limits) -> Bools:
    established = is_established(x, limit)
    own_limit = np.maximum(limit["sessions"], limit["factor"] * x["usual_concurrent"])
    session_limit = np.where(established, own_limit, limit["newcomer"])
    min_networks = np.where(established, limit["networks"], limit["newcomer_networks"])
    too_many = (x["strange_sessions"] > session_limit) & (x["strange_networks"] >= min_networks)
    return too_many & authenticated(x)


def _unfamiliar(x: View, limit: Limits) -> Bools:
    """New to its principal; until enough days are known, it must be unusual for the role as well."""
    unfamiliar = has_signal(x["signals"], "unfamiliar_use")
    return only_where(unfamiliar, lambda: is_established(x, limit) | _unlike_role(x, limit))


def _unlike_role(x: View, limit: Limits) -> Bools:
    """Only people, who can be asked for a factor.

    A single new scope may be a new release, so it has to be used repeatedly.
    """
    unusual = has_signal(x["signals"], "unheard_use") | (x["rare_transitions_10m"] > limit["calls"])
    return (x["kind"] == HUMAN) & unusual & is_modelled(x)


def _probing(x: View, limit: Limits) -> Bools:
    fact, minimum, factor = "refused_10m", limit["minimum"], limit["factor"]

    def unusual() -> Bools:
        established = is_established(x, limit)
        unmodelled = np.where(established, limit["refusals"], limit["newcomer"])
        by_role = role_limit(x, fact, minimum=minimum, factor=factor, unmodelled=unmodelled)
        by_history = np.where(established, factor * x[f"usual_{fact}"], 0.0)
        return x[fact] > np.maximum(by_role, by_history)

    return only_where(x[fact] > min(minimum, limit["refusals"], limit["newcomer"]), unusual)


def _machine_probing(x: View, limit: Limits) -> Bools:
    """Many operations that are new to the session.

    A key that lost a right is refused what it always called; one that probes calls what it never did.
    """
    many = (x["kind"] == API_KEY) | (x["kind"] == SERVICE)
    many &= (x["refused_10m"] > limit["refusals"]) & (x["new_operations_10m"] > limit["operations"])
    usual = limit["factor"] * x["usual_refused_10m"]
    return only_where(many & is_established(x, limit), lambda: x["refused_10m"] > usual)


BASELINE: Final[tuple[Detection, ...]] = (
    Detection(
        id="rare_hour",
        text="The session is active at an hour at which its principal practically never works.",
        user_text="You are signed in at a time of day that is unusual for you.",
        severity="LOW",
        weight=1.5,
        hold_s=3600.0,
        cleared_by_step_up=True,
        holds=_rare_hour,
        prefilter=("days_known",),
        learning=is_not_established,
        limits={"days": 10.0, "share": 0.02},
        observed=("hour_share", "of days active at this hour"),
        normal="≥ {share:g} of days",
        attack=("T1078",),
        references=("NIST CSF 2.0 DE.CM-03",),
        needs=("auth-events.occurred_at",),
        known_false_positives="travel, being on call, daylight saving time, a deadline",
        clearing="Clears by a step-up, or an hour after the hour is usual again.",
    ),
    Detection(
        id="concurrent_sessions",
        text="Many more sessions than usual are live at once, from several networks.",
        user_text="Please confirm it is you: your account is signed in from several places at once.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=1800.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_too_many_sessions,
        prefilter=("strange_sessions",),
        learning=is_not_established,
        limits={
            "days": 3.0,
            "sessions": 3.0,
            "factor": 2.0,
            "networks": 2.0,
            "newcomer": 3.0,
            "newcomer_networks": 3.0,
        },
        observed=("strange_sessions", "live sessions on no device of its own"),
        usual_fact="usual_concurrent",
        normal=(
            "≤ {sessions:g} sessions or {factor:g} times the usual, on < {networks:g} networks; "
            "≤ {newcomer:g} of a newcomer, on < {newcomer_networks:g}"
        ),
        attack=("T1078.004", "T1550.004"),
        references=("NIST CSF 2.0 DE.CM-03",),
        needs=("auth-events.principal_id", "auth-events.ip"),
        known_false_positives="several new devices on one day, a conference",
        clearing="Clears by a step-up, which lasts an hour, or half an hour after the number is usual again.",
    ),
    Detection(
        id="unfamiliar_scope",
        text="A scope or sensitive operation was used that this principal has never used before.",
        user_text="Please confirm it is you: you opened something that you have not used before.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=1800.0,
        cleared_by_step_up=True,
        cleared_for_s=14_400.0,
        holds=_unfamiliar,
        prefilter=(signal("unfamiliar_use", "unheard_use"),),
        learning=is_not_established,
        limits={"days": 7.0, "calls": 5.0},
        observed=("days_known", "days of its own history to compare with"),
        normal=(
            "what it used before, or what others began to use; with less than {days:g} days of history, what its "
            "role does"
        ),
        attack=("T1098.003", "T1526"),
        references=("NIST SP 800-207 §2.1 tenet 4", "NHI5:2025"),
        needs=("api-calls.operation", "api-calls.sensitivity", "api-calls.scope", "auth-events.scopes"),
        known_false_positives="a new duty, year-end work, a new release until several principals have used it",
        clearing="Clears by a step-up, which lasts four hours, or by itself within two hours.",
    ),
    Detection(
        id="access_probing",
        text="Many different operations or resources were refused or not found in a short time.",
        user_text="Please confirm it is you: your session asked for many things it may not have.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=1800.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_probing,
        prefilter=("refused_10m",),
        learning=is_not_established,
        limits={"days": 3.0, "minimum": 6.0, "refusals": 12.0, "factor": 3.0, "newcomer": 25.0},
        observed=("refused_10m", "different things refused in 10 min"),
        usual_fact="usual_refused_10m",
        role_usual_fact="role_usual_refused_10m",
        normal=(
            "≤ {minimum:g} things or {factor:g} times the usual, its own or its role's; "
            "≤ {refusals:g}, of a newcomer {newcomer:g}, in an unknown role"
        ),
        attack=("T1580", "T1087.004"),
        references=("NIST CSF 2.0 DE.CM-09",),
        needs=("api-calls.status", "api-calls.operation", "api-calls.resource"),
        known_false_positives="an inventory scan, a permission removed by mistake",
        clearing="Clears by a step-up, which lasts an hour, or half an hour after the last refusal.",
    ),
    Detection(
        id="machine_probing",
        text="A key or service was refused many different operations in a short time.",
        user_text="An API key asked for many things it may not have and was disabled.",
        severity="HIGH",
        weight=6.0,
        hold_s=1800.0,
        cleared_by_step_up=False,
        holds=_machine_probing,
        prefilter=("refused_10m", "new_operations_10m", ("kind", API_KEY & SERVICE)),
        learning=lambda x, limit: ((x["kind"] == API_KEY) | (x["kind"] == SERVICE)) & is_not_established(x, limit),
        limits={"days": 3.0, "refusals": 24.0, "operations": 12.0, "factor": 3.0},
        observed=("refused_10m", "different things refused in 10 min"),
        usual_fact="usual_refused_10m",
        normal="≤ {refusals:g} things or {factor:g} times the usual, or of ≤ {operations:g} different operations",
        attack=("T1580", "T1087.004", "T1552.001"),
        references=("NIST CSF 2.0 DE.CM-09", "NHI5:2025"),
        needs=("api-calls.status", "api-calls.operation"),
        known_false_positives="an inventory scan that runs for the first time or lost its permissions",
        clearing="Clears half an hour after the last refusal, if the session was not revoked.",
    ),
)
