"""The messages that leave a scorer: each function makes a record of a conclusion, in the contract's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.features.table import FEATURE_SET
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
_OVER_TEXT: Final = "The episode is over: the session is trusted again, or has ended."


def _who(subject: Mapping[str, str], kind: str) -> dict[str, Any]:
    return {
        "tenant": subject["tenant"],
        "session_id": subject["session_id"],
        "principal_id": subject["principal_id"] or None,
        "principal_kind": kind or None,
        "device_id": subject["device_id"] or None,
    }


def risk(
    subject: Mapping[str, str],
    kind: str,
    decision: Decision,
    reasons: list[dict[str, Any]],
    cause: str,
    at: int,
    stamp: Stamp,
) -> Message:
    """The decision, for SOC and SIEM."""
    members = {
        "decision_id": decision.decision_id,
        **_who(subject, kind),
        "caused_by": cause,
        "occurred_at": at,
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
    return message(SESSION_RISK, subject["session_id"], members)


def command(
    subject: Mapping[str, str], kind: str, decision: Decision, root: str, deadline: int, stamp: Stamp
) -> dict[str, Any]:
    """What revocations and challenges share."""
    named = [DETECTIONS[BIT[detection]] for detection in decision.detections]
    return {
        **_who(subject, kind),
        "root_session_id": root or subject["session_id"],
        "decision_id": decision.decision_id,
        "reason_admin": " ".join(rule.text for rule in named)[:512] or MODEL_TEXT,
        "reason_user": named[0].user_text if named else "Unusual activity: please confirm it is you.",
        "detections": list(decision.detections),
        "score": decision.score,
        "decided_at": stamp.now_ms,
        "deadline": deadline,
    }


def revocation(members: Mapping[str, Any]) -> Message:
    """The command: end this session."""
    return message(SESSION_REVOCATIONS, members["session_id"], members)


def challenge(members: Mapping[str, Any]) -> Message:
    """The command: step this session up."""
    return message(SESSION_CHALLENGES, members["session_id"], members)


def finding(  # noqa: PLR0913 - a message has members
    subject: Mapping[str, str],
    case: SessionRiskState,
    decision: Decision,
    reasons: list[dict[str, Any]],
    activity: int,
    at: int,
    stamp: Stamp,
    *,
    detail: str = "",
) -> Message:
    """An OCSF Detection Finding (class 2004): create, update or close; *detail* tells why its status is."""
    named = [DETECTIONS[BIT[detection]] for detection in decision.detections]
    alarm = is_unconfirmed(case) and activity != CLOSE
    status = 4 if activity == CLOSE else 3 if decision.suppressed and not alarm else activity
    title = UNCONFIRMED_TEXT if alarm else _title(named, activity)
    actor: dict[str, Any] = {"session": {"uid": subject["session_id"]}}
    if subject["principal_id"]:
        actor["user"] = {"uid": subject["principal_id"], "type_id": 99}
    evidence: dict[str, Any] = {"actor": actor}
    if subject["device_id"]:
        evidence["device"] = {"uid": subject["device_id"], "type_id": 0}
    members = {
        "category_uid": 2,
        "class_uid": 2004,
        "type_uid": 200400 + activity,
        "activity_id": activity,
        "status_id": status,
        "severity_id": CRITICAL if alarm else SEVERITY_ID[decision.level],
        "time": at,
        "start_time": case.finding_at,
        "status_detail": detail or None,
        "message": title,
        "is_alert": activity != CLOSE,
        "metadata": {
            "version": "1.8.0",
            "uid": stable_id(case.finding, activity, decision.decision_id),
            "correlation_uid": decision.decision_id,
            "tenant_uid": subject["tenant"],
            "product": {"name": "session-risk", "vendor_name": "session-risk"},
        },
        "finding_info": {
            "uid": case.finding,
            "title": title,
            "types": [UNCONFIRMED] * alarm + decision.detections,
            "created_time": case.finding_at,
            "modified_time": at,
            "attacks": [
                {"version": ATTACK_VERSION, "technique": {"uid": technique}}
                for technique in dict.fromkeys(t for rule in named for t in rule.attack)
            ],
        },
        "risk_level_id": RISK_LEVEL_ID[decision.level],
        "risk_score": round(decision.score),
        "evidences": [{**evidence, "data": reason} for reason in reasons] or [evidence],
        "unmapped": {
            "session_id": subject["session_id"],
            "tenant": subject["tenant"],
            "decision_id": decision.decision_id,
            "action": decision.action,
            "mode": stamp.mode,
            "model": stamp.model,
            "policy": stamp.policy,
        },
    }
    return message(SESSION_FINDINGS, subject["session_id"], members)


def _title(named: Sequence[Detection], activity: int) -> str:
    if named:
        return named[0].text
    return _OVER_TEXT if activity == CLOSE else MODEL_TEXT


def shadow(subject: Mapping[str, str], opinions: Mapping[str, Any], at: int, stamp: Stamp) -> Message:
    """What a challenger would decide, beside the champion."""
    members = {
        "tenant": subject["tenant"],
        "session_id": subject["session_id"],
        "principal_id": subject["principal_id"] or None,
        "occurred_at": at,
        "decided_at": stamp.now_ms,
        "policy": stamp.policy,
        **opinions,
    }
    return message(SESSION_SHADOW, subject["session_id"], members)


def features(
    subject: Mapping[str, str], kind: str, event_id: str, at: int, scored: Mapping[str, Any], stamp: Stamp
) -> Message:
    """The vector that was scored, exactly, for retraining: its level, role and values."""
    members = {
        "tenant": subject["tenant"],
        "session_id": subject["session_id"],
        "principal_kind": kind or None,
        "event_id": event_id,
        "occurred_at": at,
        "scored_at": stamp.now_ms,
        "model": stamp.model,
        "policy": stamp.policy,
        "feature_set": FEATURE_SET,
        **scored,
    }
    return message(SESSION_FEATURES, subject["session_id"], members)
