"""Words of a stream about itself that go out although it is paused: `stream-updated` comes before the end.

SSF 1.0 §8.1.5: a transmitter that pauses or disables a stream says so before it stops.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select

from pipeline.transmitter.records import Queued
from pipeline.transmitter.tables import QUEUED, sets
from pipeline.transmitter.waiting import COLUMNS, queued

EVENT: Final = "stream-updated"


def first(conn: Connection, stream_id: str, now_ms: int) -> list[Queued]:
    """Return the oldest announcement of a stream that waits, if it is due: they go out in their order."""
    oldest = select(*COLUMNS).where(sets.c.stream_id == stream_id, QUEUED, sets.c.event == EVENT)
    found = [queued(row) for row in conn.execute(oldest.order_by(sets.c.seq).limit(1))]
    return [one for one in found if one.due_at <= now_ms]


def said(conn: Connection, stream_id: str, since_ms: int) -> tuple[tuple[str, int], ...]:
    """Return state and time (ms) of each announcement made since *since_ms*, the oldest first."""
    made = (
        select(sets.c.state, sets.c.created_at)
        .where(sets.c.stream_id == stream_id, sets.c.event == EVENT, sets.c.created_at >= since_ms)
        .order_by(sets.c.seq)
    )
    return tuple((row.state, row.created_at) for row in conn.execute(made))
