"""Input records: the three kinds of event that producers send.

A new event type is one class here and a row in `EVENT_TYPES`. After the first release, fields are only added.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.fields import (
    Client,
    Count,
    Envelope,
    Home,
    Id,
    LongName,
    Millis,
    Name,
    Posture,
    PrincipalKind,
    ProducerTime,
    Scope,
    ShortText,
)


class Event(Client, Envelope):
    """The common fields of all input events.

    `occurred_at` is the time by the producer's clock, in milliseconds from the year 2000 on: seconds are refused.
    `token_id` is a hash or the `jti` (RFC 7519 §4.1.7) of the token presented, never the token;
    `key_thumbprint` is the RFC 7638 thumbprint of the key that proves possession of it.
    """

    occurred_at: ProducerTime
    device_id: Id | None = None
    token_id: Id | None = None
    key_thumbprint: Id | None = None


class SessionEvent(Event):
    """An event that happened in a session of a principal."""

    session_id: Id
    principal_id: Id
    principal_kind: PrincipalKind


class AuthEvent(Home, SessionEvent):
    """An event of the authentication of a session: sign-ins, challenges, tokens, sign-outs.

    `parent_session_id` is the session from which this one was derived (RFC 8693 token exchange, delegation to an agent,
    an API key that was created in it); `acr` and `amr` are OpenID Connect's, with values of RFC 8176 and others.
    `mfa_denied` means that a person refused, `mfa_failed` that a factor was wrong. An unknown action is read as
    `other`: something happened in this session, with this client.
    """

    type: Literal["auth.event"]
    action: Literal[
        "sign_in",
        "sign_in_failed",
        "mfa_challenged",
        "mfa_passed",
        "mfa_denied",
        "mfa_failed",
        "step_up_passed",
        "token_issued",
        "token_refreshed",
        "token_exchanged",
        "token_reused",
        "credential_added",
        "credential_changed",
        "credential_removed",
        "recovery_started",
        "sign_out",
        "other",
    ]
    parent_session_id: Id | None = None
    acr: LongName | None = None
    amr: Annotated[list[Name], Field(max_length=8)] | None = None
    scopes: Annotated[list[Scope], Field(max_length=512)] | None = None
    credential_expires_at: Millis | None = None
    reason: ShortText | None = None


class ApiCall(SessionEvent):
    """An API call in a session of a person, a service, an API key or an agent.

    `operation` is a route template or a service action (`GET /accounts/{id}`, `s3:GetObject`), never a raw URL; `tool`
    is the name of an agent's tool; `resource` is a hash or id of what was accessed.
    """

    # Calls are read in bulk: a field is a bounded text or a number (no bool, no list) with a name of at most 16 bytes.
    # The reader follows from this class.
    type: Literal["api.call"]
    operation: LongName
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    method: Annotated[str, Field(min_length=1, max_length=16)] | None = None
    bytes_in: Count | None = None
    bytes_out: Count | None = None
    records: Count | None = None
    latency_ms: Count | None = None
    sensitivity: Literal["public", "internal", "confidential", "restricted"] | None = None
    scope: Scope | None = None
    tool: Id | None = None
    resource: LongName | None = None


class DeviceTelemetry(Posture, Event):
    """Posture, attestation and heartbeat of a device; it does not name sessions.

    `heartbeat_interval_ms` is how often the device promises to report; when it is silent for longer, its silence
    counts. `ip` and `asn` are the network from which the report came: a session that moves there together with its
    device was not stolen.
    """

    type: Literal["device.telemetry"]
    device_id: Id


EVENT_TYPES: dict[str, type[Event]] = {
    "auth.event": AuthEvent,
    "api.call": ApiCall,
    "device.telemetry": DeviceTelemetry,
}
