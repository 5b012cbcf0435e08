"""The status of a stream, read and set by its receiver (SSF 1.0 §8.1.2)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from pipeline.transmitter.api.bearer import Manager, Reader
from pipeline.transmitter.api.document import refusals
from pipeline.transmitter.api.forms import Answer, Line, Request, StreamId
from pipeline.transmitter.api.paths import STATUS
from pipeline.transmitter.store import streams
from pipeline.transmitter.vocabulary import Status

streams_router = APIRouter(tags=["streams"])


class StatusRequest(Request):
    """`enabled`: transmit; `paused`: hold; `disabled`: do neither, and drop what waits (§8.1.2.1)."""

    stream_id: StreamId
    status: Status
    reason: Line | None = Field(None, description="For people.", examples=["Maintenance until 22:00."])


class StreamStatus(Answer):
    """The status as it stands."""

    stream_id: StreamId
    status: Status
    reason: str | None = None


@streams_router.get(
    STATUS,
    operation_id="read_status",
    responses=refusals(400, 401, 403, 404),
    response_model_exclude_none=True,
)
def read(stream_id: Annotated[StreamId, Query(description="Which stream.")], desk: Reader) -> StreamStatus:
    """Read the status of a stream (§8.1.2.1)."""
    with desk.store.read() as conn:
        stream = desk.stream(conn, stream_id)
    return StreamStatus(stream_id=stream.stream_id, status=stream.status, reason=stream.status_reason)


@streams_router.post(
    STATUS,
    operation_id="update_status",
    responses=refusals(400, 401, 403, 404),
    response_model_exclude_none=True,
)
def change(body: StatusRequest, desk: Manager) -> StreamStatus:
    """Set the status of a stream (§8.1.2.2). What a paused stream holds goes out in order when it goes on."""
    with desk.begin() as conn:
        stream_id = desk.stream(conn, body.stream_id).stream_id
        streams.set_status(conn, stream_id, body.status, body.reason, desk.now())
        stored = desk.stream(conn, stream_id)
    desk.ring(stream_id)
    return StreamStatus(stream_id=stored.stream_id, status=stored.status, reason=stored.status_reason)
