"""Waiting tokens: the queue of each stream, from inserting a token to its delivery or its dead letter.

A token is inserted once under its `jti`. Its row stays, without its text once it is delivered, until it is
purged: so a replay of the records finds it known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    bindparam,
    case,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.sql.expression import Select

from pipeline.transmitter.protocol import QueuedToken, SignedToken
from pipeline.transmitter.store.database import insert_into
from pipeline.transmitter.store.tables import QUEUED, clean, commands, sets

CHUNK_SIZE: Final = 500
"""Values in one IN: SQLite limits the variables of a statement."""
MAX_ERROR_LENGTH: Final = 64
MAX_TEXT_LENGTH: Final = 1000

T = TypeVar("T")


def known_jtis(conn: Connection, jtis: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return which of the pairs of stream and `jti` are in the store already, in whatever state."""
    by_stream: dict[str, list[str]] = {}
    for stream_id, jti in jtis:
        by_stream.setdefault(stream_id, []).append(jti)
    found: set[tuple[str, str]] = set()
    for stream_id, jtis_of_stream in by_stream.items():
        for batch in chunks(jtis_of_stream):
            here = (sets.c.stream_id == stream_id) & sets.c.jti.in_(batch)
            found.update((stream_id, jti) for jti in conn.scalars(select(sets.c.jti).where(here)))
    return found


def put(conn: Connection, tokens: Sequence[SignedToken], now_ms: int) -> int:
    """Insert *tokens* into the queues of their streams; return how many are new. Known ones stay as they are."""
    if not tokens:
        return 0
    rows = [
        {
            "stream_id": token.stream_id,
            "jti": token.jti,
            "lane": token.lane,
            "event": token.event,
            "kid": token.kid,
            "jwt": token.jwt,
            "txn": token.txn,
            "revocation_id": token.revocation_id,
            "state": "queued",
            "attempts": 0,
            "due_at": now_ms,
            "created_at": now_ms,
        }
        for token in tokens
    ]
    new = insert_into(conn, sets).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return conn.execute(new, rows).rowcount


def heads(
    conn: Connection, stream_id: str, now_ms: int, limit: int, without: Collection[str] = ()
) -> list[QueuedToken]:
    """Return the oldest waiting token of each lane if it is due: at most *limit*, and of no lane in *without*.

    A lane whose oldest token is not due yet holds back all its tokens, so that order is preserved within a
    lane. Lanes come in the order in which they are due.
    """
    parameters = {"stream": stream_id, "now": now_ms, "limit": limit + len(without)}
    due = (queued(row) for row in conn.execute(_DUE_HEADS, parameters))  # each lane has one row, so enough are left
    return list(islice((token for token in due if token.lane not in without), limit))


def waiting_seqs(conn: Connection, stream_id: str, limit: int) -> set[int]:
    """Return the `seq`s of at most *limit* waiting tokens of a stream, due or not."""
    return set(conn.scalars(_WAITING_SEQS, {"stream": stream_id, "limit": limit}))


def next_due(conn: Connection, stream_id: str) -> int | None:
    """Return when the next head of a lane is due, ms; `None` if nothing waits."""
    heads_of_lanes = _heads(stream_id).order_by(sets.c.due_at, sets.c.seq)
    return conn.scalar(heads_of_lanes.with_only_columns(sets.c.due_at).limit(1))


def mark_delivered(conn: Connection, seqs: Iterable[int], now_ms: int) -> int:
    """Mark waiting tokens as delivered, and their open revocations too; return how many tokens."""
    return sum(_delivered(conn, sets.c.seq.in_(batch), now_ms) for batch in chunks(seqs))


def mark_delivered_jtis(conn: Connection, stream_id: str, jtis: Iterable[str], now_ms: int) -> int:
    """Like `mark_delivered`, by the `jti`s of one stream."""
    of_stream = sets.c.stream_id == stream_id
    return sum(_delivered(conn, of_stream & sets.c.jti.in_(batch), now_ms) for batch in chunks(jtis))


