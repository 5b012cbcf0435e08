"""Small valid events with every member, so that a test states only what matters."""

from __future__ import annotations

from itertools import count
from typing import Any

from schemas.control import RevocationAck, SessionFeedback
from schemas.events import ApiCall, AuthEvent, DeviceTelemetry
from schemas.internal import NetworkActivity, PrincipalActivity, SessionBinding, SessionContext

T0 = 1_772_409_600_000
"""2026-03-02T00:00:00Z."""
_next = count(1)
_WHO = {"session_id": "s-1", "principal_id": "ana", "principal_kind": "human"}


def _full(model: Any, members: dict[str, Any]) -> dict[str, Any]:
    at = members.pop("at", 0.0)
    members = {"event_id": f"e-{next(_next)}", "occurred_at": T0 + round(at * 1000), **members}
    event: dict[str, Any] = model.model_validate(members).model_dump()
    return event


def call(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """An API call, *at* seconds after :data:`T0`."""
    usual = {"type": "api.call", **_WHO, "operation": "GET /x", "status": 200}
    return _full(ApiCall, {**usual, "at": at, **members})


def auth(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """An auth event, *at* seconds after :data:`T0`."""
    return _full(AuthEvent, {"type": "auth.event", **_WHO, "action": "sign_in", "at": at, **members})


def telemetry(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """Telemetry of phone-1, *at* seconds after :data:`T0`."""
    return _full(DeviceTelemetry, {"type": "device.telemetry", "device_id": "phone-1", "at": at, **members})


def context(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """A context message for session s-1, *at* seconds after :data:`T0`."""
    usual = {"type": "session.context", "session_id": "s-1", "source": "device"}
    return _full(SessionContext, {**usual, "at": at, **members})


def binding(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """Session s-1 lives on phone-1, *at* seconds after :data:`T0`."""
    usual = {"type": "session.binding", **_WHO, "device_id": "phone-1", "state": "live"}
    return _full(SessionBinding, {**usual, "at": at, **members})


def activity(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """Session s-1 of ana started, *at* seconds after :data:`T0`."""
    return _full(PrincipalActivity, {"type": "principal.activity", **_WHO, "kind": "started", "at": at, **members})


def attempt(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """Ana signed in as session s-1 from 192.0.2, *at* seconds after :data:`T0`."""
    usual = {"type": "network.activity", **_WHO, "network": "192.0.2", "action": "sign_in"}
    return _full(NetworkActivity, {**usual, "at": at, **members})


def feedback(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """A verdict on session s-1, *at* seconds after :data:`T0`."""
    usual = {"session_id": "s-1", "verdict": "false_positive", "reported_by": "soc"}
    return _full(SessionFeedback, {**usual, "at": at, **members})


def ack(at: float = 0.0, **members: Any) -> dict[str, Any]:
    """The enforcer's word that session s-1 is revoked, *at* seconds after :data:`T0`."""
    usual = {"session_id": "s-1", "revocation_id": "r-1", "outcome": "revoked"}
    return _full(RevocationAck, {**usual, "at": at, **members})


UNASKED = "".join(f'[{kind}]\nhigh_on_suspicion = "revoke"\n' for kind in ("human", "service", "api_key", "agent"))
"""Policy text: HIGH ends a session on suspicion, too, so that any detection of that severity shows what follows."""
