"""What a receiver polls (RFC 8936): tokens handed out until it acknowledges them or says what is wrong.

Order is kept within a lane: while something of it is out, which is handed out and without an answer, nothing
else of it is handed out. A receiver may be handed several of a lane at once, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, bindparam, literal_column, or_, select, update

from pipeline.transmitter.protocol import EVENTS, QueuedToken
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import advisory_lock
from pipeline.transmitter.store.queue.waiting import COLUMNS, chunks, ended, mark_delivered_jtis, queued
from pipeline.transmitter.store.tables import QUEUED, is_valid_id, sets

FREE: Final = tuple(row.name for row in EVENTS.values() if row.control)
"""Events that wait for nothing: who asks for a verification, and for another, is not kept without the second
because it said nothing to the first."""


def hand_out(
    conn: Connection, stream_id: str, now_ms: int, most: int, redelivery_ms: int, event: str | None = None
) -> tuple[list[QueuedToken], bool]:
    """Return at most *most* tokens, only those of *event* if one is named, and whether more are ready.

    The oldest come first. Each is handed out again only after *redelivery_ms*, unless it is acknowledged or
    refused before. More are ready if a poll that acknowledges these would be handed some now: who takes what
    it is given is told of all that waits, and who says nothing comes to an end.
    """
    _in_turn(conn, stream_id)
    # By its place in the queue, not by its time: else all that is due would be looked at, and sorted.
    due = sets.c.due_at + 0 <= now_ms
    oldest = select(*COLUMNS).where(due, _ready(stream_id, now_ms, event)).order_by(sets.c.seq).limit(most + 1)
    ready = [queued(row) for row in conn.execute(oldest)]
    given = ready[:most]
    for some in chunks(this_queued.seq for this_queued in given):
        these = update(sets).where(sets.c.seq.in_(some))
        conn.execute(these.values(due_at=now_ms + redelivery_ms, attempts=sets.c.attempts + 1))
    return given, len(ready) > most


def any_ready(conn: Connection, stream_id: str, now_ms: int, event: str | None = None) -> bool:
    """Say whether a poll would be handed something now."""
    due = sets.c.due_at <= now_ms
    this_select = select(sets.c.seq).where(due, _ready(stream_id, now_ms, event)).limit(1)
    return conn.scalar(this_select) is not None


def waiting(conn: Connection, stream_id: str, jtis: Iterable[str]) -> set[str]:
    """Return which of *jtis* wait in a stream: of the others nothing that is said changes anything."""
    found: set[str] = set()
    for some in chunks(jti for jti in jtis if is_valid_id(jti)):
        here = (sets.c.stream_id == stream_id) & sets.c.jti.in_(some)
        found.update(conn.scalars(select(sets.c.jti).where(here, QUEUED)))
    return found


def acknowledge(conn: Connection, stream_id: str, jtis: Iterable[str], now_ms: int) -> int:
    """End what the receiver took; return how many did wait. Unknown and ended ones change nothing."""
    _in_turn(conn, stream_id)
    return mark_delivered_jtis(conn, stream_id, {jti for jti in jtis if is_valid_id(jti)}, now_ms)


def refuse(conn: Connection, stream_id: str, errors: Mapping[str, tuple[str, str]], now_ms: int) -> int:
    """Make dead letters of what the receiver could not take: `jti` → code and text (RFC 8936 §2.2).

    Return how many did wait.
    """
    _in_turn(conn, stream_id)
    lines = sorted(waiting(conn, stream_id, errors))
    if lines:
        this_update = update(sets).where(sets.c.stream_id == stream_id, sets.c.jti == bindparam("refused"), QUEUED)
        conn.execute(this_update, [{"refused": jti, **ended("dead", *errors[jti], now_ms)} for jti in lines])
    return len(lines)


def _in_turn(conn: Connection, stream_id: str) -> None:
    """Let one poll of a stream at a time be past this line: two at once would share a lane between them.

    The stream is neither changed nor removed meanwhile; what is put into its queue is put there all the same.
    """
    advisory_lock(conn, f"polls of stream {stream_id}")
    streams.lock_active(conn, [stream_id])


def _ready(stream_id: str, now_ms: int, event: str | None) -> ColumnElement[bool]:
    """What of a stream can be handed out if it is due, of all events or of one."""
    free = or_(sets.c.event.in_(FREE), sets.c.lane.not_in(_out(stream_id, now_ms)))
    ready = (sets.c.stream_id == stream_id) & QUEUED & free
    return ready if event is None else ready & (sets.c.event == event)


def _out(stream_id: str, now_ms: int) -> Select[tuple[str]]:
    """The lanes of which something is out: found once for all that is due, not anew for each."""
    other = sets.alias("other")
    waits = (other.c.stream_id == stream_id) & (other.c.state == literal_column("'queued'"))
    return select(other.c.lane).where(waits, other.c.due_at > now_ms, other.c.event.not_in(FREE))
