"""Analysts' verdicts on a session: a false positive suppresses its detections, within what the policy allows.

The suppression applies to the session at once, and to the principal's other sessions through the principal context
(:mod:`pipeline.contexts.principal.suppressions`). The thief of a session could report its detection as a mistake:
therefore nobody can suppress detections of their own sessions, facts are never suppressed, and every suppression
expires.
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


def apply_verdict(current: SlowPathEvent, policy: Policy, out: OutcomeBuilder) -> None:
    """Count the verdict in *current*; a false positive suppresses the detections it names."""
    out.count("feedback", current.event["verdict"])
    if current.event["verdict"] == "false_positive":
        _false_positive(current, policy, out)


def note_verdict(state: SessionRiskState, event: Mapping[str, Any]) -> None:
    """Apply suppressions of the principal context; per detection the latest end counts."""
    for detection, until in event["muted"].items():
        state.suppressed_until[detection] = max(until, state.suppressed_until.get(detection, 0))


def _false_positive(current: SlowPathEvent, policy: Policy, out: OutcomeBuilder) -> None:
    """Suppress the detections that may be suppressed, and report the result, refusals too."""
    causes = _causes(current)
    if not policy.feedback.may_suppress(current.event["reported_by"], current.subject.principal_id):
        why = "this reporter may keep nothing quiet here; the policy's feedback.suppressor_prefixes name who may"
        _report(current, policy, "refused", causes, out, why)
        return
    mutable = [cause for cause in causes if DETECTIONS[BIT[cause]].suppressible]
    if facts := [cause for cause in causes if cause not in mutable and cause != STEP_UP_MISSED]:
        _report(current, policy, "refused", facts, out, "a fact, not a guess: it is never kept quiet")
    state = current.state
    state.challenge = None
    state.episodes.pop(STEP_UP_MISSED, None)
    if not mutable:
        return
    fields = _report(current, policy, "created", mutable, out)
    note_verdict(state, {"muted": dict.fromkeys(mutable, fields["expires_at"])})
    if current.subject.principal_id:
        event_id, at = str(current.event["event_id"]), int(current.event["occurred_at"])
        out.send(principal_suppression(current.subject, current.kind, event_id, at, fields))


def _causes(current: SlowPathEvent) -> list[str]:
    """The detections that a verdict is about: those it names, else what counts, or counted when it fell."""
    named = current.event["detections"]
    if named is None:
        revocation = current.state.revocation
        named = [*current.state.episodes, *(revocation.command["detections"] if revocation else ())]
    return [fromkey for fromkey in dict.fromkeys(named) if fromkey in BIT]


def _report(
    current: SlowPathEvent,
    policy: Policy,
    state: str,
    detections: list[str],
    out: OutcomeBuilder,
    refusal: str | None = None,
) -> dict[str, Any]:
    """Send the outcome of the verdict to the suppressions topic; returns the record."""
    event, subject = current.event, current.subject
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
