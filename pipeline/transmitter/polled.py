"""What a receiver polls (RFC 8936): tokens handed out until it acknowledges them or says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, Connection, select, update

from pipeline.transmitter.records import Queued
from pipeline.transmitter.tables import QUEUED, sets
from pipeline.transmitter.texts import may_be_id
from pipeline.transmitter.waiting import COLUMNS, chunks, delivered_jtis, ended, queued


def hand_out(
    conn: Connection, stream_id: str, now_ms: int, most: int, redelivery_ms: int, event: str | None = None
) -> tuple[list[Queued], bool]:
    """Return at most *most* tokens, only those of *event* if one is named, and whether more are ready.

    The oldest come first. Each is handed out again only after *redelivery_ms*, unless it is acknowledged or
    refused before.
    """
    oldest = select(*COLUMNS).where(ready(stream_id, now_ms, event)).order_by(sets.c.seq).limit(most + 1)
    found = [queued(row) for row in conn.execute(oldest.with_for_update(skip_locked=True))]
    given = found[:most]
    for some in chunks(one.seq for one in given):
        these = update(sets).where(sets.c.seq.in_(some))
        conn.execute(these.values(due_at=now_ms + redelivery_ms, attempts=sets.c.attempts + 1))
    return given, len(found) > most


def ready(stream_id: str, now_ms: int, event: str | None = None) -> ColumnElement[bool]:
    """What of a stream can be handed out now, of all events or of one."""
    due = (sets.c.stream_id == stream_id) & QUEUED & (sets.c.due_at <= now_ms)
    return due if event is None else due & (sets.c.event == event)


def acknowledge(conn: Connection, stream_id: str, jtis: Iterable[str], now_ms: int) -> int:
    """End what the receiver took; return how many did wait. Unknown and ended ones change nothing."""
    return delivered_jtis(conn, stream_id, {jti for jti in jtis if may_be_id(jti)}, now_ms)


def refuse(conn: Connection, stream_id: str, errors: Mapping[str, tuple[str, str]], now_ms: int) -> int:
    """Make dead letters of what the receiver could not take: `jti` → code and text (RFC 8936 §2.2).

    Return how many did wait.
    """
    count = 0
    for jti, (error, text) in errors.items():
        if may_be_id(jti):
            one = update(sets).where(sets.c.stream_id == stream_id, sets.c.jti == jti, QUEUED)
            count += conn.execute(one.values(ended("dead", error, text, now_ms))).rowcount
    return count
