"""Slow path: selects the events of a scored chunk after which a decision may change, and has them handled in order.

Whether an event takes the slow path depends on the event and its session's state, never on how records were chunked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Moved
from models.events.batch import Kind
from models.events.columns import ACTION, KINDS
from models.features.table import FEATURE_NAMES
from models.state.segments import Bools
from models.state.table import ENDED, GUESSED, HAS_RISK_STATE, REVOKED, SessionTable, Subject
from models.updates.arrivals import subject_at
from pipeline.control.active import ActiveConfig
from pipeline.decisions.decision import DecisionInput
from pipeline.decisions.risk import LEVELS, Level
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import learning
from pipeline.detections.mask import as_int, differs, holds_any
from pipeline.processing.messages import source_event_id
from pipeline.sessions.fast_path import (
    ScoredChunk,
    continues_after_sign_out,
    forces_slow_path,
    only_guessed,
    opened,
    reveals_identity,
)

_FEATURE: Final = {name: index for index, name in enumerate(FEATURE_NAMES)}
PROVING: Final = (ACTION["sign_in"], ACTION["step_up_passed"])
_REASONS_OF_MODEL: Final = 5


@dataclass(slots=True)
class SlowPathEvent:
    """One event on the slow path: its index in the chunk, its session's row and subject, and the risk state."""

    index: int
    row: int
    at: int
    event: Mapping[str, Any]
    subject: Subject
    kind: str
    state: SessionRiskState
    flags: int


@dataclass(frozen=True, slots=True)
class PriorLevel:
    """A session's level before an event, and since when it had it, in ms."""

    level: Level
    since: int


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """What is known about a tenant, each by its name.

    Attributes:
        fleet_silent: whether the guard finds its fleet silent.
        fleet_unheard: whether no telemetry shows that its devices could be received.
        threshold: by how much log-odds its people have made suspicions weigh less.
    """

    fleet_silent: Callable[[str], bool]
    fleet_unheard: Callable[[str], bool]
    threshold: Callable[[str], float]


Handle = Callable[[SlowPathEvent, DecisionInput], None]
"""Called for each event on the slow path, in order of arrival; changes ``current.state`` and ``current.flags``."""
Compare = Callable[[SlowPathEvent, DecisionInput, PriorLevel], None]
"""Called after a watched event of a session that has a risk state, with its level before the event."""
Announce = Callable[[int, int], None]
"""Called with index and flags for each event that reveals an identity, before the event is handled."""


