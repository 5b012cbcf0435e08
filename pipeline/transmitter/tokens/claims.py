"""Claims of a token: RFC 8417 §2.2 as SSF 1.0 §4 and CAEP 1.0 §2 restrict it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.processing.messages import stable_id
from pipeline.transmitter.protocol import EVENTS, SecurityEvent, Stream, Subject
from pipeline.transmitter.tokens.events import DETAILS, LANGUAGE
from pipeline.transmitter.tokens.subjects import Subjects

Claims = dict[str, Any]

CONTROL_LANE: Final = "stream"
"""Events about the stream itself are sent in the order they were made, independently of all subjects."""


def jti_of(cause: str, stream_id: str, event: str) -> str:
    """The token's id: the same cause gives the same token for a stream, however often its record is read."""
    return stable_id(cause, stream_id, event)


def lane_of(subject: Subject) -> str:
    """The ordering key: the principal, or the session or device if the principal is unknown.

    Tokens with one ordering key keep their order.
    """
    for prefix, name in (("p", subject.principal_id), ("s", subject.session_id), ("d", subject.device_id)):
        if name is not None:
            return stable_id(subject.tenant, prefix, name)
    return stable_id(subject.tenant)


_PRINCIPAL: Final = "principal"
_NARROWEST: Final = (("session", "SESSION"), ("device", "DEVICE"))
"""Fields of a complex subject that narrow it down to less than a user, and the `principal` value for them."""


def principal_of(subject: Mapping[str, Any]) -> str:
    """CAEP 1.0 §3.8.1 `principal`: the kind of principal that *subject*, as made by `subjects`, identifies.

    A simple subject identifies a user, even if the event is about a session: the receiver learns about the
    user.
    """
    return next((prefix for member, prefix in _NARROWEST if member in subject), "USER")


def claims_of(
    security_event: SecurityEvent, stream: Stream, subjects: Subjects, issuer: str, now_ms: int
) -> Claims | None:
    """The claims of the token of *security_event* for *stream*; `None` if its subject has no identifier there.

    Times are whole seconds. `sub` and `exp` are absent (SSF 1.0 §4.1.2, §4.1.7).
    """
    subject = subjects.identify(security_event.subject, stream, issuer)
    if subject is None:
        return None
    row = EVENTS[security_event.event]
    payload = _for_stream(security_event.payload, stream)
    if _PRINCIPAL in row.required:
        payload[_PRINCIPAL] = principal_of(subject)
    payload["event_timestamp"] = security_event.at // 1000
    if stream.subject_in_event:  # SSF 1.0 §3.1.1: beside sub_id, for event types older than it
        payload["subject"] = subject
    jti = jti_of(security_event.cause, stream.stream_id, security_event.event)
    txn = security_event.txn or security_event.cause
    return envelope(issuer, stream.aud, jti, now_ms, txn, subject, {row.uri: payload})


def envelope(
    issuer: str,
    aud: str,
    jti: str,
    now_ms: int,
    txn: str,
    subject: Mapping[str, Any],
    events: Mapping[str, Any],
) -> Claims:
    """The claims around *events*, exactly one (CAEP Interoperability Profile, "Security Event Token")."""
    return {
        "iss": issuer,
        "jti": jti,
        "iat": now_ms // 1000,
        "aud": aud,
        "txn": txn,
        "sub_id": dict(subject),
        "events": dict(events),
    }


def _for_stream(payload: Mapping[str, Any], stream: Stream) -> dict[str, Any]:
    """*payload* without personal data; a stream that accepts it gets it in `reason_admin`."""
    fields = {name: value for name, value in payload.items() if name != DETAILS}
    if stream.personal_data and DETAILS in payload:
        reason = fields["reason_admin"]
        fields["reason_admin"] = {**reason, LANGUAGE: f"{reason[LANGUAGE]} {payload[DETAILS]}"}
    return fields
