"""Streams in the store: what a receiver set up, or the operator's file declares; the same object for both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, literal_column, select, update

from pipeline.transmitter.records import Stream
from pipeline.transmitter.sealing import Sealer
from pipeline.transmitter.store import insert_into, only_one
from pipeline.transmitter.tables import sets, stream_subjects, streams
from pipeline.transmitter.texts import clean, may_be_id
from pipeline.transmitter.vocabulary import Status
from pipeline.transmitter.waiting import chunks

REASON_LENGTH = 1000
"""Characters of a status' reason, and of a description."""


def add(conn: Connection, sealer: Sealer, stream: Stream) -> None:
    """Store a new stream."""
    conn.execute(insert(streams).values(_row(sealer, stream)))


def get(conn: Connection, sealer: Sealer, stream_id: str, *, lock: bool = False) -> Stream | None:
    """Return the stream of this id, `None` where there is none.

    With *lock* it is for changing: until the transaction ends nobody else changes it, removes it or puts
    tokens into its queue.
    """
    if not may_be_id(stream_id):
        return None
    one = select(streams).where(streams.c.stream_id == stream_id)
    row = conn.execute(one.with_for_update() if lock else one).one_or_none()
    return None if row is None else _stream(sealer, row)


def alive(conn: Connection, stream_ids: Iterable[str]) -> set[str]:
    """Return which of *stream_ids* are there and not disabled; so they stay until the transaction ends.

    Who puts tokens into their queues asks this first: a stream that ends meanwhile would leave them behind.
    """
    found: set[str] = set()
    for some in chunks(sorted(set(stream_ids))):  # in order: two that lock several never wait crosswise
        here = streams.c.stream_id.in_(some) & (streams.c.status != "disabled")
        in_order = select(streams.c.stream_id).where(here).order_by(streams.c.stream_id)
        found.update(conn.scalars(in_order.with_for_update(read=True)))
    return found


def of_receiver(conn: Connection, sealer: Sealer, receiver_id: str) -> list[Stream]:
    """Return the streams of a receiver, the oldest first."""
    mine = select(streams).where(streams.c.receiver_id == receiver_id)
    return [_stream(sealer, row) for row in conn.execute(mine.order_by(*_AGE))]


def every(conn: Connection, sealer: Sealer) -> list[Stream]:
    """Return all streams, the oldest first."""
    return [_stream(sealer, row) for row in conn.execute(select(streams).order_by(*_AGE))]


def declared(conn: Connection, sealer: Sealer) -> list[Stream]:
    """Return the streams of the operator's file, for changing them: one at a time is past this line."""
    only_one(conn, "declared streams")
    of_file = select(streams).where(streams.c.declared).order_by(streams.c.stream_id)
    return [_stream(sealer, row) for row in conn.execute(of_file.with_for_update())]


def change(conn: Connection, sealer: Sealer, stream: Stream) -> bool:
    """Store *stream* in place of the one of its id; false if there is none (any more)."""
    row = _row(sealer, stream)
    done = conn.execute(update(streams).where(streams.c.stream_id == row.pop("stream_id")).values(row))
    return done.rowcount == 1


def remove(conn: Connection, stream_id: str) -> int:
    """Remove a stream; return how many waiting tokens go with it.

    They become dead letters of error `stream_removed`, without the token: nothing can send them again.
    """
    conn.execute(select(streams.c.stream_id).where(streams.c.stream_id == stream_id).with_for_update())
    dropped = _drop(conn, stream_id, "stream_removed", "the stream was removed", None)
    of_dead = (sets.c.stream_id == stream_id) & (sets.c.state == literal_column("'dead'"))
    conn.execute(update(sets).where(of_dead).values(jwt=None))
    conn.execute(delete(stream_subjects).where(stream_subjects.c.stream_id == stream_id))
    conn.execute(delete(streams).where(streams.c.stream_id == stream_id))
    return dropped


