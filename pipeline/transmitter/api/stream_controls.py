"""Stream operations besides configuration: status, subjects and verification (SSF 1.0 §8.1.2 to §8.1.4).

A new stream has all subjects; its receiver removes and adds them. Responses never reveal whether a subject is
known here, because that would allow to find out who is (§9.1).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, Field, WithJsonSchema
from sqlalchemy import Connection, func, select

from pipeline.transmitter.api.auth import Manager, Reader
from pipeline.transmitter.api.errors import (
    STORABLE,
    Line,
    Problem,
    RequestBody,
    ResponseBody,
    StreamId,
    too_soon,
)
from pipeline.transmitter.api.openapi import refusals
from pipeline.transmitter.api.paths import ADD_SUBJECT, REMOVE_SUBJECT, STATUS, VERIFY
from pipeline.transmitter.protocol import Status, Stream
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.tables import stream_subjects
from pipeline.transmitter.subject_identifiers import find_error, schema
from pipeline.transmitter.tokens import stream_events

streams_router = APIRouter(tags=["streams"])


class StatusRequest(RequestBody):
    """`enabled`: send events; `paused`: hold them; `disabled`: neither, and drop what waits (§8.1.2.1)."""

    stream_id: StreamId
    status: Status
    reason: Line | None = Field(None, description="For people.", examples=["Maintenance until 22:00."])


class StreamStatus(ResponseBody):
    """The current status."""

    stream_id: StreamId
    status: Status
    reason: str | None = None


@streams_router.get(
    STATUS,
    operation_id="read_status",
    responses=refusals(400, 401, 403, 404),
    response_model_exclude_none=True,
)
def read(stream_id: Annotated[StreamId, Query(description="Which stream.")], context: Reader) -> StreamStatus:
    """Read the status of a stream (§8.1.2.1)."""
    with context.store.read() as conn:
        stream = context.stream(conn, stream_id)
    return StreamStatus(stream_id=stream.stream_id, status=stream.status, reason=stream.status_reason)


@streams_router.post(
    STATUS,
    operation_id="update_status",
    responses=refusals(400, 401, 403, 404),
    response_model_exclude_none=True,
)
def change(body: StatusRequest, context: Manager) -> StreamStatus:
    """Set the status of a stream (§8.1.2.2). Held events are sent in order when a paused stream is enabled again."""
    with context.begin() as conn:
        stream_id = context.stream(conn, body.stream_id).stream_id
        streams.set_status(conn, stream_id, body.status, body.reason, context.now())
        stored = context.stream(conn, stream_id)
    context.wake_waiters(stream_id)
    return StreamStatus(stream_id=stored.stream_id, status=stored.status, reason=stored.status_reason)


subjects_router = APIRouter(tags=["subjects"])

MAX_REMOVED: Final = 100_000
"""Subjects that may be removed from a stream."""
_TOO_MANY: Final = (
    "at most {:,} subjects may be removed from a stream; add some of them again, or create another stream"
)


def _valid(subject: dict[str, Any]) -> dict[str, Any]:
    if (error := find_error(subject)) is not None:
        raise ValueError(error)
    return subject


Subject = Annotated[
    dict[str, Any],
    AfterValidator(_valid),
    WithJsonSchema(
        {
            **schema(),
            "description": "A subject identifier (RFC 9493 §3; SSF 1.0 §3).",
            "examples": [{"format": "iss_sub", "iss": "https://idp.example.com", "sub": "u-12345"}],
        }
    ),
]


class RemoveSubject(RequestBody):
    """A subject whose events the stream shall no longer get."""

    stream_id: StreamId
    subject: Subject


class AddSubject(RemoveSubject):
    """A subject whose events the stream shall get."""

    verified: bool | None = Field(None, description="Whether the receiver has verified it. Not used.")


@subjects_router.post(
    ADD_SUBJECT, operation_id="add_subject", response_class=Response, responses=refusals(400, 401, 403, 404)
)
def add(body: AddSubject, context: Manager) -> Response:
    """Add a subject to a stream again (§8.1.3.2). The response has no body."""
    with context.begin() as conn:
        stream = context.stream(conn, body.stream_id)
        streams.set_subject(conn, stream.stream_id, body.subject, included=True)
    return Response(status_code=200)


@subjects_router.post(
    REMOVE_SUBJECT, status_code=204, operation_id="remove_subject", responses=refusals(400, 401, 403, 404)
)
def remove(body: RemoveSubject, context: Manager) -> Response:
    """Remove a subject from a stream (§8.1.3.3).

    Removing a complex subject removes every subject with all of its fields, identical: if a session of a user
    is removed, the stream still gets the events of the user.
    """
    with context.begin() as conn:
        stream = context.stream(conn, body.stream_id)
        inserted = streams.set_subject(conn, stream.stream_id, body.subject, included=False)
        if inserted and _count(conn, stream.stream_id) > MAX_REMOVED:  # the exception rolls the insert back
            raise Problem(403, _TOO_MANY.format(MAX_REMOVED), "too_many_subjects")
    return Response(status_code=204)


def _count(conn: Connection, stream_id: str) -> int:
    query = select(func.count()).where(stream_subjects.c.stream_id == stream_id)
    return int(conn.scalar(query) or 0)


class VerificationRequest(RequestBody):
    """The stream to verify, and the state of its verification event."""

    stream_id: StreamId
    state: Annotated[str, Field(max_length=1024, pattern=STORABLE)] | None = Field(
        None, description="Returned unchanged in the verification event.", examples=["VGhpcyBpcyBhbiBleGFtcGxl"]
    )


@streams_router.post(VERIFY, status_code=204, operation_id="verify_stream", responses=refusals(400, 401, 403, 404))
def verify(body: VerificationRequest, context: Manager) -> Response:
    """Queue a verification event for the stream (§8.1.4.2)."""
    now_ms, signer = context.now(), context.services.signer
    with context.begin() as conn:
        stream = context.stream(conn, body.stream_id)
        _check(context.settings.min_verification_s, stream, now_ms)
        signer.refresh(conn)
        token = stream_events.verification(stream, context.settings.issuer, signer, now_ms, body.state)
        queue.put(conn, [token], now_ms)
        streams.record_verification_request(conn, stream.stream_id, now_ms)
    context.wake_waiters(stream.stream_id)
    return Response(status_code=204)


def _check(min_interval_s: int, stream: Stream, now_ms: int) -> None:
    """Refuse a verification that would not be sent, or that comes too early.

    Raises:
        Problem: the stream is paused or disabled (400), or was verified a moment ago (429).
    """
    if stream.status != "enabled":
        raise Problem(400, f"the stream is {stream.status}; only an enabled one can be verified", "not_enabled")
    if stream.verification_asked_at is not None:
        remaining_ms = stream.verification_asked_at + min_interval_s * 1000 - now_ms
        if remaining_ms > 0:
            raise too_soon(f"a stream can be verified at most once in {min_interval_s} s", -(-remaining_ms // 1000))
