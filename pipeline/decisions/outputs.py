"""Output messages of the session processor: each function makes a record of a decision in the fields of its topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.features.table import FEATURE_SET
from models.state.table import Subject
from pipeline.decisions.decision import Decision
from pipeline.decisions.escalation import UNCONFIRMED, UNCONFIRMED_TEXT, is_unconfirmed
from pipeline.decisions.explanations import MODEL_TEXT
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import ATTACK_VERSION, BIT, DETECTIONS, Detection
from pipeline.processing.messages import Stamp, message, stable_id
from pipeline.processing.processor import Message
from schemas.topics import (
    SESSION_CHALLENGES,
    SESSION_FEATURES,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    SESSION_SHADOW,
)

SEVERITY_ID: Final = {"LOW": 2, "MEDIUM": 3, "HIGH": 4}
CRITICAL: Final = 5
RISK_LEVEL_ID: Final = {"LOW": 1, "MEDIUM": 2, "HIGH": 3}
CREATE, UPDATE, CLOSE = 1, 2, 3
_CLOSED_TEXT: Final = "The episode is over: the session is trusted again, or has ended."


def _subject_fields(subject: Subject, principal_kind: str) -> dict[str, Any]:
    return {
        "tenant": subject.tenant,
        "session_id": subject.session_id,
        "principal_id": subject.principal_id or None,
        "principal_kind": principal_kind or None,
        "device_id": subject.device_id or None,
    }


def risk(
    subject: Subject,
    principal_kind: str,
    decision: Decision,
    reasons: list[dict[str, Any]],
    cause: str,
    at_ms: int,
    stamp: Stamp,
) -> Message:
    """The decision, for SOC and SIEM; *cause* is the id of the producer's event behind it."""
    fields = {
        "decision_id": decision.decision_id,
        **_subject_fields(subject, principal_kind),
        "caused_by": cause,
        "occurred_at": at_ms,
        "decided_at": stamp.now_ms,
        "score": decision.score,
        "level": decision.level,
        "previous_level": decision.previous,
        "action": decision.action,
        "mode": stamp.mode,
        "suppressed": decision.suppressed[:512] or None,
        "model": stamp.model,
        "policy": stamp.policy,
        "reasons": reasons,
        "learning": decision.learning or None,
    }
    return message(SESSION_RISK, subject.session_id, fields)


def command(
    subject: Subject, principal_kind: str, decision: Decision, root: str, deadline: int, stamp: Stamp
) -> dict[str, Any]:
    """The fields that revocations and challenges share; *deadline* is wall-clock time, ms."""
    counted = [DETECTIONS[BIT[detection_id]] for detection_id in decision.detections]
    return {
        **_subject_fields(subject, principal_kind),
        "root_session_id": root or subject.session_id,
        "decision_id": decision.decision_id,
        "reason_admin": " ".join(detection.text for detection in counted)[:512] or MODEL_TEXT,
        "reason_user": counted[0].user_text if counted else "Unusual activity: please confirm it is you.",
        "detections": list(decision.detections),
        "score": decision.score,
        "decided_at": stamp.now_ms,
        "deadline": deadline,
    }


def revocation(fields: Mapping[str, Any]) -> Message:
    """The command to end a session; `SessionEventHandler._revoke` puts its *fields* together."""
    return message(SESSION_REVOCATIONS, fields["session_id"], fields)


def challenge(fields: Mapping[str, Any]) -> Message:
    """The command to request a step-up of a session, or an approval."""
    return message(SESSION_CHALLENGES, fields["session_id"], fields)


def finding(  # noqa: PLR0913 - a message has many fields
    subject: Subject,
    state: SessionRiskState,
    decision: Decision,
    reasons: list[dict[str, Any]],
    activity: int,
    at_ms: int,
    stamp: Stamp,
    *,
    detail: str = "",
) -> Message:
    """An OCSF Detection Finding (class 2004); *activity* is CREATE, UPDATE or CLOSE, *detail* explains its status."""
    counted = [DETECTIONS[BIT[detection_id]] for detection_id in decision.detections]
    unconfirmed = is_unconfirmed(state) and activity != CLOSE
    status = 4 if activity == CLOSE else 3 if decision.suppressed and not unconfirmed else activity
    title = UNCONFIRMED_TEXT if unconfirmed else _title(counted, activity)
    actor: dict[str, Any] = {"session": {"uid": subject.session_id}}
    if subject.principal_id:
        actor["user"] = {"uid": subject.principal_id, "type_id": 99}
    evidence: dict[str, Any] = {"actor": actor}
    if subject.device_id:
        evidence["device"] = {"uid": subject.device_id, "type_id": 0}
    fields = {
        "category_uid": 2,
        "class_uid": 2004,
        "type_uid": 200400 + activity,
        "activity_id": activity,
        "status_id": status,
        "severity_id": CRITICAL if unconfirmed else SEVERITY_ID[decision.level],
        "time": at_ms,
        "start_time": state.finding_at,
        "status_detail": detail or None,
        "message": title,
        "is_alert": activity != CLOSE,
        "metadata": {
            "version": "1.8.0",
            "uid": stable_id(state.finding, activity, decision.decision_id),
            "correlation_uid": decision.decision_id,
            "tenant_uid": subject.tenant,
            "product": {"name": "session-risk", "vendor_name": "session-risk"},
        },
        "finding_info": {
            "uid": state.finding,
            "title": title,
            "types": [UNCONFIRMED] * unconfirmed + decision.detections,
            "created_time": state.finding_at,
            "modified_time": at_ms,
            "attacks": [
                {"version": ATTACK_VERSION, "technique": {"uid": technique}}
                for technique in dict.fromkeys(uid for detection in counted for uid in detection.attack)
            ],
        },
        "risk_level_id": RISK_LEVEL_ID[decision.level],
        "risk_score": round(decision.score),
        "evidences": [{**evidence, "data": reason} for reason in reasons] or [evidence],
        "unmapped": {
            "session_id": subject.session_id,
            "tenant": subject.tenant,
            "decision_id": decision.decision_id,
            "action": decision.action,
            "mode": stamp.mode,
            "model": stamp.model,
            "policy": stamp.policy,
        },
    }
    return message(SESSION_FINDINGS, subject.session_id, fields)


def _title(counted: Sequence[Detection], activity: int) -> str:
    if counted:
        return counted[0].text
    return _CLOSED_TEXT if activity == CLOSE else MODEL_TEXT


def shadow(subject: Subject, opinions: Mapping[str, Any], at_ms: int, stamp: Stamp) -> Message:
    """What a challenger model would decide, beside the champion."""
    fields = {
        "tenant": subject.tenant,
        "session_id": subject.session_id,
        "principal_id": subject.principal_id or None,
        "occurred_at": at_ms,
        "decided_at": stamp.now_ms,
        "policy": stamp.policy,
        **opinions,
    }
    return message(SESSION_SHADOW, subject.session_id, fields)


def features(
    subject: Subject, principal_kind: str, event_id: str, at_ms: int, scored: Mapping[str, Any], stamp: Stamp
) -> Message:
    """A scored feature vector for retraining: *scored* has its level, role and exact values."""
    fields = {
        "tenant": subject.tenant,
        "session_id": subject.session_id,
        "principal_kind": principal_kind or None,
        "event_id": event_id,
        "occurred_at": at_ms,
        "scored_at": stamp.now_ms,
        "model": stamp.model,
        "policy": stamp.policy,
        "feature_set": FEATURE_SET,
        **scored,
    }
    return message(SESSION_FEATURES, subject.session_id, fields)
