"""Arrivals: finds the row of each event, and the events that were applied before and must not be applied again.

Kafka delivers at least once: a row remembers the offset it applied from each topic, and the ids of its last
two events for producers that send twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.events.batch import DEVICE, Batch, Event, Kind
from models.jit import compiled
from models.state.segments import Bools, Segments, segments
from models.state.table import RECENT, Rows, SessionTable, Subject
from models.updates.fold import Folded

Ints = NDArray[np.int64]
Ids = NDArray[np.uint64]


def locate(table: SessionTable, batch: Batch) -> Ints:
    """The row of each event, ``(n,)``; sessions seen for the first time get one."""
    rows = table.index.find(batch.keys)
    missing = np.flatnonzero(rows < 0)
    for index in missing.tolist():
        key = int(batch.keys[index])
        if rows[index] < 0:
            event = batch.events[index]
            row = table.add(_names(event), key)
            table.rows[row]["started_at"] = max(int(batch.at[index]), 1)
            rows[batch.keys == key] = row
    return rows


def _names(event: Event) -> Subject:
    subject, device = event.get("principal_id"), event.get("device_id")
    return Subject(str(event["tenant"]), str(event["session_id"]), str(subject or ""), str(device or ""))


def subject_at(table: SessionTable, folded: Folded, index: int) -> Subject:
    """The subject of event *index*'s session after the event; valid until the chunk's names are learned."""
    seg, events = folded.seg, folded.batch.events
    owner = int(seg.of[index])
    names = Subject.unpack(table.names[int(seg.keys[owner])])
    if folded.batch.kind not in (Kind.AUTH, Kind.CALL):
        return names
    number = int(folded.facts["device_event"][index])
    device = events[int(seg.order[number])]["device_id"] if number >= 0 else names.device_id
    principal = names.principal_id or str(events[int(seg.order[seg.starts[owner]])]["principal_id"])
    return Subject(names.tenant, names.session_id, principal, device)


def device_before(table: SessionTable, folded: Folded, index: int) -> str:
    """The device of event *index*'s session before the event; valid as long as :func:`subject_at`."""
    owner = int(folded.seg.of[index])
    if folded.seg.rank[index]:
        return subject_at(table, folded, index - 1).device_id
    return Subject.unpack(table.names[int(folded.seg.keys[owner])]).device_id


def learn_names(table: SessionTable, folded: Folded) -> None:
    """Complete the names of sessions that were first met through context, or that moved to another device."""
    if folded.batch.kind not in (Kind.AUTH, Kind.CALL):
        return
    seg, before = folded.seg, folded.before
    device = table.rows["client"][seg.keys, DEVICE]
    stale = (before["kind"] == 0) | (device != before["client"][:, DEVICE])
    for owner in np.flatnonzero(stale).tolist():
        table.names[int(seg.keys[owner])] = subject_at(table, folded, int(seg.lasts[owner])).pack()


def unseen(table: SessionTable, batch: Batch, rows: Ints, source: int, offsets: Ints) -> tuple[Ints, Segments]:
    """Positions of the events not folded before, ``(m,)``, and the segments of the whole chunk.

    Marks what it lets through as applied: *source* is the topic's place in ``SOURCES`` (-1 where offsets are
    not remembered), *offsets* ``(n,)`` the Kafka offsets, ascending.
    """
    seg = segments(rows)
    fresh = np.zeros(len(batch), np.bool_)
    ids = batch.ids + np.uint64(batch.kind)
    _admit(seg.order, seg.keys, seg.starts, seg.lasts, ids, source, offsets, table.rows, fresh)
    return np.flatnonzero(fresh), seg


@compiled
def _admit(  # noqa: PLR0913, PLR0917 - compiled: no objects, so everything one by one
    order: Ints,
    keys: Ints,
    starts: Ints,
    lasts: Ints,
    ids: Ids,
    source: int,
    offsets: Ints,
    rows: Rows,
    fresh: Bools,
) -> None:
    """Which events are *fresh*: beyond the offsets applied, and with an id that is not among the last two."""
    for owner in range(starts.size):
        row = rows[keys[owner]]
        applied = row.applied[source] if source >= 0 else 0
        for index in range(starts[owner], lasts[owner] + 1):
            item = order[index]
            if source >= 0:
                if offsets[item] < applied:
                    continue
                row.applied[source] = max(row.applied[source], offsets[item] + 1)
            if not _among(row.recent_ids, ids[item]):
                fresh[item] = True
                for place in range(RECENT - 1, 0, -1):
                    row.recent_ids[place] = row.recent_ids[place - 1]
                row.recent_ids[0] = ids[item]


@compiled
def _among(recent: Any, event_id: int) -> bool:
    found = False
    for place in range(RECENT):
        found |= recent[place] == event_id
    return found
