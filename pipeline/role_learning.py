"""From a recording to roles: its calls are read for what follows what, once more for how much is usual."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.arrivals import locate
from models.batch import Batch
from models.cohort_fit import Reached
from models.columns import Columns
from models.features import FEATURE_NAMES
from models.fold import fold
from models.role_fit import Calls, drawn, fit_roles, with_usual
from models.roles import VOLUMES, Roles
from models.segments import segments
from models.state import SessionTable
from pipeline.recording import read
from schemas.decode import decode_chunk
from schemas.topics import API_CALLS

Session = tuple[str, str]
"""Tenant and session id."""
CHUNK: Final = 4096
ROWS: Final = 200_000
"""About as many calls are looked at for what is usual."""
_FOREVER: Final = 2**62


def learn_roles(
    recording: Path, *, left_out: Container[Session], seed: int, tenants: bool = True
) -> Roles | None:
    """Learn roles from *recording*, but for the sessions *left_out*; the same seed gives the same bytes.

    With *tenants* also what is usual in them at each tenant. Returns ``None`` where the recording holds no
    calls. Raises `RecordingError`.
    """
    calls = _calls(recording, left_out)
    if not calls.session.size:
        return None
    calls = drawn(calls)
    roles = fit_roles(calls, seed=seed)
    share = min(1.0, ROWS / calls.session.size)
    reached = _reached(recording, left_out, np.unique(calls.session), roles, share)
    return with_usual(roles, reached, tenants=tenants)


def _batches(recording: Path, left_out: Container[Session]) -> Iterator[Batch]:
    """The calls of *recording* in event-time order, chunk by chunk."""
    columns = Columns()
    records = (record for record in read(recording) if record.topic == API_CALLS)
    while chunk := list(islice(records, CHUNK)):
        events = decode_chunk(API_CALLS, [record.value for record in chunk], None, now_ms=_FOREVER).events
        honest = [event for event in events if (event["tenant"], event["session_id"]) not in left_out]
        if honest:
            yield columns.calls(honest)


def _calls(recording: Path, left_out: Container[Session]) -> Calls:
    """Every call: whose, of what kind, which operation."""
    session, kind, operation = [np.empty(0, np.uint64)], [np.empty(0, np.uint8)], [np.empty(0, np.uint32)]
    names: dict[int, str] = {}
    for batch in _batches(recording, left_out):
        called = batch.told.call["act"]["called"]
        session.append(batch.keys)
        kind.append(batch.told.client["who"]["kind"])
        operation.append(called)
        for one, first in zip(*(part.tolist() for part in np.unique(called, return_index=True)), strict=True):
            if one not in names:
                names[one] = batch.events[first]["operation"]
    return Calls(np.concatenate(session), np.concatenate(kind), np.concatenate(operation), names)


def _reached(
    recording: Path, left_out: Container[Session], known: NDArray[np.uint64], roles: Roles, share: float
) -> Reached:
    """What was reached at a *share* of the calls of the sessions *known*, drawn by event id."""
    table = SessionTable()
    limit = np.uint64(min(share * 2.0**64, 2.0**64 - 2048))
    wanted = np.array([FEATURE_NAMES.index(name) for name in VOLUMES])
    parts = []
    for batch in _batches(recording, left_out):
        mine = batch.take(np.flatnonzero(np.isin(batch.keys, known)))
        if not len(mine):
            continue
        folded = fold(table, segments(locate(table, mine)), mine, roles)
        at = np.flatnonzero(mine.ids[folded.seg.order] <= limit)
        whose = folded.seg.of[at]
        parts.append(
            Reached(
                folded.values[wanted[:, None], at].T, folded.facts["kind"][at], folded.facts["role"][at],
                mine.keys[folded.seg.order[at]], table.tenants(folded.seg.keys)[whose],
            )
        )  # fmt: skip
    return Reached.together(parts)
