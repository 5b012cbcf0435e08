"""Fold: applies a chunk of events to the rows of their sessions, and records each session's facts after every event.

This is the join: auth events, API calls and context meet in one row. The answer for an event never depends on
how the stream was cut into chunks; ``tests/models/test_fold.py`` holds it against a slow reference, event by event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.batch import Batch, FieldsByKind, Kind
from models.features import table as features_table
from models.features.decayed_counters import add, update_peaks
from models.features.table import COUNTER_NAMES, INCREMENTS, Floats
from models.features.volumes import VOLUMES, packed
from models.jit import compiled
from models.roles.roles import NO_ROLES, Roles, RoleTables
from models.state.segments import Ints, Segments
from models.state.table import ROLES, Rows, SessionTable, gather, scatter
from models.updates.activity import ACTIVITY_FACTS, apply_auth, apply_call, apply_time, derive_proofs
from models.updates.call_sequence import (
    ROLE_FACTS,
    USUAL_NAMES,
    apply_role,
    cohort_of,
    keep_role,
    without_roles,
)
from models.updates.client import CLIENT_FACTS, apply_client, keep_client
from models.updates.context import CONTEXT_FACTS, apply_context, derive_contexts

if TYPE_CHECKING:
    from _collections_abc import dict_items

_AUTH, _CALL, _CONTEXT, _VERDICT = int(Kind.AUTH), int(Kind.CALL), int(Kind.CONTEXT), int(Kind.VERDICT)
_MARKS: Final = len(INCREMENTS)
_NO_AUTH: Final = -1


class Facts(NamedTuple):
    """Facts after each event, ``(n,)`` records of the types in the modules of the updates."""

    act: NDArray[Any]
    client: NDArray[Any]
    context: NDArray[Any]
    role: NDArray[Any]
    sums: Floats


def _records_of(part: int) -> Callable[[Any], Any]:
    return lambda known: known[part]


def _field_of(part: int, name: str) -> Callable[[Any], Any]:
    return lambda known: known[part][name]


def _column_of(records: Callable[[Any], Any], number: int) -> Callable[[Any], Any]:
    return lambda known: records(known)[:, number]


_TYPES: Final = (ACTIVITY_FACTS, CLIENT_FACTS, CONTEXT_FACTS, ROLE_FACTS)
"""The types of the records in :class:`Facts`, in its order."""
_PART: Final = {name: part for part, name in enumerate(Facts._fields)}
_COLUMNS: Final[dict[str, Callable[[Facts], NDArray[Any]]]] = {
    **{
        name: _field_of(part, name)
        for part, type_ in enumerate(_TYPES)
        for name in type_.names or ()
        if name != "usual"
    },
    **{
        f"usual_{name}": _column_of(_field_of(_PART["context"], "usual"), number) for number, name in enumerate(VOLUMES)
    },
    **{name: _column_of(_field_of(_PART["role"], "usual"), number) for number, name in enumerate(USUAL_NAMES)},
    **{name: _column_of(_records_of(_PART["sums"]), number) for number, name in enumerate(COUNTER_NAMES)},
}
"""How each fact and counter is read, by name."""


class FactsByName(dict[str, NDArray[Any]]):
    """Facts and counters by name, ``(n,)`` each; one is read from its records when it is first asked for.

    Of about a hundred names a chunk needs thirty: to read them all costs as much as to fold a small chunk.
    """

    def __init__(self, known: Facts) -> None:
        super().__init__()
        self._known = known

    def __missing__(self, name: str) -> NDArray[Any]:
        column = self[name] = _COLUMNS[name](self._known)
        return column

    def __contains__(self, name: object) -> bool:
        return name in _COLUMNS

    def __len__(self) -> int:
        return len(_COLUMNS)

    def __iter__(self) -> Iterator[str]:
        return iter(_COLUMNS)

    def items(self) -> dict_items[str, NDArray[Any]]:
        for name in _COLUMNS:
            self[name]  # reads it
        return super().items()


@dataclass(slots=True)
class Folded:
    """What a chunk did, event by event, sorted by session (:class:`models.state.segments.Segments`).

    Attributes:
        batch: the chunk in order of arrival.
        seg: how it falls into sessions; ``seg.keys`` are the rows of the table.
        at: the session's largest event time after each event, ms, ``(n,)``.
        previous_at: the same before the event, ``(n,)``.
        facts: counters and facts by name, each ``(n,)``.
        values: every feature, ``(len(FEATURES), n)``, in its own unit.
        before: the rows as they were before the chunk, ``(u,)``.
    """

    batch: Batch
    seg: Segments
    at: Ints
    previous_at: Ints
    facts: dict[str, NDArray[Any]]
    values: Floats
    before: Rows

    def peaks_after(self, index: int) -> NDArray[np.uint8]:
        """The row's ``peaks`` as they stood after event *index*, ``(len(VOLUMES),)``."""
        owner = int(self.seg.of[index])
        peaks: NDArray[np.uint8] = self.before["peaks"][owner]
        if self.batch.kind is not Kind.CALL:
            return peaks
        until = slice(int(self.seg.starts[owner]), index + 1)
        largest = np.array([self.facts[name][until].max() for name in VOLUMES])
        return np.maximum(peaks, packed(largest))


