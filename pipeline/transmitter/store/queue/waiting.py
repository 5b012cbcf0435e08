"""Tokens that wait in the queue of their stream, from being put there to being delivered or given up.

A token is put in once under its `jti` and stays, without its text once delivered, until it is purged: so a
replay finds it known.
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

CHUNK: Final = 500
"""Values in one IN: SQLite bounds the variables of a statement."""
ERROR_LENGTH: Final = 64
TEXT_LENGTH: Final = 1000

T = TypeVar("T")


def known_jtis(conn: Connection, jtis: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return which of the pairs of stream and `jti` are in the store already, in whatever state."""
    by_stream: dict[str, list[str]] = {}
    for stream_id, jti in jtis:
        by_stream.setdefault(stream_id, []).append(jti)
    found: set[tuple[str, str]] = set()
    for stream_id, asked in by_stream.items():
        for some in chunks(asked):
            here = (sets.c.stream_id == stream_id) & sets.c.jti.in_(some)
            found.update((stream_id, jti) for jti in conn.scalars(select(sets.c.jti).where(here)))
    return found


def put(conn: Connection, tokens: Sequence[SignedToken], now_ms: int) -> int:
    """Put *tokens* into the queues of their streams; return how many are new. Known ones stay as they are."""
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


def heads(conn: Connection, stream_id: str, now_ms: int, most: int, without: Collection[str] = ()) -> list[QueuedToken]:
    """Return the oldest waiting token of each lane that is due, at most *most*, and of no lane in *without*.

    A lane whose oldest token is not due yet keeps all its tokens back: order is kept within a lane. Lanes
    come in the order in which they are due.
    """
    asked = {"stream": stream_id, "now": now_ms, "most": most + len(without)}
    due = (queued(row) for row in conn.execute(_DUE, asked))  # a lane has but one: enough are left
    return list(islice((this_queued for this_queued in due if this_queued.lane not in without), most))


def waiting_seqs(conn: Connection, stream_id: str, most: int) -> set[int]:
    """Return the `seq`s of tokens of a stream that wait, due or not, at most *most*."""
    return set(conn.scalars(_SOME, {"stream": stream_id, "most": most}))


def next_due(conn: Connection, stream_id: str) -> int | None:
    """Return when the next head of a lane is due, ms; `None` where nothing waits."""
    heads_of_lanes = _heads(stream_id).order_by(sets.c.due_at, sets.c.seq)
    return conn.scalar(heads_of_lanes.with_only_columns(sets.c.due_at).limit(1))


def mark_delivered(conn: Connection, seqs: Iterable[int], now_ms: int) -> int:
    """End waiting tokens as delivered, and open revocations with them; return how many tokens."""
    return sum(_delivered(conn, sets.c.seq.in_(some), now_ms) for some in chunks(seqs))


def mark_delivered_jtis(conn: Connection, stream_id: str, jtis: Iterable[str], now_ms: int) -> int:
    """As `delivered`, by the `jti`s of one stream."""
    of_stream = sets.c.stream_id == stream_id
    return sum(_delivered(conn, of_stream & sets.c.jti.in_(some), now_ms) for some in chunks(jtis))


def retry_later(conn: Connection, seq: int, due_at: int, error: str, text: str, *, counted: bool = True) -> None:
    """Note a try that failed, counted or not, and try again at *due_at*, ms.

    What waits behind it in its lane is not due before either: while a receiver is down, looking for what is
    due does not look through all that waits.
    """
    by_key = {"error": clean(error, ERROR_LENGTH), "error_text": clean(text, TEXT_LENGTH)}
    this_update = update(sets).where(sets.c.seq == seq, QUEUED)
    conn.execute(this_update.values(attempts=sets.c.attempts + int(counted), due_at=due_at, **by_key))
    lane = conn.execute(select(sets.c.stream_id, sets.c.lane).where(sets.c.seq == seq)).one_or_none()
    if lane is not None:
        behind = (sets.c.stream_id == lane.stream_id) & (sets.c.lane == lane.lane) & (sets.c.seq > seq)
        later = case((sets.c.due_at < due_at, due_at), else_=sets.c.due_at)
        conn.execute(update(sets).where(behind, QUEUED).values(due_at=later))


def dead_letter(conn: Connection, seq: int, error: str, text: str, now_ms: int) -> bool:
    """Count a try that failed, and make the token a dead letter; false if it waits no more."""
    gone = ended("dead", error, text, now_ms)
    this_update = update(sets).where(sets.c.seq == seq, QUEUED)
    return conn.execute(this_update.values(attempts=sets.c.attempts + 1, **gone)).rowcount == 1


def backlog_size(conn: Connection, stream_id: str) -> tuple[int, int | None]:
    """Return how many tokens of a stream wait, and since when the oldest does, ms."""
    waiting = select(func.count(), func.min(sets.c.created_at)).where(sets.c.stream_id == stream_id, QUEUED)
    count, oldest = conn.execute(waiting).one()
    return count, oldest


def ended(state: str, error: str, text: str, now_ms: int) -> dict[str, Any]:
    """The columns of a token that came to an end with an *error*, and a *text* for people."""
    by_key = {"error": clean(error, ERROR_LENGTH), "error_text": clean(text, TEXT_LENGTH)}
    return {"state": state, "ended_at": now_ms, **by_key}


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Cut *values* into lists that fit a statement."""
    rest = iter(values)
    while some := list(islice(rest, CHUNK)):
        yield some


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
"""What a `QueuedToken` holds, in its order."""


def queued(row: Sequence[Any]) -> QueuedToken:
    """A token in the queue, of a row of `COLUMNS`."""
    return QueuedToken(*row)


def _heads(stream_id: str | BindParameter[str]) -> Select[Any]:
    """The first of each lane; a subquery a row, as PostgreSQL would join NOT EXISTS by the stream alone."""
    lane = sets.alias("lane")
    of_lane = (lane.c.stream_id == sets.c.stream_id) & (lane.c.lane == sets.c.lane)
    waiting = of_lane & (lane.c.state == literal_column("'queued'"))
    first = select(func.min(lane.c.seq)).where(waiting).scalar_subquery()
    return select(*COLUMNS).where(sets.c.stream_id == stream_id, QUEUED, sets.c.seq == first)


_DUE: Final = (
    _heads(bindparam("stream"))
    .where(sets.c.due_at <= bindparam("now"))
    .order_by(sets.c.due_at, sets.c.seq)
    .limit(bindparam("most"))
)
_SOME: Final = select(sets.c.seq).where(sets.c.stream_id == bindparam("stream"), QUEUED).limit(bindparam("most"))
"""Built once: that takes four times as long as asking it, which each push does."""


def _delivered(conn: Connection, which: ColumnElement[bool], now_ms: int) -> int:
    carried = select(sets.c.revocation_id).where(which, QUEUED, sets.c.revocation_id.is_not(None))
    revocations = set(conn.scalars(carried))
    done = {"state": "delivered", "jwt": None, "ended_at": now_ms, "error": None, "error_text": None}
    count = conn.execute(update(sets).where(which, QUEUED).values(done)).rowcount
    for some in chunks(revocations):
        conn.execute(
            update(commands)
            .where(commands.c.revocation_id.in_(some))
            .values(
                state=case((commands.c.state == "open", "delivered"), else_=commands.c.state),
                delivered_at=func.coalesce(commands.c.delivered_at, now_ms),
            )
        )
    return count
