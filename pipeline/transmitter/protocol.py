"""Data types of the transmitter: event types, delivery methods, statuses, streams, events and tokens.

Each constant names the specification that defines it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"

PUSH: Final = "urn:ietf:rfc:8935"
POLL: Final = "urn:ietf:rfc:8936"
Method = Literal["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"]

Status = Literal["enabled", "paused", "disabled"]
"""SSF 1.0 §8.1.2.1: send events; hold them; neither send nor hold them."""

SubjectForm = Literal["iss_sub", "email", "complex"]
"""Format of a stream's subject identifiers: RFC 9493 §3.2.3, §3.2.2, or SSF 1.0 §3.3."""

Scope = Literal["ssf.read", "ssf.manage"]
"""CAEP Interoperability Profile, "OAuth Scopes": `ssf.manage` includes `ssf.read`."""

SetState = Literal["queued", "delivered", "dead"]

CommandState = Literal["open", "delivered", "confirmed", "failed", "overdue"]
"""State of a revocation: no receiver has it; a receiver took it; an enforcer revoked the session; an enforcer
could not; its deadline passed without an acknowledgement.
"""


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type: its URI, the section that defines it, and the fields its payload must have.

    `values` are the values a required field may have, if they are limited. A `control` event is about the stream
    itself and is sent whether requested or not (SSF 1.0 §8.1.4, §8.1.5).
    """

    name: str
    uri: str
    source: str
    required: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] | None = None
    control: bool = False


_LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
_COMPLIANCE: Final = ("compliant", "not-compliant")

_ROWS: Final = (
    EventType("session-revoked", f"{CAEP}session-revoked", "CAEP 1.0 §3.1"),
    EventType(
        "risk-level-change",
        f"{CAEP}risk-level-change",
        "CAEP 1.0 §3.8",
        ("principal", "current_level"),
        {"current_level": _LEVELS, "previous_level": _LEVELS},
    ),
    EventType(
        "device-compliance-change",
        f"{CAEP}device-compliance-change",
        "CAEP 1.0 §3.5",
        ("previous_status", "current_status"),
        {"previous_status": _COMPLIANCE, "current_status": _COMPLIANCE},
    ),
    EventType(
        "credential-change",
        f"{CAEP}credential-change",
        "CAEP 1.0 §3.3",
        ("credential_type", "change_type"),
        {
            "credential_type": (
                "password",
                "pin",
                "x509",
                "fido2-platform",
                "fido2-roaming",
                "fido-u2f",
                "verifiable-credential",
                "phone-voice",
                "phone-sms",
                "app",
            ),
            "change_type": ("create", "revoke", "update", "delete"),
        },
    ),
    EventType("verification", f"{SSF}verification", "SSF 1.0 §8.1.4.1", control=True),
    EventType(
        "stream-updated",
        f"{SSF}stream-updated",
        "SSF 1.0 §8.1.5",
        ("status",),
        {"status": ("enabled", "paused", "disabled")},
        control=True,
    ),
)

EVENTS: Final = {row.name: row for row in _ROWS}
SUPPORTED: Final = tuple(row.uri for row in _ROWS if not row.control)
"""`events_supported` of every stream, in this order."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as stored; times in ms. *events_requested* of `None` means all events.

    *updated_at* is when its status was set: no other change shows that its receiver is active.
    """

    stream_id: str
    receiver_id: str
    aud: str
    declared: bool = False
    description: str | None = None
    events_requested: tuple[str, ...] | None = None
    method: Method = POLL
    endpoint_url: str | None = None
    authorization: str | None = field(default=None, repr=False)
    subject_form: SubjectForm = "iss_sub"
    subject_in_event: bool = False
    personal_data: bool = False
    tenant: str | None = None
    status: Status = "enabled"
    status_reason: str | None = None
    created_at: int = 0
    updated_at: int = 0
    verification_asked_at: int | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of an event, by the pipeline's own ids."""

    tenant: str
    session_id: str | None = None
    principal_id: str | None = None
    device_id: str | None = None


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """A security event before it is matched with streams: *event* is a key of `EVENTS`.

    *cause*, the stream and the event type determine the `jti`: it is the decision's id, or the source event's id if
    there is no decision. *payload* has the fields of the event type. *at* is when it happened, ms.
    """

    event: str
    cause: str
    subject: Subject
    at: int
    payload: Mapping[str, Any]
    txn: str | None = None
    revocation_id: str | None = None


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A signed token ready to be queued. Tokens of one stream and one *lane* are delivered in the order of `seq`."""

    stream_id: str
    jti: str
    lane: str
    event: str
    kid: str
    jwt: str
    txn: str | None = None
    revocation_id: str | None = None


@dataclass(frozen=True, slots=True)
class QueuedToken:
    """A token in the queue. *error* is that of its last attempt, if there was one."""

    seq: int
    stream_id: str
    jti: str
    lane: str
    event: str
    jwt: str
    attempts: int
    due_at: int
    created_at: int
    revocation_id: str | None = None
    error: str | None = None
