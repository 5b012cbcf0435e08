"""Streams in the store, whether created by a receiver or declared in the operator's file.

Every read gives a stream with its effective tenant: that of its receiver, or else its own.
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

MAX_REASON_LENGTH = 1000
"""Longest reason of a status, and longest description, in characters."""

_TENANT: Final = func.coalesce(receivers.c.tenant, streams.c.tenant)
"""The effective tenant of a stream: that of its receiver now, or else the one it was created with."""
_COLUMNS: Final = tuple(_TENANT.label("tenant") if column.name == "tenant" else column for column in streams.columns)
_AGE: Final = (streams.c.created_at, streams.c.stream_id)
_ALL: Final = true()
_WITH_RECEIVERS: Final = streams.outerjoin(receivers, receivers.c.receiver_id == streams.c.receiver_id)


def add(conn: Connection, sealer: Sealer, stream: Stream) -> None:
    """Store a new stream."""
    conn.execute(insert(streams).values(_row(sealer, stream)))


def get(conn: Connection, sealer: Sealer, stream_id: str, *, lock: bool = False) -> Stream | None:
    """Return the stream with this id, `None` if there is none.

    With *lock*, until the transaction ends nobody else changes or removes it, or inserts tokens into its queue.
    """
    if not is_valid_id(stream_id):
        return None
    found = _read(conn, sealer, streams.c.stream_id == stream_id, lock=lock)
    return found[0] if found else None


def lock_active(conn: Connection, stream_ids: Iterable[str]) -> set[str]:
    """Return which of *stream_ids* exist and are not disabled; they stay so until the transaction ends.

    Whoever inserts tokens calls this first: a stream that ended meanwhile would leave them behind.
    """
    found: set[str] = set()
    for batch in chunks(sorted(set(stream_ids))):  # sorted, so that two transactions cannot deadlock
        here = streams.c.stream_id.in_(batch) & (streams.c.status != "disabled")
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
    return [_stream(row) for row in _rows(conn, _select(*columns))]


def without_tenant(conn: Connection) -> list[str]:
    """Return the ids of the streams without a tenant, the oldest first."""
    batch = _select(streams.c.stream_id).where(_TENANT.is_(None), streams.c.status != "disabled")
    return list(conn.scalars(batch))


def own_tenants(conn: Connection) -> dict[str, str | None]:
    """Return by stream the tenant it was created with, whatever its receiver's is."""
    rows = conn.execute(select(streams.c.stream_id, streams.c.tenant))
    return {row.stream_id: row.tenant for row in rows}


def declared(conn: Connection, sealer: Sealer) -> list[Stream]:
    """Return the declared streams for changing them: one transaction at a time is past this line."""
    advisory_lock(conn, "declared streams")
    return _read(conn, sealer, streams.c.declared, lock=True)


def change(conn: Connection, sealer: Sealer, stream: Stream) -> bool:
    """Replace the stored stream by *stream*; false if it does not exist any more."""
    row = _row(sealer, stream)
    done = conn.execute(update(streams).where(streams.c.stream_id == row.pop("stream_id")).values(row))
    return done.rowcount == 1


def remove(conn: Connection, stream_id: str, now_ms: int) -> int:
    """Remove a stream; return how many waiting tokens it had.

    They become dead letters with the error `stream_removed`, without text, so they cannot be requeued.
    """
    conn.execute(select(streams.c.stream_id).where(streams.c.stream_id == stream_id).with_for_update())
    dropped = _drop(conn, stream_id, "stream_removed", "the stream was removed", now_ms)
    dead = (sets.c.stream_id == stream_id) & (sets.c.state == literal_column("'dead'"))
    conn.execute(update(sets).where(dead).values(jwt=None))
    conn.execute(delete(stream_subjects).where(stream_subjects.c.stream_id == stream_id))
    conn.execute(delete(streams).where(streams.c.stream_id == stream_id))
    return dropped


def set_status(conn: Connection, stream_id: str, status: Status, reason: str | None, now_ms: int) -> int:
    """Set the status; return how many waiting tokens that drops: `disabled` holds none (SSF 1.0 §8.1.2.1).

    They become dead letters with the error `stream_disabled`, without text. Tokens inserted afterwards stay,
    such as a stream-updated in the same transaction.
    """
    text = None if reason is None else clean(reason, MAX_REASON_LENGTH)
    statement = update(streams).where(streams.c.stream_id == stream_id)
    conn.execute(statement.values(status=status, status_reason=text, updated_at=now_ms))
    if status != "disabled":
        return 0
    return _drop(conn, stream_id, "stream_disabled", text or "the stream was disabled", now_ms)


def record_verification_request(conn: Connection, stream_id: str, now_ms: int) -> None:
    """Store when a verification was requested."""
    statement = update(streams).where(streams.c.stream_id == stream_id)
    conn.execute(statement.values(verification_asked_at=now_ms))


def set_subject(conn: Connection, stream_id: str, subject: Mapping[str, Any], *, included: bool) -> bool:
    """Remove a subject from a stream or, *included*, add it again; false if nothing changed."""
    subject_hash = key(canonical(subject))
    if included:
        table = stream_subjects.c
        same = (table.stream_id == stream_id) & (table.subject_hash == subject_hash)
        return conn.execute(delete(stream_subjects).where(same)).rowcount == 1
    row = {"stream_id": stream_id, "subject_hash": subject_hash, "subject": dict(subject)}
    new = insert_into(conn, stream_subjects).values(row).on_conflict_do_nothing()
    return conn.scalar(new.returning(stream_subjects.c.subject_hash)) is not None


def _drop(conn: Connection, stream_id: str, error: str, text: str, now_ms: int) -> int:
    waiting = (sets.c.stream_id == stream_id) & (sets.c.state == literal_column("'queued'"))
    columns = {"state": "dead", "jwt": None, "error": error, "error_text": text, "ended_at": now_ms}
    return conn.execute(update(sets).where(waiting).values(columns)).rowcount


def _row(sealer: Sealer, stream: Stream) -> dict[str, Any]:
    requested = stream.events_requested
    text = stream.authorization
    return {
        "stream_id": stream.stream_id,
        "receiver_id": stream.receiver_id,
        "aud": stream.aud,
        "declared": stream.declared,
        "description": None if stream.description is None else clean(stream.description, MAX_REASON_LENGTH),
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
    for row in _rows(conn, query.with_for_update(of=streams) if lock else query):
        sealed = row.pop("authorization_sealed")
        found.append(_stream(row, None if sealed is None else sealer.open(sealed)))
    return found


def _select(*columns: ColumnElement[Any]) -> Select[Any]:
    """Every stream, the oldest first."""
    return select(*columns).select_from(_WITH_RECEIVERS).order_by(*_AGE)


def _rows(conn: Connection, which: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(which).mappings()]


def _stream(row: dict[str, Any], authorization: str | None = None) -> Stream:
    requested = row.pop("events_requested")
    events = None if requested is None else tuple(requested)
    return Stream(**row, authorization=authorization, events_requested=events)
