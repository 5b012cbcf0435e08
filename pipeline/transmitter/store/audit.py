"""Audit log table: all calls of the management API, by any caller and with any result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.transmitter.store.tables import audit, clean


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A call: time (ms), receiver, address, action (`POST /ssf/stream`), stream and HTTP status."""

    at: int
    action: str
    status: int
    receiver_id: str | None = None
    address: str | None = None
    stream_id: str | None = None


def insert_entry(conn: Connection, entry: AuditEntry) -> int:
    """Insert *entry*, truncating names that are too long; return its row number."""
    return int(conn.execute(insert(audit).values(_row(entry)).returning(audit.c.seq)).scalar_one())


def update_entry(conn: Connection, seq: int, entry: AuditEntry) -> None:
    """Replace row *seq* by *entry*."""
    conn.execute(update(audit).where(audit.c.seq == seq).values(_row(entry)))


def _row(entry: AuditEntry) -> dict[str, Any]:
    row: dict[str, Any] = {"at": entry.at, "status": entry.status, "action": clean(entry.action, 64)}
    for name, text, limit in (
        ("receiver_id", entry.receiver_id, 128),
        ("address", entry.address, 64),
        ("stream_id", entry.stream_id, 64),
    ):
        row[name] = None if text is None else clean(text, limit)
    return row


def recent(conn: Connection, limit: int = 100, receiver_id: str | None = None) -> list[AuditEntry]:
    """Return the latest calls, of one receiver or of all, the newest first."""
    query = select(audit.c.at, audit.c.action, audit.c.status, audit.c.receiver_id, audit.c.address, audit.c.stream_id)
    if receiver_id is not None:
        query = query.where(audit.c.receiver_id == receiver_id)
    return [AuditEntry(*row) for row in conn.execute(query.order_by(audit.c.seq.desc()).limit(limit))]


def purge(conn: Connection, before_ms: int, limit: int = 10_000) -> int:
    """Delete at most *limit* calls older than *before_ms*; return how many."""
    old = select(audit.c.seq).where(audit.c.at < before_ms).order_by(audit.c.at).limit(limit)
    return conn.execute(delete(audit).where(audit.c.seq.in_(old))).rowcount
