"""What the parts of the transmitter hand each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.transmitter.vocabulary import POLL, Method, Status, SubjectForm


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as it stands in the store; times in ms. *events_requested* of `None`: whatever there is.

    *updated_at* is when its status was set: no other change shows that its receiver is there.
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
class Who:
    """Whom something happened to, as the pipeline knows them."""

    tenant: str
    session_id: str | None = None
    principal_id: str | None = None
    device_id: str | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing the pipeline says, before any stream is asked: *event* is a name of `vocabulary.EVENTS`.

    *cause* makes the `jti` together with the stream and the event: the decision's id, or the event's where no
    decision is behind it. *payload* has the event's own members. *at* is when it happened, ms.
    """

    event: str
    cause: str
    who: Who
    at: int
    payload: Mapping[str, Any]
    txn: str | None = None
    revocation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """A token ready for the queue of a stream. *lane*: tokens of one lane leave in the order of `seq`."""

    stream_id: str
    jti: str
    lane: str
    event: str
    kid: str
    jwt: str
    txn: str | None = None
    revocation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """A token in the queue. *error* is that of its last try, if one was made."""

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