def _earlier(values: NDArray[Any], before: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    earlier = np.empty_like(values)
    earlier[1:] = values[:-1]
    earlier[starts] = before
    return earlier


class SlowPath:
    """One pass over a scored chunk; it writes mask, band, level, flags and wake time to the sessions' rows.

    *watched* are events that challengers compare even if they change nothing, ``(n,)``; ``None`` for none.
    """

    def __init__(
        self,
        chunk: ScoredChunk,
        table: SessionTable,
        risk_states: dict[int, SessionRiskState],
        active: ActiveConfig,
        tenants: TenantFacts,
        watched: Bools | None = None,
    ) -> None:
        self.chunk = chunk
        self.table = table
        self.risk_states = risk_states
        self.active = active
        self.tenants = tenants
        self.watched = watched
        before, seg = chunk.folded.before, chunk.folded.seg
        self.mask_before = _earlier(chunk.mask, before["mask"], seg.starts)
        self.holding = holds_any(chunk.mask)
        self.mask_moved = differs(chunk.mask, self.mask_before)
        self.band_before = _earlier(chunk.band, before["band"], seg.starts)
        self.forced = forces_slow_path(chunk.folded)
        self.guessed = only_guessed(chunk.folded)
        self.opened = opened(chunk.folded, self.guessed)
        self.revealing = reveals_identity(chunk.folded) | self.opened
        self.continues = continues_after_sign_out(chunk.folded)
        self.alarming = active.engine.alarming_band
        self.on_suspicion = np.ones(len(chunk.level), np.bool_)
        """After each event, whether HIGH would rest on suspicion, ``(n,)``; filled only where challengers watch."""
        action = chunk.folded.facts["action"]
        self.proving = (action == PROVING[0]) | (action == PROVING[1])

    def run(self, handle: Handle, announce: Announce, compare: Compare | None = None) -> None:
        """Call *handle* for each event that needs the slow path, in order of arrival."""
        folded = self.chunk.folded
        before, seg = folded.before, folded.seg
        wake, flags, level = before["wake_at"].copy(), before["flags"].copy(), before["level"].copy()
        if self.watched is not None:
            for owner in np.flatnonzero(level == LEVELS.index("HIGH")).tolist():
                self._note_suspicion(int(seg.starts[owner]), owner)
        needs = self._needs(wake[seg.of], flags[seg.of]) | self.revealing
        if needs.any():
            for index in self._in_order(needs):
                owner = int(seg.of[index])
                if self.revealing[index]:
                    announce(index, int(flags[owner]))
                prior = self._prior_level(index, int(flags[owner]))
                if self._needs_slow_path(index, int(wake[owner]), int(flags[owner])):
                    current = self._slow_event(index, int(flags[owner]))
                    handle(current, self._decision_input(current))
                    wake[owner] = self._settle(current)
                    flags[owner] = current.flags
                    level[owner] = LEVELS.index(current.state.level)
                    self.chunk.level[index : int(seg.lasts[owner]) + 1] = level[owner]
                    if self.watched is not None:
                        self._note_suspicion(index, owner)
                if compare and prior and flags[owner] & HAS_RISK_STATE:
                    current = self._slow_event(index, int(flags[owner]))
                    compare(current, self._decision_input(current), prior)
        rows = self.table.rows
        rows["mask"][seg.keys] = self.chunk.mask[seg.lasts]
        rows["band"][seg.keys] = self.chunk.band[seg.lasts]
        flags = np.where(self.guessed[seg.lasts], flags | GUESSED, flags & ~np.uint8(GUESSED))
        rows["wake_at"][seg.keys], rows["flags"][seg.keys], rows["level"][seg.keys] = wake, flags, level

    def _note_suspicion(self, index: int, owner: int) -> None:
        """Set :attr:`on_suspicion` from event *index* on to what the session's risk state says now."""
        folded = self.chunk.folded
        state = self.risk_states.get(int(folded.seg.keys[owner]))
        if state is not None:
            subject, at = subject_at(self.table, folded, index), int(folded.at[index])
            suspected = self.active.engine.is_suspicion(state, subject, at)
            self.on_suspicion[index : int(folded.seg.lasts[owner]) + 1] = suspected

    def _prior_level(self, index: int, flags: int) -> PriorLevel | None:
        """The session's level before a watched event; ``None`` if the session is revoked or ended."""
        if self.watched is None or not self.watched[index] or flags & (REVOKED | ENDED):
            return None
        state = self.risk_states.get(int(self.chunk.folded.seg.keys[self.chunk.folded.seg.of[index]]))
        if state is None:
            return PriorLevel(LEVELS[0], int(self.chunk.folded.at[index]))
        return PriorLevel(state.level, state.level_since)  # type: ignore[arg-type]

    def _needs(self, wake: NDArray[np.int64], flags: NDArray[np.uint8]) -> Bools:
        """Events that need the slow path, given the state before the chunk, ``(n,)``."""
        chunk = self.chunk
        due = (wake > 0) & (chunk.folded.at >= wake)
        matters = holds_any(chunk.mask | self.mask_before) | (flags & HAS_RISK_STATE != 0)
        matters |= chunk.band >= self.alarming
        moved = self.mask_moved | ((chunk.band != self.band_before) & matters)
        over = flags & (REVOKED | ENDED)
        proving = self.proving & (flags & HAS_RISK_STATE != 0)
        needs: Bools = self.forced | due | proving | (moved & (over == 0)) | (self.continues & (over == ENDED))
        return needs if self.watched is None else needs | (self.watched & matters & (over == 0))

    def _needs_slow_path(self, index: int, wake: int, flags: int) -> bool:
        """Whether one event needs the slow path, given the events before it."""
        chunk = self.chunk
        if self.forced[index] or 0 < wake <= chunk.folded.at[index]:
            return True
        if self.proving[index] and flags & HAS_RISK_STATE:
            return True
        if flags & (REVOKED | ENDED):
            return bool(self.continues[index]) and not flags & REVOKED
        if self.mask_moved[index]:
            return True
        matters = bool(self.holding[index] or flags & HAS_RISK_STATE or chunk.band[index] >= self.alarming)
        return matters and bool(chunk.band[index] != self.band_before[index])

    def _in_order(self, needs: Bools) -> list[int]:
        """Every event of a session from its first that needs the slow path on, in order of arrival."""
        seg = self.chunk.folded.seg
        first = np.flatnonzero(needs)
        owners, where = np.unique(seg.of[first], return_index=True)
        spans = [np.arange(first[at], seg.lasts[owner] + 1) for owner, at in zip(owners, where, strict=True)]
        indexes = np.concatenate(spans)
        ordered: list[int] = indexes[np.argsort(seg.order[indexes])].tolist()
        return ordered

    def _slow_event(self, index: int, flags: int) -> SlowPathEvent:
        folded = self.chunk.folded
        row = int(folded.seg.keys[folded.seg.of[index]])
        at = int(folded.at[index])
        subject = subject_at(self.table, folded, index)
        kind = KINDS[int(folded.facts["kind"][index])]
        event = folded.batch.events[int(folded.seg.order[index])]
        return SlowPathEvent(
            index,
            row,
            at,
            event,
            subject,
            kind,
            self.risk_states.get(row) or SessionRiskState(level_since=at),
            flags,
        )

    def _decision_input(self, current: SlowPathEvent) -> DecisionInput:
        folded, index = self.chunk.folded, current.index
        return DecisionInput(
            at_ms=current.at,
            event_id=str(current.event["event_id"]),
            evidence=source_event_id(str(current.event["event_id"])),
            mask=as_int(self.chunk.mask[index]),
            mask_before=as_int(self.mask_before[index]),
            before_ms=int(folded.previous_at[index]),
            band=int(self.chunk.band[index]),
            action=int(folded.facts["action"][index]),
            strong_age_s=float(folded.facts["strong_age"][index]) / 1000,
            principal_kind=current.kind,
            fact=lambda name: self.value(name, index),
            fleet_silent=lambda: self.tenants.fleet_silent(current.subject.tenant),
            used_at=int(folded.facts["used_at"][index]),
            is_use=folded.batch.kind in (Kind.AUTH, Kind.CALL),
            observed_text=current.event.get("details") or {},
            is_open=not self.guessed[index],
            silence_unverified=lambda: self.tenants.fleet_unheard(current.subject.tenant),
            threshold=self.tenants.threshold(current.subject.tenant),
        )

    def value(self, name: str, index: int) -> float:
        """A feature's or fact's value after event *index*."""
        folded = self.chunk.folded
        if name in _FEATURE:
            return float(folded.values[_FEATURE[name], index])
        return float(folded.facts[name][index])

    def learning(self, index: int) -> list[str]:
        """Detections that had no baseline yet at event *index*."""
        return learning(self.chunk.folded.facts, self.active.engine.limits, index)

    def moved(self, index: int) -> list[Moved]:
        """The features that made event *index* anomalous for the model."""
        if not self.chunk.band[index]:
            return []
        folded = self.chunk.folded
        values, kind = np.ascontiguousarray(folded.values[:, index]), int(folded.facts["kind"][index])
        return self.active.detector.explain(values, kind, _REASONS_OF_MODEL)

    def transition(self, current: SlowPathEvent) -> str:
        """The previous call and this one if the transition is rare in the session's role, else nothing."""
        facts, roles = self.chunk.folded.facts, self.active.roles
        if roles is None or "rare" not in facts or not facts["rare"][current.index]:
            return ""
        before = int(facts["previous_operation"][current.index])
        name = roles.name_of(before) or ("an operation the model does not know" if before else "the start")
        return f"{current.event['operation']} after {name}"

    def _settle(self, current: SlowPathEvent) -> int:
        """Store or drop the risk state; returns the row's next wake time."""
        state = current.state
        if state.is_empty():
            self.risk_states.pop(current.row, None)
            current.flags &= ~HAS_RISK_STATE
            return 0
        self.risk_states[current.row] = state
        current.flags |= HAS_RISK_STATE
        if state.ended_at:
            return 0
        return self.active.engine.wake_at(state, current.at, as_int(self.chunk.mask[current.index]))
