"""Tokens that were given up, with the reason; sent again on request, purged when they are old."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Update, delete, func, literal, or_, select, update

from pipeline.transmitter.push_responses import FINAL_ERRORS
from pipeline.transmitter.store.queue.waiting import chunks, ended
from pipeline.transmitter.store.tables import DEAD, QUEUED, sets, signing_keys, streams

HOLD_LIMIT: Final = "hold_limit"
"""The error of a token that a stream held too long, or one too many."""
MOST: Final = 10_000
"""Rows purged in one transaction: others write too."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A token that was given up; times in ms. One that is not *retriable* has no token any more."""

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
    """Give up the oldest waiting tokens: those beyond *down_to*, and those made before *before_ms*."""
    waiting = (sets.c.stream_id == stream_id) & QUEUED
    newest = select(sets.c.seq).where(waiting).order_by(sets.c.seq.desc()).offset(down_to).limit(1)
    beyond = sets.c.seq <= newest.scalar_subquery()  # none is beyond where there is no such row
    number = "the stream held it too long, or too many"
    gone = ended("dead", HOLD_LIMIT, number, now_ms)
    gone["error_text"] = func.coalesce(literal(f"{number}; its last try: ") + sets.c.error, number)
    which = or_(beyond, sets.c.created_at < before_ms)
    return conn.execute(update(sets).where(waiting, which).values(gone)).rowcount


def keep_newest(conn: Connection, stream_id: str, most: int, lately: int) -> int:
    """Of what a stream gave up for its bounds keep *most* tokens, the newest; of others only the names stay.

    To be asked whenever some are given up, with how many these were; return how many it forgets.
    """
    newest = select(sets.c.seq).where(sets.c.stream_id == stream_id, DEAD)
    newest = newest.order_by(sets.c.ended_at.desc(), sets.c.seq.desc())
    others = newest.offset(most).limit(lately + MOST).subquery()  # what is beyond was forgotten before
    given_up = sets.c.jwt.is_not(None) & (sets.c.error == HOLD_LIMIT)
    forget = update(sets).where(sets.c.seq.in_(select(others.c.seq)), given_up)
    return conn.execute(forget.values(jwt=None)).rowcount


def list_dead_letters(conn: Connection, stream_id: str | None = None, most: int = 1000) -> list[DeadLetter]:
    """Return the dead letters, of one stream or of all, the newest first."""
    asked = select(
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
        asked = asked.where(sets.c.stream_id == stream_id)
    newest = asked.order_by(sets.c.ended_at.desc(), sets.c.seq.desc()).limit(most)
    return [DeadLetter(*row) for row in conn.execute(newest)]


def requeue(conn: Connection, which: Iterable[int] | str, now_ms: int) -> int:
    """Put dead letters back into the queue, by their `seq`s or all of a stream's; return how many.

    They keep `jti` and place, so they leave before what came later, and have all their tries and all their
    time again. What has no token or no stream any more stays, and so does what is of a disabled stream.
    """
    some = _requeueing(conn, now_ms)
    if isinstance(which, str):
        return conn.execute(some.where(sets.c.stream_id == which)).rowcount
    return sum(conn.execute(some.where(sets.c.seq.in_(these))).rowcount for these in chunks(which))


def requeue_resent(conn: Connection, revocation_ids: Iterable[str], now_ms: int) -> set[str]:
    """Put back the dead letters of commands that were sent again; return the streams they are of.

    As `requeue` does, but none of those that would fail again (`answers.FINAL_ERRORS`).
    """
    found: set[str] = set()
    for these in chunks(revocation_ids):
        worth_it = sets.c.revocation_id.in_(these) & sets.c.error.not_in(sorted(FINAL_ERRORS))
        some = _requeueing(conn, now_ms).where(worth_it).returning(sets.c.stream_id)
        found.update(conn.scalars(some))
    return found


def _requeueing(conn: Connection, now_ms: int) -> Update:
    """What puts dead letters back that have their token still, and a stream that is not disabled."""
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
    conn.execute(here.order_by(streams.c.stream_id).with_for_update(read=True)).all()  # none ends meanwhile
    return update(sets).where(DEAD, sets.c.jwt.is_not(None), sets.c.stream_id.in_(here)).values(back)


def purge(conn: Connection, before_ms: int, most: int = MOST) -> int:
    """Delete at most *most* tokens that were delivered or died before *before_ms*; return how many."""
    old = select(sets.c.seq).where(sets.c.ended_at < before_ms).order_by(sets.c.ended_at).limit(most)
    return conn.execute(delete(sets).where(sets.c.seq.in_(old))).rowcount


def count_dead_letters(conn: Connection) -> dict[str, int]:
    """Return how many dead letters each stream has."""
    by_stream = select(sets.c.stream_id, func.count()).where(DEAD).group_by(sets.c.stream_id)
    return {row[0]: row[1] for row in conn.execute(by_stream)}


def needed_key_ids(conn: Connection) -> set[str]:
    """Return the keys that signed something which waits, or is a dead letter that may be sent again."""
    needed = select(sets.c.kid).where(sets.c.kid == signing_keys.c.kid, sets.c.jwt.is_not(None))
    return set(conn.scalars(select(signing_keys.c.kid).where(needed.exists())))
