"""Streams in the store: what a receiver set up, or the operator's file declares; the same object for both.

Each is read with the tenant it hears of, its receiver's or else its own, wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    delete,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)

from pipeline.transmitter.protocol import Status, Stream
from pipeline.transmitter.store.database import advisory_lock, insert_into
from pipeline.transmitter.store.encryption import Sealer
from pipeline.transmitter.store.queue.waiting import chunks
from pipeline.transmitter.store.tables import clean, is_valid_id, receivers, sets, stream_subjects, streams
from pipeline.transmitter.subject_identifiers import canonical, key

REASON_LENGTH = 1000
"""Characters of a status' reason, and of a description."""

_TENANT: Final = func.coalesce(receivers.c.tenant, streams.c.tenant)
"""The tenant that a stream hears of: its receiver's, as it is now, or else the one it was made with."""
_COLUMNS: Final = tuple(_TENANT.label("tenant") if column.name == "tenant" else column for column in streams.columns)
_AGE: Final = (streams.c.created_at, streams.c.stream_id)
_ALL: Final = true()
_OF: Final = streams.outerjoin(receivers, receivers.c.receiver_id == streams.c.receiver_id)


def add(conn: Connection, sealer: Sealer, stream: Stream) -> None:
    """Store a new stream."""
    conn.execute(insert(streams).values(_row(sealer, stream)))


def get(conn: Connection, sealer: Sealer, stream_id: str, *, lock: bool = False) -> Stream | None:
    """Return the stream of this id, `None` where there is none.

    With *lock* it is for changing: until the transaction ends nobody else changes it, removes it or puts
    tokens into its queue.
    """
    if not is_valid_id(stream_id):
        return None
    found = _read(conn, sealer, streams.c.stream_id == stream_id, lock=lock)
    return found[0] if found else None


def lock_active(conn: Connection, stream_ids: Iterable[str]) -> set[str]:
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
    return _read(conn, sealer, streams.c.receiver_id == receiver_id)


def every(conn: Connection, sealer: Sealer) -> list[Stream]:
    """Return all streams, the oldest first."""
    return _read(conn, sealer)


def list_without_secrets(conn: Connection) -> list[Stream]:
    """Return all streams, the oldest first, without the secret that only a push needs."""
    columns = [column for column in _COLUMNS if column.name != "authorization_sealed"]
    return [_stream(members) for members in _members(conn, _select(*columns))]


def without_tenant(conn: Connection) -> list[str]:
    """Return the ids of the streams that hear of no tenant in particular, the oldest first."""
    some = _select(streams.c.stream_id).where(_TENANT.is_(None), streams.c.status != "disabled")
    return list(conn.scalars(some))


def own_tenants(conn: Connection) -> dict[str, str | None]:
    """Return by stream the tenant it was made with, whatever its receiver's is."""
    cursor_result = conn.execute(select(streams.c.stream_id, streams.c.tenant))
    return {row.stream_id: row.tenant for row in cursor_result}


def declared(conn: Connection, sealer: Sealer) -> list[Stream]:
    """Return the streams of the operator's file, for changing them: one at a time is past this line."""
    advisory_lock(conn, "declared streams")
    return _read(conn, sealer, streams.c.declared, lock=True)


def change(conn: Connection, sealer: Sealer, stream: Stream) -> bool:
    """Store *stream* in place of the one of its id; false if there is none (any more)."""
    row = _row(sealer, stream)
    done = conn.execute(update(streams).where(streams.c.stream_id == row.pop("stream_id")).values(row))
    return done.rowcount == 1


def remove(conn: Connection, stream_id: str, now_ms: int) -> int:
    """Remove a stream; return how many waiting tokens go with it.

    They become dead letters of error `stream_removed`, without the token: nothing can send them again.
    """
    conn.execute(select(streams.c.stream_id).where(streams.c.stream_id == stream_id).with_for_update())
    dropped = _drop(conn, stream_id, "stream_removed", "the stream was removed", now_ms)
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
    text = None if reason is None else clean(reason, REASON_LENGTH)
    this_update = update(streams).where(streams.c.stream_id == stream_id)
    conn.execute(this_update.values(status=status, status_reason=text, updated_at=now_ms))
    if status != "disabled":
        return 0
    return _drop(conn, stream_id, "stream_disabled", text or "the stream was disabled", now_ms)


def record_verification_request(conn: Connection, stream_id: str, now_ms: int) -> None:
    """Remember that a verification was asked for."""
    this_update = update(streams).where(streams.c.stream_id == stream_id)
    conn.execute(this_update.values(verification_asked_at=now_ms))


def set_subject(conn: Connection, stream_id: str, subject: Mapping[str, Any], *, included: bool) -> bool:
    """Take a subject out of a stream or, *included*, put it back; false if it was out, or in, already."""
    found_by = key(canonical(subject))
    if included:
        table = stream_subjects.c
        same = (table.stream_id == stream_id) & (table.subject_hash == found_by)
        return conn.execute(delete(stream_subjects).where(same)).rowcount == 1
    row = {"stream_id": stream_id, "subject_hash": found_by, "subject": dict(subject)}
    new = insert_into(conn, stream_subjects).values(row).on_conflict_do_nothing()
    return conn.scalar(new.returning(stream_subjects.c.subject_hash)) is not None


def _drop(conn: Connection, stream_id: str, error: str, text: str, now_ms: int) -> int:
    waiting = (sets.c.stream_id == stream_id) & (sets.c.state == literal_column("'queued'"))
    gone = {"state": "dead", "jwt": None, "error": error, "error_text": text, "ended_at": now_ms}
    return conn.execute(update(sets).where(waiting).values(gone)).rowcount


def _row(sealer: Sealer, stream: Stream) -> dict[str, Any]:
    requested = stream.events_requested
    text = stream.authorization
    return {
        "stream_id": stream.stream_id,
        "receiver_id": stream.receiver_id,
        "aud": stream.aud,
        "declared": stream.declared,
        "description": None if stream.description is None else clean(stream.description, REASON_LENGTH),
        "events_requested": None if requested is None else list(requested),
        "method": stream.method,
        "endpoint_url": stream.endpoint_url,
        "authorization_sealed": None if text is None else sealer.seal(text),
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


def _read(conn: Connection, sealer: Sealer, which: ColumnElement[bool] = _ALL, *, lock: bool = False) -> list[Stream]:
    query = _select(*_COLUMNS).where(which)
    found = []
    for members in _members(conn, query.with_for_update(of=streams) if lock else query):
        sealed = members.pop("authorization_sealed")
        found.append(_stream(members, None if sealed is None else sealer.open(sealed)))
    return found


def _select(*columns: ColumnElement[Any]) -> Select[Any]:
    """Every stream, the oldest first."""
    return select(*columns).select_from(_OF).order_by(*_AGE)


def _members(conn: Connection, which: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(which).mappings()]


def _stream(members: dict[str, Any], authorization: str | None = None) -> Stream:
    requested = members.pop("events_requested")
    events = None if requested is None else tuple(requested)
    return Stream(**members, authorization=authorization, events_requested=events)
