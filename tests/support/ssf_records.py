"""Records as the pipeline writes them, so that a test of the transmitter states only what matters."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

from schemas.control import RevocationAck
from schemas.decisions import Reason, SessionRevocation, SessionRisk
from schemas.events import AuthEvent
from schemas.fields import Message
from schemas.topics import AUTH_EVENTS, REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK

Record = tuple[str, Message]
"""A topic and what is written to it."""

_next = count(1)


def now_ms() -> int:
    """The wall clock, ms."""
    return round(time.time() * 1000)


def _subject_name(members: dict[str, Any]) -> dict[str, Any]:
    number = next(_next)
    usual = {"session_id": f"s-{number}", "principal_id": "ana", "principal_kind": "human"}
    return {**usual, "device_id": f"phone-{number}", "decision_id": f"d-{number}", **members}


def revocation(**members: Any) -> Record:
    """End a session of ana."""
    members = _subject_name(members)
    usual = {
        "revocation_id": f"r-{members['decision_id']}",
        "reason_admin": "The session's device is jailbroken or rooted.",
        "reason_user": "Your device no longer meets the security rules, so you were signed out.",
        "detections": ["device_rooted"],
        "score": 91.0,
        "decided_at": now_ms(),
        "deadline": now_ms() + 60_000,
    }
    return SESSION_REVOCATIONS, SessionRevocation.model_validate({**usual, **members})


def reason(detection: str, **members: Any) -> Reason:
    """A cause of a decision."""
    usual = {"detection": detection, "text": f"{detection} holds", "severity": "HIGH", "contribution": 8.0}
    return Reason.model_validate({**usual, **members})


def decision(previous: str, level: str, *detections: str, **members: Any) -> Record:
    """Ana's session went from one level to another, because of *detections*."""
    usual = {
        "caused_by": f"e-{next(_next)}",
        "occurred_at": now_ms(),
        "decided_at": now_ms(),
        "score": {"LOW": 1.0, "MEDIUM": 20.0, "HIGH": 91.0}[level],
        "level": level,
        "previous_level": previous,
        "action": {"LOW": "allow", "MEDIUM": "step_up", "HIGH": "revoke"}[level],
        "mode": "enforce",
        "model": "default",
        "policy": "default",
        "reasons": [reason(name) for name in detections],
    }
    return SESSION_RISK, SessionRisk.model_validate({**usual, **_subject_name(members)})


def credential(action: str = "credential_changed", **members: Any) -> Record:
    """Something was done to a credential of ana."""
    usual = {
        "type": "auth.event",
        "event_id": f"e-{next(_next)}",
        "occurred_at": now_ms(),
        "action": action,
        "amr": ["pwd"],
    }
    return AUTH_EVENTS, AuthEvent.model_validate({**usual, **_subject_name(members)})


def ack(of: Record, outcome: str = "revoked") -> Record:
    """The enforcer's word on a revocation."""
    revoked = of[1]
    assert isinstance(revoked, SessionRevocation)
    return REVOCATION_ACKS, RevocationAck.model_validate(
        {
            "revocation_id": revoked.revocation_id,
            "session_id": revoked.session_id,
            "tenant": revoked.tenant,
            "outcome": outcome,
            "occurred_at": now_ms(),
        }
    )
