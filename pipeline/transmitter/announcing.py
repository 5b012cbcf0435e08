"""Words of a stream about itself that go out although it is paused: `stream-updated` comes before the end.

SSF 1.0 §8.1.5: a transmitter that pauses or disables a stream says so before it stops.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select

from pipeline.transmitter.records import Queued
from pipeline.transmitter.tables import sets

EVENT: Final = "stream-updated"
_COLUMNS: Final = tuple(sets.c[name] for name in Queued.__dataclass_fields__)


def waiting(conn: Connection, stream_id: str, now_ms: int) -> list[Queued]:
    """Return the announcements of a stream that are due, the oldest first."""
    due = (
        select(*_COLUMNS)
        .where(sets.c.stream_id == stream_id, sets.c.state == "queued", sets.c.event == EVENT)
        .where(sets.c.due_at <= now_ms, sets.c.jwt.is_not(None))
        .order_by(sets.c.seq)
    )
    return [Queued(**row._mapping) for row in conn.execute(due)]  # noqa: SLF001 - SQLAlchemy's public name


def made(conn: Connection, stream_id: str, jti: str) -> tuple[str, int] | None:
    """Return state and age mark (ms) of an announcement; `None` if it was never made."""
    found = conn.execute(
        select(sets.c.state, sets.c.created_at).where(sets.c.stream_id == stream_id, sets.c.jti == jti)
    ).one_or_none()
    return None if found is None else (found.state, found.created_at)
