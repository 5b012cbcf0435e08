"""Baseline of a principal: its usual hours, volumes and number of sessions, as an exponentially decayed history.

What a session does is an observation. It counts once the session has ended or a day has passed; the observation of a
revoked session is discarded. Times are ms of event time, hours and days are UTC: a principal's time zone only shifts
the hours by a constant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, NamedTuple, TypeVar

from pydantic import Field

from pipeline.processing.messages import stable_id
from pipeline.times import HOUR_MS
from schemas.fields import DAY_MS

HALF_LIFE_DAYS: Final = 21
"""Half-life of every weight: what was not seen for a season counts for little."""
QUANTILE: Final = 0.95
"""Share of the observations, by weight, that lie at or below what is called usual."""
MIN_OBSERVATIONS: Final = 4.0
"""Weight of observations from which working days and weekends have hours of their own."""
MAX_PENDING: Final = 100
"""Observations that are not counted yet; of more, the oldest is dropped."""
MAX_DAYS: Final = 255
_MIN_WEIGHT: Final = 0.01

N = TypeVar("N", int, float)
Weights = list[tuple[N, float]]
"""Pairs of a value and its weight, values ascending."""


class UsualActivity(NamedTuple):
    """The usual volumes and concurrent sessions, and the number of days on which they were learned."""

    volumes: dict[str, float]
    concurrent: int
    days: int


@dataclass(slots=True)
class Observation:
    """What one session did since *at* (ms): its hours (0 to 47), peak volumes, and sessions beside it."""

    at: int
    hours: list[int] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    concurrent: int = 0


@dataclass(slots=True)
class Baseline:
    """A principal's decayed history.

    Attributes:
        days: number of distinct days on which something was learned.
        day: the newest of them, in days since 1970.
        hours: weight of the observations active in each hour: 24 hours of working days, then 24 of weekends.
        observations: weight of all observations, on working days and on weekends.
        volumes: for each volume, its peaks and their weights.
        concurrent: the same for the number of concurrent sessions.
        pending: observations that are not counted yet, by shortened session id.
    """

    days: int = 0
    day: int = 0
    hours: list[float] = field(default_factory=lambda: [0.0] * 48)
    observations: Annotated[list[float], Field(alias="lessons")] = field(default_factory=lambda: [0.0, 0.0])
    volumes: dict[str, Weights[float]] = field(default_factory=dict)
    concurrent: Weights[int] = field(default_factory=list)
    pending: Annotated[dict[str, Observation], Field(alias="waiting")] = field(default_factory=dict)

    def observe(self, session_id: str, at_ms: int, concurrent: int) -> None:
        """Note that a session was active at *at_ms*; what it did more than a day before is counted now."""
        session = short_id(session_id)
        observation = self.pending.get(session)
        if observation is not None and at_ms >= observation.at + DAY_MS:
            self.learn(session_id)
            observation = None
        if observation is None:
            observation = self.pending[session] = Observation(at_ms)
            if len(self.pending) > MAX_PENDING:
                del self.pending[next(iter(self.pending))]
        if (hour := _hour(at_ms)) not in observation.hours:
            observation.hours.append(hour)
        observation.concurrent = max(observation.concurrent, concurrent)

    def observe_peaks(self, session_id: str, peaks: Mapping[str, float]) -> None:
        """Note the peak volumes of a session that is under observation."""
        observation = self.pending.get(short_id(session_id))
        if observation is not None:
            before = observation.peaks
            observation.peaks = before | {name: max(peak, before.get(name, 0.0)) for name, peak in peaks.items()}

    def learn(self, session_id: str) -> None:
        """Count what a session did: it ended well, or enough time has passed."""
        observation = self.pending.pop(short_id(session_id), None)
        if observation is None:
            return
        self._decay(observation.at // DAY_MS)
        for hour in observation.hours:
            self.hours[hour] += 1.0
        for weekend in {hour // 24 for hour in observation.hours}:
            self.observations[weekend] += 1.0
        for name, peak in observation.peaks.items():
            _add(self.volumes.setdefault(name, []), peak)
        _add(self.concurrent, observation.concurrent)

    def discard(self, session_id: str) -> None:
        """Forget what a session did: it was revoked."""
        self.pending.pop(short_id(session_id), None)

    def usual(self, cohort: UsualActivity | None = None) -> UsualActivity:
        """What is usual for the principal, or for its *cohort* if that was learned on more days."""
        if cohort is not None and cohort.days > self.days:
            return cohort
        volumes = {name: _quantile(weights, 0.0) for name, weights in self.volumes.items()}
        return UsualActivity(volumes, _quantile(self.concurrent, 0), self.days)

    def hour_share(self, at_ms: int) -> float:
        """The share of observations that were active in this hour or a neighbouring one, 0 to 1.

        A weekend is compared with weekends as soon as enough of them were observed, else with all days together.
        """
        hour = _hour(at_ms)
        halves = [hour // 24] if self.observations[hour // 24] >= MIN_OBSERVATIONS else [0, 1]
        total = sum(self.observations[half] for half in halves)
        if not total:
            return 0.0
        nearby = (hour % 24 + shift for shift in (-1, 0, 1))
        return min(1.0, max(sum(self.hours[24 * half + number % 24] for half in halves) for number in nearby) / total)

    def _decay(self, day: int) -> None:
        """Reduce the weight of what was learned before *day*, and count the day."""
        if self.days and day <= self.day:
            return
        factor = 2.0 ** (-(day - self.day) / HALF_LIFE_DAYS) if self.days else 1.0
        self.days, self.day = min(self.days + 1, MAX_DAYS), day
        self.hours = [round(weight * factor, 3) for weight in self.hours]
        self.observations = [round(weight * factor, 3) for weight in self.observations]
        self.volumes = {name: _decayed(weights, factor) for name, weights in self.volumes.items()}
        self.concurrent = _decayed(self.concurrent, factor)


def short_id(name: str) -> str:
    """A session or principal id in 12 characters, so that many fit into a record."""
    return stable_id(name)[:12]


def _hour(at_ms: int) -> int:
    """Hour of the day, plus 24 on Saturdays and Sundays; 1970 began on a Thursday."""
    weekend = (at_ms // DAY_MS + 3) % 7 >= 5
    return at_ms // HOUR_MS % 24 + 24 * weekend


def _add(weights: Weights[N], value: N) -> None:
    for index, (known, weight) in enumerate(weights):
        if known == value:
            weights[index] = known, weight + 1.0
            return
    weights.append((value, 1.0))
    weights.sort()


def _decayed(weights: Iterable[tuple[N, float]], factor: float) -> Weights[N]:
    return [(value, left) for value, weight in weights if (left := round(weight * factor, 3)) >= _MIN_WEIGHT]


def _quantile(weights: Weights[N], nothing: N) -> N:
    """The largest value below which lies all but the share ``1 - QUANTILE`` of the weight, or *nothing*."""
    above = (1.0 - QUANTILE) * sum(weight for _, weight in weights)
    for value, weight in reversed(weights):
        above -= weight
        if above < 0:
            return value
    return nothing
