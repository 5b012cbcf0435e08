"""Which row each arriving event belongs to, and which events were folded before and must not be again.

Kafka delivers at least once: a row remembers the offset it applied from each topic, and the ids of its last
two events for producers that send twice.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from models.columns import CLIENT, Batch, Kind
from models.fold import Folded
from models.rolling import Bools, Segments, segments
from models.state import RECENT, Names, SessionTable

Ints = NDArray[np.int64]
DEVICE = CLIENT.index("device")
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


def _names(event: dict[str, object]) -> Names:
    who, device = event.get("principal_id"), event.get("device_id")
    return Names(str(event["tenant"]), str(event["session_id"]), str(who or ""), str(device or ""))


def names_at(table: SessionTable, folded: Folded, index: int) -> Names:
    """Who the session of event *index* was after it; holds until the chunk's names are learned."""
    seg, events = folded.seg, folded.batch.events
    owner = int(seg.of[index])
    names = Names.unpack(table.names[int(seg.keys[owner])])
    if folded.batch.kind not in (Kind.AUTH, Kind.CALL):
        return names
    told = int(folded.facts["device_told"][index])
    device = events[int(seg.order[told])]["device_id"] if told >= 0 else names.device_id
    principal = names.principal_id or str(events[int(seg.order[seg.starts[owner]])]["principal_id"])
    return Names(names.tenant, names.session_id, principal, device)


def device_before(table: SessionTable, folded: Folded, index: int) -> str:
    """The device that the session of event *index* was on before it; holds as long as :func:`names_at`."""
    owner = int(folded.seg.of[index])
    if folded.seg.rank[index]:
        return names_at(table, folded, index - 1).device_id
    return Names.unpack(table.names[int(folded.seg.keys[owner])]).device_id


def learn_names(table: SessionTable, folded: Folded) -> None:
    """Complete the names of sessions that were first met through context, or that moved to another device."""
    if folded.batch.kind not in (Kind.AUTH, Kind.CALL):
        return
    seg, before = folded.seg, folded.before
    device = table.rows["client"][seg.keys, DEVICE]
    stale = (before["kind"] == 0) | (device != before["client"][:, DEVICE])
    for owner in np.flatnonzero(stale).tolist():
        table.names[int(seg.keys[owner])] = names_at(table, folded, int(seg.lasts[owner])).pack()


def unseen(
    table: SessionTable, batch: Batch, rows: Ints, source: int, offsets: Ints
) -> tuple[Ints, Segments]:
    """Positions of the events not folded before, ``(m,)``, and the segments of the whole chunk.

    Marks what it lets through as applied: *source* is the topic's place in ``SOURCES`` (-1 where offsets are
    not remembered), *offsets* ``(n,)`` the Kafka offsets.
    """
    seg = segments(rows)
    recent = table.rows["recent_ids"][seg.keys]
    ids, place = batch.ids[seg.order] + np.uint64(batch.kind), offsets[seg.order]
    known = np.zeros(len(batch), np.bool_)
    if source >= 0:
        applied = table.rows["applied"][seg.keys, source]
        known = place < applied[seg.of]
        newest = np.maximum.reduceat(place + 1, seg.starts)
        table.rows["applied"][seg.keys, source] = np.maximum(applied, newest)
    again = known | _sent_twice(ids, known, recent, seg)
    table.rows["recent_ids"][seg.keys] = _remember_ids(recent, ids, again, seg)
    return np.sort(seg.order[~again]), seg


def _sent_twice(ids: Ids, known: Bools, recent: Ids, seg: Segments) -> Bools:
    """Events whose id is among their session's last two; the exact look is taken only where one may be."""
    twice = np.zeros(ids.size, np.bool_)
    suspects = (ids[:, None] == recent[seg.of]).any(axis=1)
    ordered = np.sort(ids)
    if (ordered[1:] == ordered[:-1]).any():
        suspects |= np.isin(ids, ordered[1:][ordered[1:] == ordered[:-1]])
    for owner in np.unique(seg.of[suspects]).tolist():
        last: deque[int] = deque(recent[owner].tolist(), maxlen=RECENT)
        for index in range(int(seg.starts[owner]), int(seg.lasts[owner]) + 1):
            if known[index]:
                continue
            one = int(ids[index])
            twice[index] = one in last
            if not twice[index]:
                last.appendleft(one)
    return twice


def _remember_ids(recent: Ids, ids: Ids, again: Bools, seg: Segments) -> Ids:
    """Each session's newest ids, newest first, ``(u, RECENT)``."""
    kept = ~again
    count = np.add.reduceat(kept.astype(np.int64), seg.starts)
    place = np.flatnonzero(kept)
    ends = np.cumsum(count)
    newest = recent.copy()
    for slot in range(recent.shape[1]):
        fresh = count > slot
        newest[fresh, slot] = ids[place[ends[fresh] - 1 - slot]]
        shift = np.flatnonzero(~fresh)
        newest[shift, slot] = recent[shift, slot - count[shift]]
    return newest
