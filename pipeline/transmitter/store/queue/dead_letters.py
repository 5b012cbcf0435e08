"""Dead letters: tokens that were given up, with the reason; they can be requeued, and are purged with age."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Update, delete, func, literal, or_, select, update

from pipeline.transmitter.push_responses import FINAL_ERRORS
from pipeline.transmitter.store.queue.waiting import chunks, ended_columns
from pipeline.transmitter.store.tables import DEAD, QUEUED, sets, signing_keys, streams

HOLD_LIMIT: Final = "hold_limit"
"""Error of a token that its stream held too long, or that exceeded the stream's limit."""
PURGE_BATCH: Final = 10_000
"""Rows purged in one transaction, because others write too."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A token that was given up; times in ms. It is *retriable* while its text is stored."""

    seq: int
    stream_id: str
    jti: str
    event: str
    txn: str | None
    attempts: int
    created_at: int
    ended_at: int
    error: str
    error_text: str
    retriable: bool


def drop_oldest(conn: Connection, stream_id: str, down_to: int, before_ms: int, now_ms: int) -> int:
    """Give up the oldest waiting tokens: those beyond *down_to*, and those created before *before_ms*."""
    waiting = (sets.c.stream_id == stream_id) & QUEUED
    newest = select(sets.c.seq).where(waiting).order_by(sets.c.seq.desc()).offset(down_to).limit(1)
    beyond = sets.c.seq <= newest.scalar_subquery()  # NULL, and so none, if there are fewer rows
    reason = "the stream held it too long, or held too many"
    columns = ended_columns("dead", HOLD_LIMIT, reason, now_ms)
    columns["error_text"] = func.coalesce(literal(f"{reason}; its last attempt: ") + sets.c.error, reason)
    which = or_(beyond, sets.c.created_at < before_ms)
    return conn.execute(update(sets).where(waiting, which).values(columns)).rowcount


def keep_newest(conn: Connection, stream_id: str, limit: int, dropped_now: int) -> int:
    """Of the tokens a stream dropped for its limit keep the *limit* newest; of the others only the row stays.

    To be called whenever tokens were dropped, with their number *dropped_now*; returns how many texts it deleted.
    """
    newest = select(sets.c.seq).where(sets.c.stream_id == stream_id, DEAD)
    newest = newest.order_by(sets.c.ended_at.desc(), sets.c.seq.desc())
    others = (
        newest.offset(limit).limit(dropped_now + PURGE_BATCH).subquery()
    )  # those further back were handled by earlier calls
    given_up = sets.c.jwt.is_not(None) & (sets.c.error == HOLD_LIMIT)
    forget = update(sets).where(sets.c.seq.in_(select(others.c.seq)), given_up)
    return conn.execute(forget.values(jwt=None)).rowcount


def list_dead_letters(conn: Connection, stream_id: str | None = None, limit: int = 1000) -> list[DeadLetter]:
    """Return the dead letters, of one stream or of all, the newest first."""
    query = select(
        sets.c.seq,
        sets.c.stream_id,
        sets.c.jti,
        sets.c.event,
        sets.c.txn,
        sets.c.attempts,
        sets.c.created_at,
        sets.c.ended_at,
        sets.c.error,
        sets.c.error_text,
        sets.c.jwt.is_not(None),
    ).where(DEAD)
    if stream_id is not None:
        query = query.where(sets.c.stream_id == stream_id)
    newest = query.order_by(sets.c.ended_at.desc(), sets.c.seq.desc()).limit(limit)
    return [DeadLetter(*row) for row in conn.execute(newest)]


def requeue(conn: Connection, which: Iterable[int] | str, now_ms: int) -> int:
    """Put dead letters back into the queue, by `seq` or all of a stream; return how many.

    They keep `jti` and position, so they are sent before later ones, and have all attempts and their full time
    again. Tokens without text or stream stay dead, and so do those of a disabled stream.
    """
    statement = _requeueing(conn, now_ms)
    if isinstance(which, str):
        return conn.execute(statement.where(sets.c.stream_id == which)).rowcount
    return sum(conn.execute(statement.where(sets.c.seq.in_(seqs))).rowcount for seqs in chunks(which))


def requeue_resent(conn: Connection, revocation_ids: Iterable[str], now_ms: int) -> set[str]:
    """Requeue the dead letters of revocations that were sent again; return their streams.

    Like `requeue`, but without tokens that would fail again (`push_responses.FINAL_ERRORS`).
    """
    found: set[str] = set()
    for seqs in chunks(revocation_ids):
        retriable = sets.c.revocation_id.in_(seqs) & sets.c.error.not_in(sorted(FINAL_ERRORS))
        statement = _requeueing(conn, now_ms).where(retriable).returning(sets.c.stream_id)
        found.update(conn.scalars(statement))
    return found


def _requeueing(conn: Connection, now_ms: int) -> Update:
    """The UPDATE that requeues dead letters whose text is stored and whose stream is not disabled."""
    back = {
        "state": "queued",
        "attempts": 0,
        "due_at": now_ms,
        "created_at": now_ms,
        "ended_at": None,
        "error": None,
        "error_text": None,
    }
    here = select(streams.c.stream_id).where(streams.c.status != "disabled")
    conn.execute(
        here.order_by(streams.c.stream_id).with_for_update(read=True)
    ).all()  # no stream may be disabled meanwhile
    return update(sets).where(DEAD, sets.c.jwt.is_not(None), sets.c.stream_id.in_(here)).values(back)


def purge(conn: Connection, before_ms: int, limit: int = PURGE_BATCH) -> int:
    """Delete at most *limit* tokens that were delivered or died before *before_ms*; return how many."""
    old = select(sets.c.seq).where(sets.c.ended_at < before_ms).order_by(sets.c.ended_at).limit(limit)
    return conn.execute(delete(sets).where(sets.c.seq.in_(old))).rowcount


def count_dead_letters(conn: Connection) -> dict[str, int]:
    """Return the number of dead letters by stream."""
    by_stream = select(sets.c.stream_id, func.count()).where(DEAD).group_by(sets.c.stream_id)
    return {row[0]: row[1] for row in conn.execute(by_stream)}


def needed_key_ids(conn: Connection) -> set[str]:
    """Return the keys that signed a token which waits, or is a dead letter that can be requeued."""
    needed = select(sets.c.kid).where(sets.c.kid == signing_keys.c.kid, sets.c.jwt.is_not(None))
    return set(conn.scalars(select(signing_keys.c.kid).where(needed.exists())))
