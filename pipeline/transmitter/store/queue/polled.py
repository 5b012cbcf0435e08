"""Polled tokens (RFC 8936): handed out until the receiver acknowledges or rejects them.

Order is preserved within a lane: while a token of it is handed out and not acknowledged, no other token of it
is handed out. One poll may return several tokens of a lane, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, bindparam, literal_column, or_, select, update

from pipeline.transmitter.protocol import EVENTS, QueuedToken
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import advisory_lock
from pipeline.transmitter.store.queue.waiting import COLUMNS, chunks, ended_columns, mark_delivered_jtis, queued
from pipeline.transmitter.store.tables import QUEUED, is_valid_id, sets

UNORDERED_EVENTS: Final = tuple(row.name for row in EVENTS.values() if row.control)
"""Events that do not wait for earlier ones: a receiver that requests a second verification gets it although it has
not acknowledged the first.
"""


def hand_out(
    conn: Connection, stream_id: str, now_ms: int, limit: int, redelivery_ms: int, event: str | None = None
) -> tuple[list[QueuedToken], bool]:
    """Return at most *limit* tokens, only those of *event* if given, and whether more are ready.

    The oldest come first. A token is handed out again after *redelivery_ms*, unless it is acknowledged or
    rejected before. More are ready if a poll that acknowledges these would return some now: a receiver that
    takes what it gets receives everything that waits, and one that acknowledges nothing reaches an end.
    """
    _one_poll_at_a_time(conn, stream_id)
    # `+ 0` keeps the planner off the index by due_at: with it, all due tokens would be read and sorted.
    due = sets.c.due_at + 0 <= now_ms
    oldest = select(*COLUMNS).where(due, _ready(stream_id, now_ms, event)).order_by(sets.c.seq).limit(limit + 1)
    ready = [queued(row) for row in conn.execute(oldest)]
    tokens = ready[:limit]
    for batch in chunks(token.seq for token in tokens):
        statement = update(sets).where(sets.c.seq.in_(batch))
        conn.execute(statement.values(due_at=now_ms + redelivery_ms, attempts=sets.c.attempts + 1))
    return tokens, len(ready) > limit


def any_ready(conn: Connection, stream_id: str, now_ms: int, event: str | None = None) -> bool:
    """Whether a poll would return something now."""
    due = sets.c.due_at <= now_ms
    query = select(sets.c.seq).where(due, _ready(stream_id, now_ms, event)).limit(1)
    return conn.scalar(query) is not None


def waiting(conn: Connection, stream_id: str, jtis: Iterable[str]) -> set[str]:
    """Return which of *jtis* wait in a stream: acknowledging the others changes nothing."""
    found: set[str] = set()
    for batch in chunks(jti for jti in jtis if is_valid_id(jti)):
        here = (sets.c.stream_id == stream_id) & sets.c.jti.in_(batch)
        found.update(conn.scalars(select(sets.c.jti).where(here, QUEUED)))
    return found


def acknowledge(conn: Connection, stream_id: str, jtis: Iterable[str], now_ms: int) -> int:
    """Mark the tokens the receiver took as delivered; return how many were waiting."""
    _one_poll_at_a_time(conn, stream_id)
    return mark_delivered_jtis(conn, stream_id, {jti for jti in jtis if is_valid_id(jti)}, now_ms)


def refuse(conn: Connection, stream_id: str, errors: Mapping[str, tuple[str, str]], now_ms: int) -> int:
    """Make dead letters of rejected tokens: `jti` → code and text (RFC 8936 §2.2).

    Return how many were waiting.
    """
    _one_poll_at_a_time(conn, stream_id)
    jtis = sorted(waiting(conn, stream_id, errors))
    if jtis:
        statement = update(sets).where(sets.c.stream_id == stream_id, sets.c.jti == bindparam("refused"), QUEUED)
        conn.execute(statement, [{"refused": jti, **ended_columns("dead", *errors[jti], now_ms)} for jti in jtis])
    return len(jtis)


def _one_poll_at_a_time(conn: Connection, stream_id: str) -> None:
    """Let one poll of a stream at a time be past this line: two at once could hand out one lane twice.

    The stream is neither changed nor removed meanwhile; tokens may still be put into its queue.
    """
    advisory_lock(conn, f"polls of stream {stream_id}")
    streams.lock_active(conn, [stream_id])


def _ready(stream_id: str, now_ms: int, event: str | None) -> ColumnElement[bool]:
    """Condition of tokens of a stream that can be handed out if they are due, of all events or of one."""
    unordered = or_(sets.c.event.in_(UNORDERED_EVENTS), sets.c.lane.not_in(_lanes_handed_out(stream_id, now_ms)))
    ready = (sets.c.stream_id == stream_id) & QUEUED & unordered
    return ready if event is None else ready & (sets.c.event == event)


def _lanes_handed_out(stream_id: str, now_ms: int) -> Select[tuple[str]]:
    """The lanes with a handed-out token: found once for all due tokens, not for each."""
    other = sets.alias("other")
    waits = (other.c.stream_id == stream_id) & (other.c.state == literal_column("'queued'"))
    return select(other.c.lane).where(waits, other.c.due_at > now_ms, other.c.event.not_in(UNORDERED_EVENTS))