def fold(table: SessionTable, seg: Segments, batch: Batch, roles: Roles | None = None) -> Folded:
    """Fold *batch* into *table*; a batch of ticks looks at the sessions at a later time and changes nothing.

    Args:
        table: state of one partition; its rows are updated in place.
        seg: ``segments`` of the events' rows.
        batch: the events, none of them folded before.
        roles: of the model in force; without them no call is surprising. What is usual is that of the
            session's tenant, where they know it.
    """
    before = gather(table.rows, seg.keys)
    after = before.view(np.uint64).copy().view(before.dtype)  # as words, many times faster
    n = len(batch)
    act, client, context, role = (np.zeros(n, type_) for type_ in _TYPES)
    known = Facts(act, client, context, role, np.empty((n, len(COUNTER_NAMES))))
    tables = NO_ROLES if roles is None else roles.tables
    apart = tables.tenants.size > 0  # else the tenant is not needed
    tenants = table.tenants(seg.keys) if apart else np.zeros(seg.keys.size, np.uint32)
    _fold(seg.order, seg.starts, seg.lasts, int(batch.kind), batch.at, batch.fields, tables, tenants, after, known)
    if batch.kind is not Kind.TICK:
        scatter(table.rows, seg.keys, after)
    facts = FactsByName(known)
    values = features_table.matrix(facts, known.sums)
    return Folded(batch, seg, facts["at"], facts["previous_at"], facts, values, before)


@compiled
def _fold(  # noqa: PLR0913, PLR0917 - compiled: no objects, so everything one by one
    order: Ints,
    starts: Ints,
    lasts: Ints,
    kind: int,
    at: Ints,
    fields: FieldsByKind,
    roles: RoleTables,
    tenants: NDArray[np.uint32],
    rows: Rows,
    facts: Facts,
) -> None:
    """Each session's events one after another; *rows* ``(u,)`` are brought up to date on the way.

    *tenants* ``(u,)`` tell whose they are.
    """
    marks, weights = np.zeros(_MARKS), np.zeros(ROLES)
    for owner in range(starts.size):
        row, device_event = rows[owner], -1
        cohort = cohort_of(tenants[owner], roles)
        for index in range(starts[owner], lasts[owner] + 1):
            item, act, context = order[index], facts.act[index], facts.context[index]
            marks[:] = 0.0
            apply_time(row, act, at[item])
            if _apply_client(row, facts.client[index], item, kind, at, fields, marks):
                device_event = index
            act.device_event = device_event
            if kind == _AUTH:
                apply_auth(row, act, fields.auth[item], at[item], marks)
            elif kind == _CONTEXT:
                context.answered = apply_context(row, fields.context[item])
                act.fallen = fields.context[item].fallen
            elif kind == _VERDICT:
                act.confirmed = fields.verdict[item].confirmed
            derive_proofs(row, act)
            derive_contexts(row, context, act.at, facts.client[index].bound)
            if kind == _CALL:
                apply_call(row, act, fields.client[item].identity.address, fields.call[item], marks)
            _apply_role(row, facts.role[index], item, kind, cohort, fields, roles, weights, marks)
            add(row, act.previous_at, act.at, at[item], marks, facts.sums[index])
            if kind == _CALL:
                update_peaks(row, facts.sums[index])


@compiled
def _apply_client(row: Any, fact: Any, index: int, kind: int, at: Ints, fields: FieldsByKind, marks: Any) -> bool:
    """Whether event *one* reports the session's device."""
    fact.used_at = row.client_at
    if kind not in (_AUTH, _CALL):
        keep_client(row, fact)
        return False
    action = fields.auth[index].action if kind == _AUTH else _NO_AUTH
    return apply_client(row, fact, fields.client[index], at[index], action, marks)


@compiled
def _apply_role(  # noqa: PLR0913, PLR0917 - compiled: no objects, so everything one by one
    row: Any,
    fact: Any,
    index: int,
    kind: int,
    cohort: int,
    fields: FieldsByKind,
    roles: RoleTables,
    weights: Any,
    marks: Any,
) -> None:
    if kind == _CALL and roles.vocabulary.size:
        apply_role(row, fact, row.kind, cohort, fields.call[index].act.called, roles, weights, marks)
        return
    if roles.vocabulary.size:
        keep_role(row, fact, row.kind, cohort, roles, weights)
    else:
        without_roles(row, fact)
    if kind == _CALL:
        row.last_operation = fields.call[index].act.called
