"""Detections: what stands out against the principal's own history, once there is enough of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.events.context_signals import has_signal
from models.updates.context import known
from pipeline.detections.detection import (
    API_KEY,
    HUMAN,
    SERVICE,
    Detection,
    Holds,
    Limits,
    View,
    among,
    authenticated,
    explained,
    is_established,
    is_not_established,
    numbers,
    of_role,
    signal,
)


def _rare_hour(x: View, limit: Limits) -> Holds:
    """A country that is new explains the hour, and has detections of its own."""
    abroad = known(x["known"], "known_country", False)
    answer: Holds = is_established(x, limit) & (x["hour_share"] < limit["share"]) & ~abroad
    return answer


def _crowd(x: View, limit: Limits) -> Holds:
    most = np.maximum(limit["sessions"], limit["times"] * x["usual_concurrent"])
    usual = is_established(x, limit)
    most = np.where(usual, most, limit["newcomer"])
    least = np.where(usual, limit["networks"], limit["newcomer_networks"])
    answer: Holds = (x["strange_sessions"] > most) & (x["strange_networks"] >= least) & authenticated(x)
    return answer


def _unfamiliar(x: View, limit: Limits) -> Holds:
    """To its principal; before enough days are known, the model has to find it as strange for the role."""
    unfamiliar = has_signal(x["signals"], "unfamiliar_use")
    return among(unfamiliar, lambda: is_established(x, limit) | _unlike_its_role(x, limit))


def _unlike_its_role(x: View, limit: Limits) -> Holds:
    """Of people, who can be asked. A scope alone may be a new release: it has to be used again and again."""
    strange = has_signal(x["signals"], "unheard_use") | (x["rare_transitions_10m"] > limit["calls"])
    answer: Holds = (x["kind"] == HUMAN) & strange & explained(x)
    return answer


def _probing(x: View, limit: Limits) -> Holds:
    fact, floor, times = "refused_10m", limit["floor"], limit["times"]

    def unusual() -> Holds:
        usual = is_established(x, limit)
        anybody = np.where(usual, limit["things"], limit["newcomer"])
        most = of_role(x, fact, floor=floor, times=times, most=anybody)
        answer: Holds = x[fact] > np.maximum(most, np.where(usual, times * x[f"usual_{fact}"], 0.0))
        return answer

    return among(x[fact] > min(floor, limit["things"], limit["newcomer"]), unusual)


def _machine_probing(x: View, limit: Limits) -> Holds:
    """Who lost a right is refused what it always asked for; who tries asks for what it never did."""
    many = (x["kind"] == API_KEY) | (x["kind"] == SERVICE)
    many &= (x["refused_10m"] > limit["things"]) & (x["new_operations_10m"] > limit["operations"])
    usual = limit["times"] * x["usual_refused_10m"]
    return among(many & is_established(x, limit), lambda: x["refused_10m"] > usual)


BASELINE: Final[tuple[Detection, ...]] = (
    Detection(
        "rare_hour", "The session is active at an hour at which its principal practically never works.",
        "You are signed in at a time of day that is unusual for you.",
        "LOW", 1.5, 3600.0, True, ("T1078",),
        _rare_hour, ("hour_share", "of days active at this hour"), "≥ {share:g} of days",
        "travel, being on call, summer time, a deadline", numbers(days=10.0, share=0.02),
        needs=("auth-events.occurred_at",), references=("NIST CSF 2.0 DE.CM-03",),
        clearing="It ends an hour after the hour is usual again, or with a step-up.", learning=is_not_established,
        prefilter=("days_known",),
    ),
    Detection(
        "concurrent_sessions", "Many more sessions than usual are live at once, from several networks.",
        "Please confirm it is you: your account is signed in from several places at once.",
        "MEDIUM", 4.0, 1800.0, True, ("T1078.004", "T1550.004"),
        _crowd, ("strange_sessions", "live sessions on no device of its own"),
        "≤ {sessions:g} sessions or {times:g} times the usual, on < {networks:g} networks; "
        "≤ {newcomer:g} of a newcomer, on < {newcomer_networks:g}",
        "several new devices in a day, a conference",
        numbers(days=3.0, sessions=3.0, times=2.0, networks=2.0, newcomer=3.0, newcomer_networks=3.0),
        needs=("auth-events.principal_id", "auth-events.ip"), references=("NIST CSF 2.0 DE.CM-03",),
        clearing="A step-up clears it for an hour; it ends half an hour after they are as few as usual.",
        learning=is_not_established, usual="usual_concurrent",
        answers_s=3600.0,
        prefilter=("strange_sessions",),
    ),
    Detection(
        "unfamiliar_scope",
        "A scope or sensitive operation was used that this principal has never used before.",
        "Please confirm it is you: you opened something that you have not used before.",
        "MEDIUM", 4.0, 1800.0, True, ("T1098.003", "T1526"),
        _unfamiliar,
        ("days_known", "days of its own history to compare with"),
        "what it used before, or what others began to use; with less than {days:g} days of history, what its "
        "role does",
        "a new duty, the end of a year; a new release until several have used it",
        numbers(days=7.0, calls=5.0),
        needs=("api-calls.operation", "api-calls.sensitivity", "api-calls.scope", "auth-events.scopes"),
        references=("NIST SP 800-207 §2.1 tenet 4", "NHI5:2025"),
        clearing="A step-up clears it for four hours; it ends by itself within two.", learning=is_not_established,
        answers_s=14_400.0,
        prefilter=(signal("unfamiliar_use", "unheard_use"),),
    ),
    Detection(
        "access_probing", "Many different operations or resources were refused or not found in a short time.",
        "Please confirm it is you: your session asked for many things it may not have.",
        "MEDIUM", 4.0, 1800.0, True, ("T1580", "T1087.004"),
        _probing, ("refused_10m", "different things refused in 10 min"),
        "≤ {floor:g} things or {times:g} times the usual, its own or its role's; "
        "≤ {things:g}, of a newcomer {newcomer:g}, in an unknown role",
        "an inventory scan, a right taken away by mistake",
        numbers(days=3.0, floor=6.0, things=12.0, times=3.0, newcomer=25.0),
        needs=("api-calls.status", "api-calls.operation", "api-calls.resource"),
        references=("NIST CSF 2.0 DE.CM-09",),
        clearing="A step-up clears it for an hour; it ends half an hour after the refusals.",
        learning=is_not_established, usual="usual_refused_10m", role_usual="role_usual_refused_10m",
        answers_s=3600.0,
        prefilter=("refused_10m",),
    ),
    Detection(
        "machine_probing", "A key or service was refused many different operations in a short time.",
        "An API key asked for many things it may not have and was disabled.",
        "HIGH", 6.0, 1800.0, False, ("T1580", "T1087.004", "T1552.001"),
        _machine_probing, ("refused_10m", "different things refused in 10 min"),
        "≤ {things:g} things or {times:g} times the usual, or of ≤ {operations:g} different operations",
        "an inventory scan that runs for the first time, or lost its rights",
        numbers(days=3.0, things=24.0, operations=12.0, times=3.0),
        needs=("api-calls.status", "api-calls.operation"),
        references=("NIST CSF 2.0 DE.CM-09", "NHI5:2025"),
        clearing="It ends half an hour after the refusals, if the session was not ended.",
        learning=lambda x, limit: ((x["kind"] == API_KEY) | (x["kind"] == SERVICE)) & is_not_established(x, limit),
        usual="usual_refused_10m",
        prefilter=("refused_10m", "new_operations_10m", ("kind", API_KEY & SERVICE)),
    ),
)  # fmt: skip
