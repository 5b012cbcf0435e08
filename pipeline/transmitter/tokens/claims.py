"""What stands in a token: the claims of RFC 8417 §2.2 as SSF 1.0 §4 and CAEP 1.0 §2 narrow them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.processing.messages import stable_id
from pipeline.transmitter.protocol import EVENTS, SecurityEvent, Stream, Subject
from pipeline.transmitter.tokens.events import DETAILS, LANGUAGE
from pipeline.transmitter.tokens.subjects import Subjects

Claims = dict[str, Any]

CONTROL_LANE: Final = "stream"
"""What is about the stream itself goes out in the order of its making, beside all that is about subjects."""


def jti_of(cause: str, stream_id: str, event: str) -> str:
    """The token's id: the same cause makes the same token for a stream, however often it is heard."""
    return stable_id(cause, stream_id, event)


def lane_of(subject: Subject) -> str:
    """What is about one principal leaves in order; of one unknown, what is about its session or device."""
    for kind, name in (("p", subject.principal_id), ("s", subject.session_id), ("d", subject.device_id)):
        if name is not None:
            return stable_id(subject.tenant, kind, name)
    return stable_id(subject.tenant)


_PRINCIPAL: Final = "principal"
_NARROWEST: Final = (("session", "SESSION"), ("device", "DEVICE"))
"""Of a complex subject, members that narrow it down to less than a user; what the principal is then."""


def principal_of(subject: Mapping[str, Any]) -> str:
    """CAEP 1.0 §3.8.1 `principal`: which kind of principal *subject*, as `subjects` makes it, is.

    A simple one names a user, whatever was seen of a session: a receiver is told of the user.
    """
    return next((kind for member, kind in _NARROWEST if member in subject), "USER")


def claims_of(happening: SecurityEvent, stream: Stream, subjects: Subjects, issuer: str, now_ms: int) -> Claims | None:
    """The claims of the token that tells *stream* of *happening*; `None` where it cannot name the subject.

    Times on the wire are whole seconds. `sub` and `exp` are not there (SSF 1.0 §4.1.2, §4.1.7).
    """
    subject = subjects.identify(happening.subject, stream, issuer)
    if subject is None:
        return None
    row = EVENTS[happening.event]
    payload = _for_stream(happening.payload, stream)
    if _PRINCIPAL in row.required:
        payload[_PRINCIPAL] = principal_of(subject)
    payload["event_timestamp"] = happening.at // 1000
    if stream.subject_in_event:  # SSF 1.0 §3.1.1: beside sub_id, for event types older than it
        payload["subject"] = subject
    jti = jti_of(happening.cause, stream.stream_id, happening.event)
    txn = happening.txn or happening.cause
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
    """*payload* less what is personal; a stream that takes that has it in its administrators' reason."""
    fields = {name: value for name, value in payload.items() if name != DETAILS}
    if stream.personal_data and DETAILS in payload:
        reason = fields["reason_admin"]
        fields["reason_admin"] = {**reason, LANGUAGE: f"{reason[LANGUAGE]} {payload[DETAILS]}"}
    return fields
