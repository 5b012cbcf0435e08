"""What a verdict does to its session: a false positive keeps the cause quiet, within what the policy allows.

The session is told at once, its principal's other sessions by way of the principal context
(:mod:`pipeline.contexts.principal.suppressions`). Whoever holds a stolen session could call its discovery a
mistake: so nobody's word counts in their own favour, what is a fact is never muted, and everything expires.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.decisions.policy import Policy
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import BIT, DETECTIONS, STEP_UP_MISSED
from pipeline.processing.messages import principal_suppression, stable_id, suppression
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.sessions.slow_path import SlowPathEvent


def apply_verdict(sight: SlowPathEvent, policy: Policy, out: OutcomeBuilder) -> None:
    """Count the verdict in *sight*, and follow it where it calls something a false positive."""
    out.count("feedback", sight.event["verdict"])
    if sight.event["verdict"] == "false_positive":
        _false_positive(sight, policy, out)


def note_verdict(case: SessionRiskState, event: Mapping[str, Any]) -> None:
    """Take the principal context's word on what is muted; of each detection the latest time counts."""
    for detection, until in event["muted"].items():
        case.suppressed_until[detection] = max(until, case.suppressed_until.get(detection, 0))


def _false_positive(sight: SlowPathEvent, policy: Policy, out: OutcomeBuilder) -> None:
    """Mute what may be muted, say so, and say what may not."""
    causes = _causes(sight)
    if not policy.feedback.may_suppress(sight.event["reported_by"], sight.subject.principal_id):
        why = "this reporter may keep nothing quiet here; the policy's feedback.suppressor_prefixes name who may"
        _tell(sight, policy, "refused", causes, out, why)
        return
    mutable = [cause for cause in causes if DETECTIONS[BIT[cause]].suppressible]
    if facts := [cause for cause in causes if cause not in mutable and cause != STEP_UP_MISSED]:
        _tell(sight, policy, "refused", facts, out, "a fact, not a guess: it is never kept quiet")
    case = sight.case
    case.challenge = None
    case.episodes.pop(STEP_UP_MISSED, None)
    if not mutable:
        return
    fields = _tell(sight, policy, "created", mutable, out)
    note_verdict(case, {"muted": dict.fromkeys(mutable, fields["expires_at"])})
    if sight.subject.principal_id:
        event_id, at = str(sight.event["event_id"]), int(sight.event["occurred_at"])
        out.send(principal_suppression(sight.subject, sight.kind, event_id, at, fields))


def _causes(sight: SlowPathEvent) -> list[str]:
    """The detections that a verdict is about: those it names, else what counts, or counted when it fell."""
    named = sight.event["detections"]
    if named is None:
        revocation = sight.case.revocation
        named = [*sight.case.episodes, *(revocation.command["detections"] if revocation else ())]
    return [fromkey for fromkey in dict.fromkeys(named) if fromkey in BIT]


def _tell(
    sight: SlowPathEvent,
    policy: Policy,
    state: str,
    detections: list[str],
    out: OutcomeBuilder,
    refusal: str | None = None,
) -> dict[str, Any]:
    """Say on the topic what became of the verdict; return what was said."""
    event, subject = sight.event, sight.subject
    longest = int(event["occurred_at"]) + int(policy.times.suppression_s * 1000)
    fields = {
        "suppression_id": stable_id(subject.tenant, subject.session_id, event["event_id"], state),
        "tenant": subject.tenant,
        "principal_id": subject.principal_id or None,
        "session_id": subject.session_id,
        "decision_id": event["decision_id"],
        "state": state,
        "detections": detections,
        "owner": event["reported_by"],
        "reason": event["note"],
        "refusal": refusal,
        "occurred_at": int(event["occurred_at"]),
        "expires_at": min(event["expires_at"] or longest, longest),
    }
    out.count("suppressions", state)
    out.send(suppression(fields))
    return fields
