"""Role learning: two passes over the calls of a recording, first for their order, then for usual volumes."""

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
from models.events.text_hashing import KEY_BYTES, short_fingerprint
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


def with_tenant_cohorts(data: Data) -> Data:
    """Return *data* whose roles, with which its vectors were scored, have the usual values of the vectors' tenants.

    A vector has a role if it belongs to a call and the role was clear. If no tenant has enough vectors, the cohorts of
    the roles stay unchanged.
    """
    if data.roles is None:
        return data
    vectors, attacked = data.vectors, attacked_sessions(data.vectors)
    honest = np.array([session not in attacked for session in vectors.sessions], np.bool_)
    usable = honest & drawn(vectors, data.low_share) & (vectors.role >= 0)
    if not usable.any():
        return data
    # The usual values were learned from other data, so even a single tenant differs from them.
    cohorts = fit_cohorts(data.roles.usual, _cohort_samples(vectors.take(usable)), alone=True)
    return replace(data, roles=replace(data.roles, cohorts=cohorts)) if cohorts.tenants.size else data


def _cohort_samples(vectors: Vectors) -> Reached:
    wanted = [FEATURE_NAMES.index(name) for name in VOLUMES]
    tenants, of = np.unique(vectors.tenant.astype(np.str_), return_inverse=True)
    return Reached(
        vectors.values[:, wanted],
        vectors.kinds,
        vectors.role.astype(np.int64),
        vectors.session_numbers.astype(np.uint64),
        np.array([*map(short_fingerprint, tenants.tolist())], np.uint32)[of],
    )


Session = tuple[str, str]
"""Tenant and session id."""
CHUNK: Final = 4096
ROWS: Final = 200_000
"""About this many calls are used for usual volumes."""
_FOREVER: Final = 2**62


def learn_roles(recording: Path, *, left_out: Container[Session], seed: int, tenants: bool = True) -> Roles | None:
    """Learn roles from *recording*, without the sessions *left_out*; the same seed gives the same bytes.

    With *tenants*, also the usual volumes of each tenant. Returns None if the recording has no calls.

    Raises:
        RecordingError: the recording cannot be read.
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
    """Session, principal kind and operation of every call."""
    session, kind, operation = [np.empty(0, np.uint64)], [np.empty(0, np.uint8)], [np.empty(0, np.uint32)]
    names: dict[int, str] = {}
    for batch in _batches(recording, left_out):
        called = batch.fields.call["act"]["called"]
        session.append(batch.keys)
        kind.append(batch.fields.client["identity"]["kind"])
        operation.append(called)
        for code, first in zip(*(part.tolist() for part in np.unique(called, return_index=True)), strict=True):
            if code not in names:
                names[code] = batch.events[first]["operation"]
    return Calls(np.concatenate(session), np.concatenate(kind), np.concatenate(operation), names)


def _reached(
    recording: Path, left_out: Container[Session], known: NDArray[np.uint64], roles: Roles, share: float
) -> Reached:
    """Volumes reached at a *share* of the calls, drawn by event id, of the sessions *known*."""
    table = SessionTable()
    limit = np.uint64(min(share * 2.0**64, 2.0**64 - 2048))
    wanted = np.array([FEATURE_NAMES.index(name) for name in VOLUMES])
    parts = []
    for batch in _batches(recording, left_out):
        chosen = batch.take(np.flatnonzero(np.isin(batch.keys, known)))
        if not len(chosen):
            continue
        folded = fold(table, segments(locate(table, chosen)), chosen, roles)
        drawn_rows = np.flatnonzero(chosen.ids[folded.seg.order] <= limit)
        segment = folded.seg.of[drawn_rows]
        parts.append(
            Reached(
                folded.values[wanted[:, None], drawn_rows].T,
                folded.facts["kind"][drawn_rows],
                folded.facts["role"][drawn_rows],
                chosen.keys[folded.seg.order[drawn_rows]],
                table.tenants(folded.seg.keys)[segment],
            )
        )
    return Reached.together(parts)
