"""Streams: made, read, changed, replaced and deleted by their receivers (SSF 1.0 §8.1.1)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection

from pipeline.transmitter import streams
from pipeline.transmitter.api.bearer import Having, Manager, Reader
from pipeline.transmitter.api.configuration import (
    MEMBERS,
    House,
    StreamChange,
    StreamConfiguration,
    StreamReplacement,
    StreamRequest,
)
from pipeline.transmitter.api.document import refusals
from pipeline.transmitter.api.forms import StreamId
from pipeline.transmitter.api.ownership import changeable, owned
from pipeline.transmitter.api.paths import STREAM
from pipeline.transmitter.api.problems import Problem
from pipeline.transmitter.receivers import MANAGE, Receiver
from pipeline.transmitter.records import Stream
from pipeline.transmitter.services import Services

router = APIRouter(tags=["streams"])

OfStream = Annotated[StreamId, Query(description="Which stream.")]


@router.post(STREAM, status_code=201, operation_id="create_stream", response_model_exclude_none=True, responses=refusals(400, 401, 403, 409))
def create(body: StreamRequest, caller: Manager, services: Having, request: Request) -> StreamConfiguration:
    """Make a stream (§8.1.1.1)."""
    now_ms = services.clock()
    new = Stream(secrets.token_hex(16), caller.receiver_id, caller.aud, created_at=now_ms)
    stream = _house(services).applied(new, body, MEMBERS, now_ms)
    with services.store.begin() as conn:
        most = services.settings.max_streams
        if len(streams.of_receiver(conn, services.store.sealer, caller.receiver_id)) >= most:
            raise Problem(409, f"a receiver may have {most} streams", "too_many_streams")
        streams.add(conn, services.store.sealer, stream)
        stored = owned(conn, services.store.sealer, caller, stream.stream_id)
    request.state.stream_id = stream.stream_id
    return _told(services, caller, stored)


@router.get(STREAM, operation_id="read_streams", response_model_exclude_none=True, responses=refusals(400, 401, 403, 404))
def read(
    caller: Reader,
    services: Having,
    stream_id: Annotated[StreamId | None, Query(description="Which stream; without it, all.")] = None,
) -> StreamConfiguration | list[StreamConfiguration]:
    """Read a stream, or all that the receiver has (§8.1.1.2)."""
    with services.store.read() as conn:
        if stream_id is not None:
            return _told(services, caller, owned(conn, services.store.sealer, caller, stream_id))
        found = streams.of_receiver(conn, services.store.sealer, caller.receiver_id)
    return [_told(services, caller, stream) for stream in found]


@router.patch(STREAM, operation_id="update_stream", response_model_exclude_none=True, responses=refusals(400, 401, 403, 404))
def change(body: StreamChange, caller: Manager, services: Having) -> StreamConfiguration:
    """Change what is said and keep the rest (§8.1.1.3)."""
    if "delivery" in body.model_fields_set and body.delivery is None:
        raise Problem(400, "delivery: a stream has one")
    return _write(services, caller, body, MEMBERS & body.model_fields_set)


@router.put(STREAM, operation_id="replace_stream", response_model_exclude_none=True, responses=refusals(400, 401, 403, 404))
def put(body: StreamReplacement, caller: Manager, services: Having) -> StreamConfiguration:
    """Replace all that a receiver may say (§8.1.1.4)."""
    return _write(services, caller, body, MEMBERS)


@router.delete(STREAM, status_code=204, operation_id="delete_stream", responses=refusals(400, 401, 403, 404))
def delete(stream_id: OfStream, caller: Manager, services: Having) -> Response:
    """Delete a stream and what waits in it (§8.1.1.5)."""
    with services.store.begin() as conn:
        streams.remove(conn, changeable(owned(conn, services.store.sealer, caller, stream_id)).stream_id)
    services.bell.ring([stream_id])
    return Response(status_code=204)


def _write(
    services: Services, caller: Receiver, said: StreamReplacement, names: set[str]
) -> StreamConfiguration:
    house, now_ms = _house(services), services.clock()
    with services.store.begin() as conn:
        before = _mine(conn, services, caller, said.stream_id)
        after = house.applied(before, said, names, now_ms)
        house.check_ours(said, before, after)
        if replace(after, updated_at=before.updated_at) != before:
            streams.change(conn, services.store.sealer, after)
        stored = owned(conn, services.store.sealer, caller, said.stream_id)
    services.bell.ring([said.stream_id])
    return _told(services, caller, stored)


def _mine(conn: Connection, services: Services, caller: Receiver, stream_id: str) -> Stream:
    return changeable(owned(conn, services.store.sealer, caller, stream_id))


def _house(services: Services) -> House:
    return House(services.settings, services.guard)


def _told(services: Services, caller: Receiver, stream: Stream) -> StreamConfiguration:
    return _house(services).configuration(stream, secrets=caller.may(MANAGE))
