"""From what a chunk did to what should be said: a fast look at every event, a slow path for some.

Whether an event takes the slow path depends on that event and on what its session remembered, never on the
chunk.
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
from models.state.table import ENDED, HAS_CASE, REVOKED, SessionTable, Subject
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
    reveals_identity,
)

_FEATURE: Final = {name: index for index, name in enumerate(FEATURE_NAMES)}
PROVING: Final = (ACTION["sign_in"], ACTION["step_up_passed"])
_REASONS_OF_MODEL: Final = 5


@dataclass(slots=True)
class SlowPathEvent:
    """One event on the slow path: where it stands, whose it is, and its session's case."""

    index: int
    row: int
    at: int
    event: Mapping[str, Any]
    subject: Subject
    kind: str
    case: SessionRiskState
    flags: int


@dataclass(frozen=True, slots=True)
class PriorLevel:
    """A session's level, and since when it has it, in ms."""

    level: Level
    since: int


Handle = Callable[[SlowPathEvent, DecisionInput], None]
"""Called for each event on the slow path, in order of arrival; changes ``sight.case`` and ``sight.flags``."""
Compare = Callable[[SlowPathEvent, DecisionInput, PriorLevel], None]
"""Called after a watched event of a session that has a case, with how the session stood before it."""
Announce = Callable[[int, int], None]
"""Called with index and flags for each event that shows who a session is, before the event is handled."""


