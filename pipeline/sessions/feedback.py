"""What a verdict does to its session: a false positive keeps the cause quiet, within what the policy allows.

The session is told at once, its principal's other sessions by way of the principal context
(:mod:`pipeline.contexts.principal.suppressions`). Whoever holds a stolen session could call its discovery a mistake: so nobody's
word counts in their own favour, what is a fact is never muted, and everything expires.
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.decisions.policy import Policy
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import BIT, DETECTIONS
from pipeline.processing.messages import principal_suppression, stable_id, suppression
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.sessions.slow_path import SlowPathEvent

_MISSED: Final = "step_up_missed"


def apply_verdict(sight: SlowPathEvent, policy: Policy, out: OutcomeBuilder) -> None:
    """Count the verdict in *sight*, and follow it where it calls something a false positive."""
    out.count("feedback", sight.event["verdict"])
    if sight.event["verdict"] == "false_positive":
        _false_positive(sight, policy, out)


def note_verdict(case: SessionRiskState, event: dict[str, Any]) -> None:
    """Take the principal context's word on what is muted; of each detection the latest time counts."""
    for detection, until in event["muted"].items():
        case.suppressed_until[detection] = max(until, case.suppressed_until.get(detection, 0))


def _false_positive(sight: SlowPathEvent, policy: Policy, out: OutcomeBuilder) -> None:
    """Mute what may be muted, say so, and say what may not."""
    causes = _causes(sight)
    if not policy.feedback.may_mute(sight.event["reported_by"], sight.who["principal_id"]):
        why = "this reporter may keep nothing quiet here; the policy's feedback.mute_prefixes name who may"
        _tell(sight, policy, "refused", causes, out, why)
        return
    mutable = [one for one in causes if DETECTIONS[BIT[one]].suppressible]
    if facts := [one for one in causes if one not in mutable and one != _MISSED]:
        _tell(sight, policy, "refused", facts, out, "a fact, not a guess: it is never kept quiet")
    case = sight.case
    case.challenge = None
    case.episodes.pop(_MISSED, None)
    if not mutable:
        return
    told = _tell(sight, policy, "created", mutable, out)
    note_verdict(case, {"muted": dict.fromkeys(mutable, told["expires_at"])})
    if sight.who["principal_id"]:
        event_id, at = str(sight.event["event_id"]), int(sight.event["occurred_at"])
        out.send(principal_suppression(sight.who, sight.kind, event_id, at, told))


def _causes(sight: SlowPathEvent) -> list[str]:
    """The detections that a verdict is about: those it names, else what counts, or counted when it fell."""
    named = sight.event["detections"]
    if named is None:
        revocation = sight.case.revocation
        named = [*sight.case.episodes, *(revocation.command["detections"] if revocation else ())]
    return [one for one in dict.fromkeys(named) if one in BIT]


def _tell(
    sight: SlowPathEvent,
    policy: Policy,
    state: str,
    detections: list[str],
    out: OutcomeBuilder,
    refusal: str | None = None,
) -> dict[str, Any]:
    """Say on the topic what became of the verdict; return what was said."""
    event, who = sight.event, sight.who
    longest = int(event["occurred_at"]) + int(policy.times.muted_s * 1000)
    told = {
        "suppression_id": stable_id(who["tenant"], who["session_id"], event["event_id"], state),
        "tenant": who["tenant"], "principal_id": who["principal_id"] or None, "session_id": who["session_id"],
        "decision_id": event["decision_id"], "state": state, "detections": detections,
        "owner": event["reported_by"], "reason": event["note"], "refusal": refusal,
        "occurred_at": int(event["occurred_at"]), "expires_at": min(event["expires_at"] or longest, longest),
    }  # fmt: skip
    out.count("suppressions", state)
    out.send(suppression(told))
    return told
