"""Shadow mode: what a challenger model would decide on the same events as the champion. It is never acted on.

Its vectors are the champion's, except for features that depend on roles, which are its own
(:mod:`pipeline.control.active`). Detections hold as for the champion, also those that use roles.

A challenger has no risk state of its own. Its level at an event follows from its band, in place of the champion's, and
the champion's risk state: the difference at one event is exact, but its consequences (a factor proved, a session ended
earlier) are not played out. No decision of the champion depends on challengers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
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
"""Time, model, policy and mode of a message about a session at a time in ms."""


class Shadow:
    """One challenger's scores for *chunk*, in its order; *own* is the chunk folded with the challenger's roles."""

    def __init__(self, challenger: Challenger, own: Folded, chunk: ScoredChunk, engine: PolicyEngine) -> None:
        self.id = challenger.id
        self.score = scores(challenger.detector, own, chunk.scored)
        # A challenger has no score for events that the champion did not score.
        self.band = np.where(chunk.scored, bands_of(challenger.detector, self.score, own), chunk.band)
        self.differs: Bools = self.band != chunk.band
        self._chunk = chunk
        self._engine = engine
        self._would: dict[int, Level] = {}
        self._reported: list[int] = []

    def compare(self, current: SlowPathEvent, decision_input: DecisionInput, stood: PriorLevel) -> None:
        """Compute the level that the challenger's band would give the session in *current*."""
        state, engine = current.state, self._engine
        parts = engine.contributions(
            state, current.subject, replace(decision_input, band=int(self.band[current.index]))
        )
        value = score(engine.policy.prior + sum(part.log_odds for part in parts if not part.suppressed))
        level = next_level(stood.level, value, (decision_input.at_ms - stood.since) / 1000, engine.policy.levels)
        self._would[current.index] = level
        if level != state.level and self._is_news(state, level, decision_input.at_ms):
            state.shadows[self.id] = [level, decision_input.at_ms]
            self._reported.append(current.index)

    def _is_news(self, state: SessionRiskState, level: Level, at: int) -> bool:
        """Whether to report a difference: when it begins, when it changes, and as often as a decision is repeated."""
        level_before, reported_at = state.shadows.get(self.id, ["", 0])
        return bool(level != level_before or at >= reported_at + self._engine.policy.times.repeat_s * 1000)

    def report(self, slow_path: SlowPath, sampled: NDArray[np.int64], stamp: Stamps, out: OutcomeBuilder) -> None:
        """Report where the level would differ, and both opinions for the *sampled* events."""
        folded = self._chunk.folded
        if folded.batch.kind in (Kind.CALL, Kind.AUTH):
            self._count(out)
        out.count("challenger_differences", self.id, by=len(self._reported))
        for index in sorted({*self._reported, *sampled.tolist()}):
            at = int(folded.at[index])
            subject = subject_at(slow_path.table, folded, index)
            out.send(
                outputs.shadow(
                    subject,
                    self._members(index, stamp(at), on_suspicion=bool(slow_path.on_suspicion[index])),
                    at,
                    stamp(at),
                )
            )

    def _count(self, out: OutcomeBuilder) -> None:
        """Count the pairs of the champion's and the challenger's band."""
        both = self._chunk.band * _ALL_BANDS + self.band
        pairs = np.bincount(both[self._chunk.scored], minlength=_ALL_BANDS**2)
        for pair in np.flatnonzero(pairs).tolist():
            bands = map(str, divmod(pair, _ALL_BANDS))
            out.count("challenger_vectors", self.id, *bands, by=int(pairs[pair]))

    def _members(self, index: int, stamp: Stamp, *, on_suspicion: bool) -> Mapping[str, Any]:
        chunk, kind = self._chunk, KINDS[int(self._chunk.folded.facts["kind"][index])]
        event = chunk.folded.batch.events[int(chunk.folded.seg.order[index])]
        level = LEVELS[int(chunk.level[index])]
        would = self._would.get(index, level)
        action = partial(self._engine.policy.action, kind, on_suspicion=on_suspicion)
        return {
            "principal_kind": kind or None,
            "caused_by": source_event_id(str(event["event_id"])),
            "champion": _opinion(stamp.model, chunk.score[index], chunk.band[index], level, action(level)),
            "challenger": _opinion(self.id, self.score[index], self.band[index], would, action(would)),
            "differs": would != level,
        }


def _opinion(model: str, value: float, band: int, level: Level, action: str) -> dict[str, Any]:
    return {
        "model": model,
        "score": round(float(value), 6),
        "band": int(band),
        "level": level,
        "action": action,
    }


class Shadows:
    """All challengers over a chunk; *seen* holds the chunk folded for each of them."""

    def __init__(
        self,
        challengers: Sequence[Challenger],
        seen: Sequence[Folded],
        chunk: ScoredChunk,
        engine: PolicyEngine,
    ) -> None:
        self._all = [Shadow(challenger, own, chunk, engine) for challenger, own in zip(challengers, seen, strict=True)]
        self.watched: Bools = np.logical_or.reduce([shadow.differs for shadow in self._all])

    def compare(self, current: SlowPathEvent, decision_input: DecisionInput, stood: PriorLevel) -> None:
        """Compare an event with the challengers whose band differs from the champion's."""
        for shadow in self._all:
            if shadow.differs[current.index]:
                shadow.compare(current, decision_input, stood)

    def report(self, slow_path: SlowPath, sampled: NDArray[np.int64], stamp: Stamps, out: OutcomeBuilder) -> None:
        """Report the differences of every challenger."""
        for shadow in self._all:
            shadow.report(slow_path, sampled, stamp, out)
