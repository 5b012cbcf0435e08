"""Polling (RFC 8936): tokens handed out, acknowledged and refused; a long poll waits within a bound."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Path, Request
from pydantic import Field, field_validator
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from pipeline.transmitter.api import errors as api_errors
from pipeline.transmitter.api.auth import Reader, ReceiverContext
from pipeline.transmitter.api.errors import not_found
from pipeline.transmitter.api.openapi import refusals
from pipeline.transmitter.api.paths import POLL as PATH
from pipeline.transmitter.delivery import push_stream
from pipeline.transmitter.protocol import POLL, QueuedToken, Stream
from pipeline.transmitter.store.queue import polled
from pipeline.transmitter.store.queue.waiting import dead_letter
from pipeline.transmitter.tokens import stream_events

router = APIRouter(tags=["delivery"])

MOST_WAITING: Final = 4
"""Long polls of one stream at a time; one more is answered at once, with what there is."""
MOST_SAID: Final = 10_000
"""Acknowledgements of one poll, and refusals: as many tokens as it may have had; others wait meanwhile."""

Said = TypeVar("Said", list[str], dict[str, "SetError"])


class SetError(api_errors.RequestBody):
    """Why a receiver could not take a token (RFC 8936 §2.6)."""

    err: Annotated[str, Field(min_length=1, max_length=64, examples=["invalid_key"])]
    description: Annotated[str, Field(max_length=2048)] = ""


class Poll(api_errors.RequestBody):
    """RFC 8936 §2.2; `{}` is one."""

    max_events: int | None = Field(
        None, alias="maxEvents", ge=0, description="Most tokens in the answer; 0: none, acknowledge only."
    )
    return_immediately: bool = Field(
        default=False, alias="returnImmediately", description="Do not wait for tokens to come."
    )
    ack: list[str] = Field(
        [],
        description="`jti`s of tokens that the receiver has safe.",
        json_schema_extra={"maxItems": MOST_SAID},
    )
    set_errors: dict[str, SetError] = Field(
        {},
        alias="setErrs",
        description="By `jti`: tokens it cannot take. They become dead letters.",
        json_schema_extra={"maxProperties": MOST_SAID},
    )

    @field_validator("ack", "set_errors")
    @classmethod
    def _not_too_many(cls, errors: Said) -> Said:
        if len(errors) > MOST_SAID:
            raise ValueError(f"{len(errors)} are too many; say {MOST_SAID} at most, and the rest in the next poll")
        return errors


class Polled(api_errors.ResponseBody):
    """RFC 8936 §2.3."""

    sets: dict[str, str] = Field(description="Tokens by `jti`.", examples=[{}])
    more_available: bool = Field(
        alias="moreAvailable",
        description="Whether more are ready: a poll that acknowledges these would be handed some.",
    )


class _Waiting:
    """How many long polls wait for each stream in this process."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def has(self, stream_id: str) -> bool:
        """Say whether one waits for this stream."""
        return stream_id in self._count

    @contextmanager
    def one_more(self, stream_id: str) -> Iterator[bool]:
        """Take a place; false if there was none."""
        if self._count[stream_id] >= MOST_WAITING:
            yield False
            return
        self._count[stream_id] += 1
        try:
            yield True
        finally:
            self._count[stream_id] -= 1
            self._count += Counter()  # what is at zero goes


_waiting: Final = _Waiting()


@router.post(PATH + "/{stream_id}", operation_id="poll", responses=refusals(400, 401, 403, 404))
async def poll(
    stream_id: Annotated[api_errors.StreamId, Path(description="Which stream.")],
    body: Poll,
    context: Reader,
    request: Request,
) -> Polled:
    """Take acknowledgements and hand out what waits (RFC 8936 §2).

    A stream that is not enabled hands out only what is said of its status (SSF 1.0 §8.1.5).
    """
    settled = await run_in_threadpool(_settle, context, stream_id, body)
    most, bell = _most(context, body), context.services.bell
    answer = await run_in_threadpool(_hand_out, context, stream_id, most)
    if settled and _waiting.has(stream_id):
        context.ring(stream_id)  # what waited behind it may go out now
    if answer.sets or body.return_immediately or most == 0:
        return answer
    with _waiting.one_more(stream_id) as may_wait:
        deadline = asyncio.get_running_loop().time() + context.settings.long_poll_s
        while may_wait and not answer.sets and not bell.closed:
            left = deadline - asyncio.get_running_loop().time()
            await bell.wait(stream_id, left)
            if left <= 0 or await request.is_disconnected():
                break
            answer = await run_in_threadpool(_hand_out, context, stream_id, most)
    return answer


def _most(context: ReceiverContext, body: Poll) -> int:
    most = context.settings.max_poll
    return most if body.max_events is None else min(most, body.max_events)


def _settle(context: ReceiverContext, stream_id: str, body: Poll) -> bool:
    """Take what the receiver says of tokens it got; return whether any of them waited.

    Of others it may say anything, again and again: nothing is written then.
    """
    if not body.ack and not body.set_errors:
        return False
    with context.store.read() as conn:
        _polled(context.stream(conn, stream_id))
        waited = polled.waiting(conn, stream_id, {*body.ack, *body.set_errors})
    if not waited:
        return False
    errors = {
        jti: (set_error.err, set_error.description) for jti, set_error in body.set_errors.items() if jti in waited
    }
    now_ms = context.now()
    with context.store.begin() as conn:
        _polled(context.stream(conn, stream_id))
        polled.acknowledge(conn, stream_id, waited - set(errors), now_ms)
        polled.refuse(conn, stream_id, errors, now_ms)
    return True


def _hand_out(context: ReceiverContext, stream_id: str, most: int) -> Polled:
    """Hand out what is ready. It is looked for before anything is written: most looks find nothing."""
    now_ms = context.now()
    with context.store.read() as conn:
        stream = _polled(context.stream(conn, stream_id))
        ready = polled.any_ready(conn, stream_id, now_ms, _only(stream))
    if most == 0 or not ready:
        return Polled(sets={}, moreAvailable=ready)
    with context.store.begin() as conn:
        stream = _polled(context.stream(conn, stream_id))
        redelivery_ms = int(context.settings.redelivery_s * 1000)
        found, more = polled.hand_out(conn, stream_id, now_ms, most, redelivery_ms, _only(stream))
        if context.settings.dry_run:
            found = _told(conn, found, stream, now_ms)
    return Polled(sets={queued.jti: queued.jwt for queued in found}, moreAvailable=more)


def _only(stream: Stream) -> str | None:
    """The one event that leaves the stream as it is now; of `None`, all do."""
    return None if stream.status == "enabled" else stream_events.EVENT


def _told(conn: Connection, found: list[QueuedToken], stream: Stream, now_ms: int) -> list[QueuedToken]:
    """In a dry run, tell what would be handed out and hand out nothing."""
    for queued in found:
        result = push_stream.log_token(queued, stream)
        dead_letter(conn, queued.seq, result.error, result.text, now_ms)
    return []


def _polled(stream: Stream) -> Stream:
    if stream.method != POLL:
        raise not_found(stream.stream_id)
    return stream