def _earlier(values: NDArray[Any], before: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    earlier = np.empty_like(values)
    earlier[1:] = values[:-1]
    earlier[starts] = before
    return earlier


class SlowPath:
    """One pass over a looked-at chunk; keeps what the rows have to remember of it.

    *watched* are events that somebody wants to see though they may change nothing; ``None`` for none.
    """

    def __init__(
        self,
        looked: ScoredChunk,
        table: SessionTable,
        cases: dict[int, SessionRiskState],
        active: ActiveConfig,
        fleet_silent: Callable[[str], bool],
        fleet_unheard: Callable[[str], bool],
        watched: Bools | None = None,
    ) -> None:
        self.looked = looked
        self.table = table
        self.cases = cases
        self.active = active
        self.fleet_silent = fleet_silent
        self.fleet_unheard = fleet_unheard
        self.watched = watched
        before, seg = looked.folded.before, looked.folded.seg
        self.mask_before = _earlier(looked.mask, before["mask"], seg.starts)
        self.holding = holds_any(looked.mask)
        self.mask_moved = differs(looked.mask, self.mask_before)
        self.band_before = _earlier(looked.band, before["band"], seg.starts)
        self.special = forces_slow_path(looked.folded)
        self.showing = reveals_identity(looked.folded)
        self.going_on = continues_after_sign_out(looked.folded)
        self.alarming = active.judge.alarming_band
        action = looked.folded.facts["action"]
        self.proving = (action == PROVING[0]) | (action == PROVING[1])

    def run(self, handle: Handle, introduce: Announce, compare: Compare | None = None) -> None:
        """Take the slow path where it is due; the rows remember mask, band, level, flags and wake time."""
        folded = self.looked.folded
        before, seg = folded.before, folded.seg
        wake, flags, level = before["wake_at"].copy(), before["flags"].copy(), before["level"].copy()
        needs = self._needs(wake[seg.of], flags[seg.of]) | self.showing
        if needs.any():
            for index in self._in_order(needs):
                owner = int(seg.of[index])
                if self.showing[index]:
                    introduce(index, int(flags[owner]))
                stood = self._stood(index, int(flags[owner]))
                if self._one_needs(index, int(wake[owner]), int(flags[owner])):
                    sight = self._sight(index, int(flags[owner]))
                    handle(sight, self._moment(sight))
                    wake[owner] = self._settle(sight)
                    flags[owner] = sight.flags
                    level[owner] = LEVELS.index(sight.case.level)
                    self.looked.level[index : int(seg.lasts[owner]) + 1] = level[owner]
                if compare and stood and flags[owner] & HAS_CASE:
                    sight = self._sight(index, int(flags[owner]))
                    compare(sight, self._moment(sight), stood)
        rows = self.table.rows
        rows["mask"][seg.keys] = self.looked.mask[seg.lasts]
        rows["band"][seg.keys] = self.looked.band[seg.lasts]
        rows["wake_at"][seg.keys], rows["flags"][seg.keys], rows["level"][seg.keys] = wake, flags, level

    def _stood(self, index: int, flags: int) -> PriorLevel | None:
        """How a session stands before a watched event; ``None`` where nothing can change any more."""
        if self.watched is None or not self.watched[index] or flags & (REVOKED | ENDED):
            return None
        case = self.cases.get(int(self.looked.folded.seg.keys[self.looked.folded.seg.of[index]]))
        if case is None:
            return PriorLevel(LEVELS[0], int(self.looked.folded.at[index]))
        return PriorLevel(case.level, case.level_since)  # type: ignore[arg-type]

    def _needs(self, wake: NDArray[np.int64], flags: NDArray[np.uint8]) -> Bools:
        """Events that would take the slow path if none before them in the chunk had."""
        looked = self.looked
        due = (wake > 0) & (looked.folded.at >= wake)
        matters = holds_any(looked.mask | self.mask_before) | (flags & HAS_CASE != 0)
        matters |= looked.band >= self.alarming
        moved = self.mask_moved | ((looked.band != self.band_before) & matters)
        over = flags & (REVOKED | ENDED)
        proving = self.proving & (flags & HAS_CASE != 0)
        needs: Bools = self.special | due | proving | (moved & (over == 0)) | (self.going_on & (over == ENDED))
        return needs if self.watched is None else needs | (self.watched & matters & (over == 0))

    def _one_needs(self, index: int, wake: int, flags: int) -> bool:
        """The same for one event, knowing what those before it did."""
        looked = self.looked
        if self.special[index] or 0 < wake <= looked.folded.at[index]:
            return True
        if self.proving[index] and flags & HAS_CASE:
            return True
        if flags & (REVOKED | ENDED):
            return bool(self.going_on[index]) and not flags & REVOKED
        if self.mask_moved[index]:
            return True
        matters = bool(self.holding[index] or flags & HAS_CASE or looked.band[index] >= self.alarming)
        return matters and bool(looked.band[index] != self.band_before[index])

    def _in_order(self, needs: Bools) -> list[int]:
        """From its first event in need, every event of a session may need: all those, in order of arrival."""
        seg = self.looked.folded.seg
        first = np.flatnonzero(needs)
        owners, where = np.unique(seg.of[first], return_index=True)
        spans = [np.arange(first[at], seg.lasts[owner] + 1) for owner, at in zip(owners, where, strict=True)]
        indexes = np.concatenate(spans)
        ordered: list[int] = indexes[np.argsort(seg.order[indexes])].tolist()
        return ordered

    def _sight(self, index: int, flags: int) -> SlowPathEvent:
        folded = self.looked.folded
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
            self.cases.get(row) or SessionRiskState(level_since=at),
            flags,
        )

    def _moment(self, sight: SlowPathEvent) -> DecisionInput:
        folded, index = self.looked.folded, sight.index
        return DecisionInput(
            at_ms=sight.at,
            event_id=str(sight.event["event_id"]),
            evidence=source_event_id(str(sight.event["event_id"])),
            mask=as_int(self.looked.mask[index]),
            mask_before=as_int(self.mask_before[index]),
            before_ms=int(folded.previous_at[index]),
            band=int(self.looked.band[index]),
            action=int(folded.facts["action"][index]),
            strong_age_s=float(folded.facts["strong_age"][index]) / 1000,
            principal_kind=sight.kind,
            fact=lambda name: self.value(name, index),
            fleet_silent=lambda: self.fleet_silent(sight.subject.tenant),
            used_at=int(folded.facts["used_at"][index]),
            is_use=folded.batch.kind in (Kind.AUTH, Kind.CALL),
            observed_text=sight.event.get("details") or {},
            silence_unverified=lambda: self.fleet_unheard(sight.subject.tenant),
        )

    def value(self, name: str, index: int) -> float:
        """A feature's or fact's value after event *index*."""
        folded = self.looked.folded
        if name in _FEATURE:
            return float(folded.values[_FEATURE[name], index])
        return float(folded.facts[name][index])

    def learning(self, index: int) -> list[str]:
        """Detections that did not know what is normal at event *index*."""
        return learning(self.looked.folded.facts, self.active.judge.limits, index)

    def moved(self, index: int) -> list[Moved]:
        """What made the model find event *index* odd."""
        if not self.looked.band[index]:
            return []
        folded = self.looked.folded
        values, kind = np.ascontiguousarray(folded.values[:, index]), int(folded.facts["kind"][index])
        return self.active.detector.explain(values, kind, _REASONS_OF_MODEL)

    def transition(self, sight: SlowPathEvent) -> str:
        """The call before and this one, where that is rare in the session's role; else nothing."""
        facts, roles = self.looked.folded.facts, self.active.roles
        if roles is None or "rare" not in facts or not facts["rare"][sight.index]:
            return ""
        before = int(facts["previous_operation"][sight.index])
        name = roles.name_of(before) or ("an operation the model does not know" if before else "the start")
        return f"{sight.event['operation']} after {name}"

    def _settle(self, sight: SlowPathEvent) -> int:
        """Keep or drop the case; the row's next wake time."""
        case = sight.case
        if case.is_empty():
            self.cases.pop(sight.row, None)
            sight.flags &= ~HAS_CASE
            return 0
        self.cases[sight.row] = case
        sight.flags |= HAS_CASE
        if case.ended_at:
            return 0
        return self.active.judge.wake_at(case, sight.at, as_int(self.looked.mask[sight.index]))