def set_status(conn: Connection, stream_id: str, status: Status, reason: str | None, now_ms: int) -> int:
    """Set the status; return how many waiting tokens that drops: `disabled` holds none (SSF 1.0 §8.1.2.1).

    They become dead letters of error `stream_disabled`, without the token. What is put into the queue
    afterwards stays: a stream-updated of the same transaction does.
    """
    told = None if reason is None else clean(reason, REASON_LENGTH)
    one = update(streams).where(streams.c.stream_id == stream_id)
    conn.execute(one.values(status=status, status_reason=told, updated_at=now_ms))
    if status != "disabled":
        return 0
    return _drop(conn, stream_id, "stream_disabled", told or "the stream was disabled", now_ms)


def asked(conn: Connection, stream_id: str, now_ms: int) -> None:
    """Remember that a verification was asked for."""
    one = update(streams).where(streams.c.stream_id == stream_id)
    conn.execute(one.values(verification_asked_at=now_ms))


def include(conn: Connection, stream_id: str, subject: Mapping[str, Any], *, included: bool) -> None:
    """Remember the word about a subject; the later one about it stands."""
    told = json.dumps(subject, sort_keys=True, separators=(",", ":"))
    row = {
        "stream_id": stream_id,
        "subject_hash": hashlib.sha256(told.encode()).hexdigest(),
        "subject": dict(subject),
        "included": included,
    }
    new = insert_into(conn, stream_subjects).values(row)
    key = [stream_subjects.c.stream_id, stream_subjects.c.subject_hash]
    conn.execute(new.on_conflict_do_update(index_elements=key, set_={"included": included}))
    one = update(streams).where(streams.c.stream_id == stream_id)
    conn.execute(one.values(subjects_version=streams.c.subjects_version + 1))


def excluded(conn: Connection, stream_id: str | None = None) -> dict[str, list[Any]]:
    """Return the subjects each stream, or this one, must hear nothing of; one without any is not in it."""
    out = select(stream_subjects.c.stream_id, stream_subjects.c.subject).where(~stream_subjects.c.included)
    if stream_id is not None:
        out = out.where(stream_subjects.c.stream_id == stream_id)
    found: dict[str, list[Any]] = {}
    for one, subject in conn.execute(out):
        found.setdefault(one, []).append(subject)
    return found


_AGE = (streams.c.created_at, streams.c.stream_id)


def _drop(conn: Connection, stream_id: str, error: str, text: str, now_ms: int | None) -> int:
    waiting = (sets.c.stream_id == stream_id) & (sets.c.state == literal_column("'queued'"))
    ended = sets.c.due_at if now_ms is None else now_ms
    gone = {"state": "dead", "jwt": None, "error": error, "error_text": text, "ended_at": ended}
    return conn.execute(update(sets).where(waiting).values(gone)).rowcount


def _row(sealer: Sealer, stream: Stream) -> dict[str, Any]:
    requested = stream.events_requested
    told = stream.authorization
    return {
        "stream_id": stream.stream_id,
        "receiver_id": stream.receiver_id,
        "aud": stream.aud,
        "declared": stream.declared,
        "description": None if stream.description is None else clean(stream.description, REASON_LENGTH),
        "events_requested": None if requested is None else list(requested),
        "method": stream.method,
        "endpoint_url": stream.endpoint_url,
        "authorization_sealed": None if told is None else sealer.seal(told),
        "subject_form": stream.subject_form,
        "subject_in_event": stream.subject_in_event,
        "personal_data": stream.personal_data,
        "tenant": stream.tenant,
        "status": stream.status,
        "status_reason": stream.status_reason,
        "created_at": stream.created_at,
        "updated_at": stream.updated_at,
        "verification_asked_at": stream.verification_asked_at,
    }


def _stream(sealer: Sealer, row: Row[Any]) -> Stream:
    members = {name: value for name, value in row._mapping.items() if name != "subjects_version"}  # noqa: SLF001 - SQLAlchemy's name for a row by its columns
    sealed, requested = members.pop("authorization_sealed"), members.pop("events_requested")
    return Stream(
        **members,
        authorization=None if sealed is None else sealer.open(sealed),
        events_requested=None if requested is None else tuple(requested),
    )