def retry_later(conn: Connection, seq: int, due_at: int, error: str, text: str, *, counted: bool = True) -> None:
    """Record a failed attempt, counted or not, and retry at *due_at*, ms.

    Later tokens of the lane are not due before either, so that finding due tokens does not read everything that
    waits while a receiver is down.
    """
    columns = {"error": clean(error, MAX_ERROR_LENGTH), "error_text": clean(text, MAX_TEXT_LENGTH)}
    statement = update(sets).where(sets.c.seq == seq, QUEUED)
    conn.execute(statement.values(attempts=sets.c.attempts + int(counted), due_at=due_at, **columns))
    lane = conn.execute(select(sets.c.stream_id, sets.c.lane).where(sets.c.seq == seq)).one_or_none()
    if lane is not None:
        behind = (sets.c.stream_id == lane.stream_id) & (sets.c.lane == lane.lane) & (sets.c.seq > seq)
        later = case((sets.c.due_at < due_at, due_at), else_=sets.c.due_at)
        conn.execute(update(sets).where(behind, QUEUED).values(due_at=later))


def dead_letter(conn: Connection, seq: int, error: str, text: str, now_ms: int) -> bool:
    """Count a failed attempt, and make the token a dead letter; false if it does not wait any more."""
    columns = ended_columns("dead", error, text, now_ms)
    statement = update(sets).where(sets.c.seq == seq, QUEUED)
    return conn.execute(statement.values(attempts=sets.c.attempts + 1, **columns)).rowcount == 1


def backlog_size(conn: Connection, stream_id: str) -> tuple[int, int | None]:
    """Return how many tokens of a stream wait, and when the oldest was created, ms."""
    waiting = select(func.count(), func.min(sets.c.created_at)).where(sets.c.stream_id == stream_id, QUEUED)
    count, oldest = conn.execute(waiting).one()
    return count, oldest


def ended_columns(state: str, error: str, text: str, now_ms: int) -> dict[str, Any]:
    """The columns of a token that ended with an *error*, and a *text* for people."""
    columns = {"error": clean(error, MAX_ERROR_LENGTH), "error_text": clean(text, MAX_TEXT_LENGTH)}
    return {"state": state, "ended_at": now_ms, **columns}


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Split *values* into lists that fit into a statement."""
    rest = iter(values)
    while batch := list(islice(rest, CHUNK_SIZE)):
        yield batch


COLUMNS: Final = (
    sets.c.seq,
    sets.c.stream_id,
    sets.c.jti,
    sets.c.lane,
    sets.c.event,
    sets.c.jwt,
    sets.c.attempts,
    sets.c.due_at,
    sets.c.created_at,
    sets.c.revocation_id,
    sets.c.error,
)
"""The columns of a `QueuedToken`, in its order."""


def queued(row: Sequence[Any]) -> QueuedToken:
    """The token in a row of `COLUMNS`."""
    return QueuedToken(*row)


def _heads(stream_id: str | BindParameter[str]) -> Select[Any]:
    """The oldest token of each lane; by a scalar subquery, as PostgreSQL would join NOT EXISTS by stream only."""
    lane = sets.alias("lane")
    of_lane = (lane.c.stream_id == sets.c.stream_id) & (lane.c.lane == sets.c.lane)
    waiting = of_lane & (lane.c.state == literal_column("'queued'"))
    first = select(func.min(lane.c.seq)).where(waiting).scalar_subquery()
    return select(*COLUMNS).where(sets.c.stream_id == stream_id, QUEUED, sets.c.seq == first)


_DUE_HEADS: Final = (
    _heads(bindparam("stream"))
    .where(sets.c.due_at <= bindparam("now"))
    .order_by(sets.c.due_at, sets.c.seq)
    .limit(bindparam("limit"))
)
_WAITING_SEQS: Final = (
    select(sets.c.seq).where(sets.c.stream_id == bindparam("stream"), QUEUED).limit(bindparam("limit"))
)
"""Built once: building a statement takes four times as long as running it, which each push does."""


def _delivered(conn: Connection, which: ColumnElement[bool], now_ms: int) -> int:
    carried = select(sets.c.revocation_id).where(which, QUEUED, sets.c.revocation_id.is_not(None))
    revocations = set(conn.scalars(carried))
    done = {"state": "delivered", "jwt": None, "ended_at": now_ms, "error": None, "error_text": None}
    count = conn.execute(update(sets).where(which, QUEUED).values(done)).rowcount
    for batch in chunks(revocations):
        conn.execute(
            update(commands)
            .where(commands.c.revocation_id.in_(batch))
            .values(
                state=case((commands.c.state == "open", "delivered"), else_=commands.c.state),
                delivered_at=func.coalesce(commands.c.delivered_at, now_ms),
            )
        )
    return count
