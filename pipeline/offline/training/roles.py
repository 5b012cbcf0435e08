"""From a recording to roles: its calls are read for what follows what, once more for how much is usual."""

from __future__ import annotations

import secrets
from collections.abc import Container, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events.batch import Batch
from models.events.columns import Columns
from models.events.text_hashing import KEY_BYTES, brief
from models.features.table import FEATURE_NAMES
from models.roles.cohort_fit import Reached, fit_cohorts
from models.roles.fit import Calls, fit_roles, sample_calls, with_usual
from models.roles.roles import VOLUMES, Roles
from models.state.segments import segments
from models.state.table import SessionTable
from models.updates.arrivals import locate
from models.updates.fold import fold
from pipeline.offline.replay.recording import read
from pipeline.offline.training.train import Data, attacked_sessions
from pipeline.offline.training.vectors import Vectors, drawn
from schemas.decode import decode_chunk
from schemas.topics import API_CALLS


def with_cohorts(data: Data, model: str) -> Data:
    """Return *data* whose roles, those of *model*, know what is usual at the tenants of its vectors.

    A vector tells a role where it is of a call, and one was clear; what another model scored tells of its
    own roles. Where that is not enough of any tenant, the roles go on knowing what they knew of tenants.
    """
    if data.roles is None:
        return data
    vectors, attacked = data.vectors, attacked_sessions(data.vectors)
    honest = np.array([session not in attacked for session in vectors.sessions], np.bool_)
    details = honest & drawn(vectors, data.low_share) & (vectors.role >= 0) & (vectors.model == model)
    if not details.any():
        return data
    # Its usual values were learned elsewhere, so even a tenant that is alone differs from them.
    cohorts = fit_cohorts(data.roles.usual, _cohort_samples(vectors.take(details)), alone=True)
    return replace(data, roles=replace(data.roles, cohorts=cohorts)) if cohorts.tenants.size else data


def _cohort_samples(vectors: Vectors) -> Reached:
    wanted = [FEATURE_NAMES.index(name) for name in VOLUMES]
    tenants, of = np.unique(vectors.tenant.astype(np.str_), return_inverse=True)
    return Reached(
        vectors.values[:, wanted],
        vectors.kinds,
        vectors.role.astype(np.int64),
        vectors.session_numbers.astype(np.uint64),
        np.array([*map(brief, tenants.tolist())], np.uint32)[of],
    )


Session = tuple[str, str]
"""Tenant and session id."""
CHUNK: Final = 4096
ROWS: Final = 200_000
"""About as many calls are looked at for what is usual."""
_FOREVER: Final = 2**62


def learn_roles(recording: Path, *, left_out: Container[Session], seed: int, tenants: bool = True) -> Roles | None:
    """Learn roles from *recording*, but for the sessions *left_out*; the same seed gives the same bytes.

    With *tenants* also what is usual in them at each tenant. Returns ``None`` where the recording holds no
    calls. Raises `RecordingError`.
    """
    calls = _calls(recording, left_out)
    if not calls.session.size:
        return None
    calls = sample_calls(calls)
    roles = fit_roles(calls, seed=seed)
    share = min(1.0, ROWS / calls.session.size)
    reached = _reached(recording, left_out, np.unique(calls.session), roles, share)
    return with_usual(roles, reached, tenants=tenants)


def _batches(recording: Path, left_out: Container[Session]) -> Iterator[Batch]:
    """The calls of *recording* in event-time order, chunk by chunk."""
    columns = Columns(hash_key=secrets.token_bytes(KEY_BYTES))
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
        called = batch.fields.call["act"]["called"]
        session.append(batch.keys)
        kind.append(batch.fields.client["identity"]["kind"])
        operation.append(called)
        for item, first in zip(*(part.tolist() for part in np.unique(called, return_index=True)), strict=True):
            if item not in names:
                names[item] = batch.events[first]["operation"]
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
                folded.values[wanted[:, None], at].T,
                folded.facts["kind"][at],
                folded.facts["role"][at],
                mine.keys[folded.seg.order[at]],
                table.tenants(folded.seg.keys)[whose],
            )
        )
    return Reached.together(parts)
