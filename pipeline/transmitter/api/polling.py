"""Poll delivery (RFC 8936): hands out tokens, takes acknowledgements and errors; long polls wait within a bound."""

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

MAX_LONG_POLLS: Final = 4
"""Concurrent long polls of one stream; a further poll returns at once with what is available."""
MAX_ACKS: Final = 10_000
"""Acknowledgements and errors in one poll each; their transaction delays other writers."""

PollItems = TypeVar("PollItems", list[str], dict[str, "SetError"])


class SetError(api_errors.RequestBody):
    """Why a receiver rejected a token (RFC 8936 §2.6)."""

    err: Annotated[str, Field(min_length=1, max_length=64, examples=["invalid_key"])]
    description: Annotated[str, Field(max_length=2048)] = ""


class PollRequest(api_errors.RequestBody):
    """RFC 8936 §2.2; `{}` is a valid request."""

    max_events: int | None = Field(
        None, alias="maxEvents", ge=0, description="Maximum number of tokens in the response; 0: acknowledge only."
    )
    return_immediately: bool = Field(
        default=False, alias="returnImmediately", description="Do not wait for new tokens."
    )
    ack: list[str] = Field(
        [],
        description="`jti`s of tokens that the receiver has stored.",
        json_schema_extra={"maxItems": MAX_ACKS},
    )
    set_errors: dict[str, SetError] = Field(
        {},
        alias="setErrs",
        description="By `jti`: tokens it rejects. They become dead letters.",
        json_schema_extra={"maxProperties": MAX_ACKS},
    )

    @field_validator("ack", "set_errors")
    @classmethod
    def _not_too_many(cls, values: PollItems) -> PollItems:
        if len(values) > MAX_ACKS:
            raise ValueError(f"{len(values)} are too many; send at most {MAX_ACKS}, and the rest in the next poll")
        return values


class PollResponse(api_errors.ResponseBody):
    """RFC 8936 §2.3."""

    sets: dict[str, str] = Field(description="Tokens by `jti`.", examples=[{}])
    more_available: bool = Field(
        alias="moreAvailable",
        description="Whether a poll that acknowledges these tokens would return more.",
    )


class _LongPolls:
    """Counts the long polls that wait for each stream in this process."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def has(self, stream_id: str) -> bool:
        """Whether a long poll waits for this stream."""
        return stream_id in self._count

    @contextmanager
    def counted(self, stream_id: str) -> Iterator[bool]:
        """Count one more long poll for the block; yields false if there are too many already."""
        if self._count[stream_id] >= MAX_LONG_POLLS:
            yield False
            return
        self._count[stream_id] += 1
        try:
            yield True
        finally:
            self._count[stream_id] -= 1
            self._count += Counter()  # drops the zero counts


_long_polls: Final = _LongPolls()


@router.post(PATH + "/{stream_id}", operation_id="poll", responses=refusals(400, 401, 403, 404))
async def poll(
    stream_id: Annotated[api_errors.StreamId, Path(description="Which stream.")],
    body: PollRequest,
    context: Reader,
    request: Request,
) -> PollResponse:
    """Process acknowledgements and return waiting tokens (RFC 8936 §2).

    A stream that is not enabled returns only stream-updated events (SSF 1.0 §8.1.5).
    """
    acknowledged = await run_in_threadpool(_acknowledge, context, stream_id, body)
    limit, notifier = _max_events(context, body), context.services.notifier
    response = await run_in_threadpool(_hand_out, context, stream_id, limit)
    if acknowledged and _long_polls.has(stream_id):
        context.wake_waiters(stream_id)  # tokens behind the acknowledged ones may be ready now
    if response.sets or body.return_immediately or limit == 0:
        return response
    with _long_polls.counted(stream_id) as may_wait:
        deadline = asyncio.get_running_loop().time() + context.settings.long_poll_s
        while may_wait and not response.sets and not notifier.closed:
            remaining_s = deadline - asyncio.get_running_loop().time()
            await notifier.wait(stream_id, remaining_s)
            if remaining_s <= 0 or await request.is_disconnected():
                break
            response = await run_in_threadpool(_hand_out, context, stream_id, limit)
    return response


def _max_events(context: ReceiverContext, body: PollRequest) -> int:
    limit = context.settings.max_poll
    return limit if body.max_events is None else min(limit, body.max_events)


def _acknowledge(context: ReceiverContext, stream_id: str, body: PollRequest) -> bool:
    """Process acknowledgements and errors; return whether any of their tokens was waiting.

    Unknown or already acknowledged tokens cause no write, however often they are named.
    """
    if not body.ack and not body.set_errors:
        return False
    with context.store.read() as conn:
        _require_poll(context.stream(conn, stream_id))
        waiting = polled.waiting(conn, stream_id, {*body.ack, *body.set_errors})
    if not waiting:
        return False
    errors = {
        jti: (set_error.err, set_error.description) for jti, set_error in body.set_errors.items() if jti in waiting
    }
    now_ms = context.now()
    with context.store.begin() as conn:
        _require_poll(context.stream(conn, stream_id))
        polled.acknowledge(conn, stream_id, waiting - set(errors), now_ms)
        polled.refuse(conn, stream_id, errors, now_ms)
    return True


def _hand_out(context: ReceiverContext, stream_id: str, limit: int) -> PollResponse:
    """Return tokens that are ready. A read looks for them before anything is written: most looks find nothing."""
    now_ms = context.now()
    with context.store.read() as conn:
        stream = _require_poll(context.stream(conn, stream_id))
        ready = polled.any_ready(conn, stream_id, now_ms, _only_event(stream))
    if limit == 0 or not ready:
        return PollResponse(sets={}, moreAvailable=ready)
    with context.store.begin() as conn:
        stream = _require_poll(context.stream(conn, stream_id))
        redelivery_ms = int(context.settings.redelivery_s * 1000)
        tokens, more_available = polled.hand_out(conn, stream_id, now_ms, limit, redelivery_ms, _only_event(stream))
        if context.settings.dry_run:
            tokens = _dead_letter_dry_run(conn, tokens, stream, now_ms)
    return PollResponse(sets={token.jti: token.jwt for token in tokens}, moreAvailable=more_available)


def _only_event(stream: Stream) -> str | None:
    """The one event type that leaves the stream in its status; `None`: all types do."""
    return None if stream.status == "enabled" else stream_events.EVENT


def _dead_letter_dry_run(conn: Connection, tokens: list[QueuedToken], stream: Stream, now_ms: int) -> list[QueuedToken]:
    """In a dry run, log the tokens that would be returned, and return none."""
    for token in tokens:
        result = push_stream.log_token(token, stream)
        dead_letter(conn, token.seq, result.error, result.text, now_ms)
    return []


def _require_poll(stream: Stream) -> Stream:
    if stream.method != POLL:
        raise not_found(stream.stream_id)
    return stream
