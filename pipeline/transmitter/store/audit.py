"""The audit log: the calls of the management interface, whoever made them and whatever came of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.transmitter.store.tables import audit, clean


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A call: when (ms), of which receiver, from where, what (`create stream`), and its HTTP status."""

    at: int
    action: str
    status: int
    receiver_id: str | None = None
    address: str | None = None
    stream_id: str | None = None


def note(conn: Connection, call: AuditEntry) -> int:
    """Write a call down, names that are longer than names are cut; return its number."""
    return int(conn.execute(insert(audit).values(_row(call)).returning(audit.c.seq)).scalar_one())


def amend(conn: Connection, seq: int, call: AuditEntry) -> None:
    """Say *call* in place of what the row *seq* says."""
    conn.execute(update(audit).where(audit.c.seq == seq).values(_row(call)))


def _row(call: AuditEntry) -> dict[str, Any]:
    row: dict[str, Any] = {"at": call.at, "status": call.status, "action": clean(call.action, 64)}
    for name, text, most in (
        ("receiver_id", call.receiver_id, 128),
        ("address", call.address, 64),
        ("stream_id", call.stream_id, 64),
    ):
        row[name] = None if text is None else clean(text, most)
    return row


def recent(conn: Connection, most: int = 100, receiver_id: str | None = None) -> list[AuditEntry]:
    """Return the last calls, of one receiver or of all, the newest first."""
    asked = select(audit.c.at, audit.c.action, audit.c.status, audit.c.receiver_id, audit.c.address, audit.c.stream_id)
    if receiver_id is not None:
        asked = asked.where(audit.c.receiver_id == receiver_id)
    return [AuditEntry(*row) for row in conn.execute(asked.order_by(audit.c.seq.desc()).limit(most))]


def purge(conn: Connection, before_ms: int, most: int = 10_000) -> int:
    """Delete at most *most* calls made before *before_ms*; return how many."""
    old = select(audit.c.seq).where(audit.c.at < before_ms).order_by(audit.c.at).limit(most)
    return conn.execute(delete(audit).where(audit.c.seq.in_(old))).rowcount
