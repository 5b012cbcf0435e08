"""Streams: made, read, changed, replaced and deleted by their receivers (SSF 1.0 §8.1.1)."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Query, Response

from pipeline.transmitter.api.bearer import Manager, Reader
from pipeline.transmitter.api.configuration import (
    MEMBERS,
    StreamChange,
    StreamConfiguration,
    StreamReplacement,
    StreamRequest,
    WireForm,
)
from pipeline.transmitter.api.desk import Desk
from pipeline.transmitter.api.document import refusals
from pipeline.transmitter.api.forms import StreamId
from pipeline.transmitter.api.paths import STREAM
from pipeline.transmitter.api.problems import Problem
from pipeline.transmitter.records import Stream
from pipeline.transmitter.store import streams

router = APIRouter(tags=["streams"])

OfStream = Annotated[StreamId, Query(description="Which stream.")]


@router.post(
    STREAM,
    status_code=201,
    operation_id="create_stream",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 409),
)
def create(body: StreamRequest, desk: Manager) -> StreamConfiguration:
    """Make a stream (§8.1.1.1)."""
    now_ms, receiver, most = desk.now(), desk.receiver, desk.settings.max_streams
    stream_id, tenant = secrets.token_hex(16), receiver.tenant
    new = Stream(
        stream_id, receiver.receiver_id, receiver.aud, tenant=tenant, created_at=now_ms, updated_at=now_ms
    )
    stream = _form(desk).applied(new, body, MEMBERS)
    with desk.begin() as conn:
        if len(desk.all(conn)) >= most:
            raise Problem(409, f"a receiver may have {most} streams", "too_many_streams")
        streams.add(conn, desk.store.sealer, stream)
        return _told(desk, desk.stream(conn, stream.stream_id))


@router.get(
    STREAM,
    operation_id="read_streams",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def read(
    desk: Reader,
    stream_id: Annotated[StreamId | None, Query(description="Which stream; without it, all.")] = None,
) -> StreamConfiguration | list[StreamConfiguration]:
    """Read a stream, or all that the receiver has (§8.1.1.2)."""
    with desk.store.read() as conn:
        if stream_id is not None:
            return _told(desk, desk.stream(conn, stream_id))
        return [_told(desk, stream) for stream in desk.all(conn)]


@router.patch(
    STREAM,
    operation_id="update_stream",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def change(body: StreamChange, desk: Manager) -> StreamConfiguration:
    """Change what is said and keep the rest (§8.1.1.3)."""
    if "delivery" in body.model_fields_set and body.delivery is None:
        raise Problem(400, "delivery: a stream has one")
    return _write(desk, body, MEMBERS & body.model_fields_set)


@router.put(
    STREAM,
    operation_id="replace_stream",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def put(body: StreamReplacement, desk: Manager) -> StreamConfiguration:
    """Replace all that a receiver may say (§8.1.1.4)."""
    return _write(desk, body, MEMBERS)


@router.delete(STREAM, status_code=204, operation_id="delete_stream", responses=refusals(400, 401, 403, 404))
def delete(stream_id: OfStream, desk: Manager) -> Response:
    """Delete a stream and what waits in it (§8.1.1.5)."""
    with desk.begin() as conn:
        streams.remove(conn, desk.changeable(conn, stream_id).stream_id, desk.now())
    desk.ring(stream_id)
    desk.services.bell.forget(stream_id)
    return Response(status_code=204)


def _write(desk: Desk, said: StreamReplacement, names: set[str]) -> StreamConfiguration:
    form = _form(desk)
    with desk.begin() as conn:
        before = desk.changeable(conn, said.stream_id)
        after = form.applied(before, said, names)
        form.check_ours(said, before, after)
        if after != before:
            streams.change(conn, desk.store.sealer, after)
        told = _told(desk, desk.stream(conn, said.stream_id))
    desk.ring(said.stream_id)
    return told


def _form(desk: Desk) -> WireForm:
    return WireForm(desk.settings, desk.services.guard)


def _told(desk: Desk, stream: Stream) -> StreamConfiguration:
    return _form(desk).configuration(stream, secrets=desk.manages)
