"""What a challenger would decide: beside the champion, on the same events and evidence, never acted on.

Its vectors are the champion's, but for what depends on roles, which are its own (:mod:`pipeline.control.active`);
which detections hold, those that ask for roles too, is as the champion has it.

A challenger has no cases of its own. Its level at an event is what its band, in place of the champion's,
makes of the champion's session there; so one event's difference is told exactly, while what it would have
led to (a factor proved, a session ended earlier) is not played out. Nothing the champion decides depends on
whether a challenger looks on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import BANDS
from models.events.batch import Kind
from models.events.columns import KINDS
from models.state.segments import Bools
from models.updates.arrivals import subject_at
from models.updates.fold import Folded
from pipeline.control.active import Challenger
from pipeline.decisions import outputs
from pipeline.decisions.decision import DecisionInput
from pipeline.decisions.engine import PolicyEngine
from pipeline.decisions.risk import LEVELS, Level, next_level, score
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.processing.messages import Stamp, source_event_id
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.sessions.fast_path import ScoredChunk, bands_of, scores
from pipeline.sessions.slow_path import PriorLevel, SlowPath, SlowPathEvent

_ALL_BANDS: Final = len(BANDS) + 1
Stamps = Callable[[int], Stamp]
"""Under what something is said about a session at a time, in ms."""


class Shadow:
    """One challenger's look at a chunk, sorted as *looked* is; *own* is the chunk as its roles see it."""

    def __init__(self, challenger: Challenger, own: Folded, looked: ScoredChunk, judge: PolicyEngine) -> None:
        self.id = challenger.id
        self.score = scores(challenger.detector, own, looked.scored)
        # What the champion passes over, a challenger has no word on either.
        self.band = np.where(looked.scored, bands_of(challenger.detector, self.score, own), looked.band)
        self.differs: Bools = self.band != looked.band
        self._looked = looked
        self._judge = judge
        self._would: dict[int, Level] = {}
        self._told: list[int] = []

    def compare(self, sight: SlowPathEvent, moment: DecisionInput, stood: PriorLevel) -> None:
        """Learn what the challenger's band would make of the session in *sight*, as it stands now."""
        case, judge = sight.case, self._judge
        parts = judge.contributions(case, sight.subject, replace(moment, band=int(self.band[sight.index])))
        value = score(judge.policy.prior + sum(part.log_odds for part in parts if not part.suppressed))
        level = next_level(stood.level, value, (moment.at_ms - stood.since) / 1000, judge.policy.levels)
        self._would[sight.index] = level
        if level != case.level and self._is_news(case, level, moment.at_ms):
            case.shadows[self.id] = [level, moment.at_ms]
            self._told.append(sight.index)

    def _is_news(self, case: SessionRiskState, level: Level, at: int) -> bool:
        """Told when it begins, when it changes, and again as often as a decision is."""
        details, told_at = case.shadows.get(self.id, ["", 0])
        return bool(level != details or at >= told_at + self._judge.policy.times.repeat_s * 1000)

    def report(self, walk: SlowPath, sampled: NDArray[np.int64], stamp: Stamps, out: OutcomeBuilder) -> None:
        """Say where the level would differ, and of the *sampled* events how both see them."""
        folded = self._looked.folded
        if folded.batch.kind in (Kind.CALL, Kind.AUTH):
            self._count(out)
        out.count("challenger_differences", self.id, by=len(self._told))
        for index in sorted({*self._told, *sampled.tolist()}):
            at = int(folded.at[index])
            subject = subject_at(walk.table, folded, index)
            out.send(outputs.shadow(subject, self._members(index, stamp(at)), at, stamp(at)))

    def _count(self, out: OutcomeBuilder) -> None:
        """How often each band of the champion's met each of the challenger's."""
        both = self._looked.band * _ALL_BANDS + self.band
        pairs = np.bincount(both[self._looked.scored], minlength=_ALL_BANDS**2)
        for pair in np.flatnonzero(pairs).tolist():
            bands = map(str, divmod(pair, _ALL_BANDS))
            out.count("challenger_vectors", self.id, *bands, by=int(pairs[pair]))

    def _members(self, index: int, stamp: Stamp) -> Mapping[str, Any]:
        looked, kind = self._looked, KINDS[int(self._looked.folded.facts["kind"][index])]
        event = looked.folded.batch.events[int(looked.folded.seg.order[index])]
        level = LEVELS[int(looked.level[index])]
        would = self._would.get(index, level)
        return {
            "principal_kind": kind or None,
            "caused_by": source_event_id(str(event["event_id"])),
            "champion": self._opinion(stamp.model, looked.score[index], looked.band[index], level, kind),
            "challenger": self._opinion(self.id, self.score[index], self.band[index], would, kind),
            "differs": would != level,
        }

    def _opinion(self, model: str, value: float, band: int, level: Level, kind: str) -> dict[str, Any]:
        action = self._judge.policy.action(kind, level)
        return {
            "model": model,
            "score": round(float(value), 6),
            "band": int(band),
            "level": level,
            "action": action,
        }


class Shadows:
    """All challengers over a chunk, which each of them sees as its own of *seen*."""

    def __init__(
        self,
        challengers: Sequence[Challenger],
        seen: Sequence[Folded],
        looked: ScoredChunk,
        judge: PolicyEngine,
    ) -> None:
        self._all = [Shadow(challenger, own, looked, judge) for challenger, own in zip(challengers, seen, strict=True)]
        self.watched: Bools = np.logical_or.reduce([shadow.differs for shadow in self._all])

    def compare(self, sight: SlowPathEvent, moment: DecisionInput, stood: PriorLevel) -> None:
        """Learn what those whose band is another would make of an event."""
        for shadow in self._all:
            if shadow.differs[sight.index]:
                shadow.compare(sight, moment, stood)

    def report(self, walk: SlowPath, sampled: NDArray[np.int64], stamp: Stamps, out: OutcomeBuilder) -> None:
        """Say what each has to say of the chunk."""
        for shadow in self._all:
            shadow.report(walk, sampled, stamp, out)
