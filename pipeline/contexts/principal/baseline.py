"""What is usual for a principal: hours, volumes, sessions at once. Learned slowly, forgotten slowly.

A session's lesson waits until the session has ended, or a day has passed; what a revoked one did is never
learned. Times are ms of event time, hours and days are UTC: a principal's own clock is a constant beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pipeline.processing.messages import stable_id
from schemas.members import DAY_MS

HALF_LIFE_DAYS: Final = 21
"""Of every weight: what was not seen for a season counts for little."""
QUANTILE: Final = 0.95
"""Of lessons in which a volume was not 0: what is above is not usual."""
FEWEST: Final = 4.0
"""Lessons on working days, or on weekends, from which those have a profile of their own."""
MOST_WAITING: Final = 100
"""Lessons that wait; of more, the oldest is lost."""
MOST_DAYS: Final = 255
_HOUR_MS: Final = 3_600_000
_LEAST: Final = 0.01
Weights = list[list[float]]
"""Pairs of a value and its weight, values ascending."""


class Normal(NamedTuple):
    """What is usual, and on how many days it was learned."""

    volumes: dict[str, float]
    concurrent: int
    days: int


@dataclass(slots=True)
class Baseline:
    """A principal's history, in numbers that JSON keeps as they are.

    Attributes:
        days: distinct days of which something was learned.
        day: the newest of them, days since 1970.
        hours: weight of the lessons active in each hour, 24 of working days, then 24 of weekends.
        lessons: weight of all lessons, on working days and on weekends.
        volumes: of each volume, its peaks and their weights.
        concurrent: the same of sessions at once.
        waiting: by session in short, what it did since *at*: ``{"at", "hours", "peaks", "concurrent"}``.
    """

    days: int = 0
    day: int = 0
    hours: list[float] = field(default_factory=lambda: [0.0] * 48)
    lessons: list[float] = field(default_factory=lambda: [0.0, 0.0])
    volumes: dict[str, Weights] = field(default_factory=dict)
    concurrent: Weights = field(default_factory=list)
    waiting: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, session_id: str, at: int, concurrent: int) -> None:
        """A live session was active at *at*; what it did more than a day ago is believed by now."""
        session = brief(session_id)
        lesson = self.waiting.get(session)
        if lesson is not None and at >= lesson["at"] + DAY_MS:
            self.learn(session_id)
            lesson = None
        if lesson is None:
            lesson = self.waiting[session] = {"at": at, "hours": [], "peaks": {}, "concurrent": 0}
            if len(self.waiting) > MOST_WAITING:
                del self.waiting[next(iter(self.waiting))]
        if (hour := _hour(at)) not in lesson["hours"]:
            lesson["hours"].append(hour)
        lesson["concurrent"] = max(lesson["concurrent"], concurrent)

    def peaked(self, session_id: str, peaks: Mapping[str, float]) -> None:
        """The most a session that was noted did of each volume."""
        lesson = self.waiting.get(brief(session_id))
        if lesson is not None:
            details = lesson["peaks"]
            lesson["peaks"] = details | {name: max(peak, details.get(name, 0.0)) for name, peak in peaks.items()}

    def learn(self, session_id: str) -> None:
        """Believe what a session did: it ended well, or time has passed."""
        lesson = self.waiting.pop(brief(session_id), None)
        if lesson is None:
            return
        self._fade(lesson["at"] // DAY_MS)
        for hour in lesson["hours"]:
            self.hours[hour] += 1.0
        for half in {hour // 24 for hour in lesson["hours"]}:
            self.lessons[half] += 1.0
        for name, peak in lesson["peaks"].items():
            _add(self.volumes.setdefault(name, []), peak)
        _add(self.concurrent, lesson["concurrent"])

    def unlearn(self, session_id: str) -> None:
        """Forget what a session did: it was revoked."""
        self.waiting.pop(brief(session_id), None)

    def normal(self, cohort: Normal | None = None) -> Normal:
        """What is usual: by the principal's own history where it is the longer, else by its *cohort*'s."""
        if cohort is not None and cohort.days > self.days:
            return cohort
        volumes = {name: _high(weights) for name, weights in self.volumes.items()}
        return Normal(volumes, int(_high(self.concurrent)), self.days)

    def hour_share(self, at: int) -> float:
        """The share of lessons that were active at this hour or one beside it, 0 to 1.

        Weekends are judged by weekends as soon as some were seen, else by all days together.
        """
        hour = _hour(at)
        halves = [hour // 24] if self.lessons[hour // 24] >= FEWEST else [0, 1]
        whole = sum(self.lessons[half] for half in halves)
        if not whole:
            return 0.0
        beside = (hour % 24 + shift for shift in (-1, 0, 1))
        return min(1.0, max(sum(self.hours[24 * h + number % 24] for h in halves) for number in beside) / whole)

    def _fade(self, day: int) -> None:
        """Let what was learned before *day* weigh less; count the day."""
        if self.days and day <= self.day:
            return
        kept = 2.0 ** (-(day - self.day) / HALF_LIFE_DAYS) if self.days else 1.0
        self.days, self.day = min(self.days + 1, MOST_DAYS), day
        self.hours = [round(weight * kept, 3) for weight in self.hours]
        self.lessons = [round(weight * kept, 3) for weight in self.lessons]
        self.volumes = {name: _faded(weights, kept) for name, weights in self.volumes.items()}
        self.concurrent = _faded(self.concurrent, kept)


def brief(name: str) -> str:
    """A session or principal in 12 characters, however long its name is."""
    return stable_id(name)[:12]


def _hour(at: int) -> int:
    """Hour of the day, 24 more on Saturdays and Sundays; 1970 began on a Thursday."""
    weekend = (at // DAY_MS + 3) % 7 >= 5
    return at // _HOUR_MS % 24 + 24 * weekend


def _add(weights: Weights, value: float) -> None:
    for pair in weights:
        if pair[0] == value:
            pair[1] += 1.0
            return
    weights.append([value, 1.0])
    weights.sort()


def _faded(weights: Iterable[list[float]], kept: float) -> Weights:
    return [[value, left] for value, weight in weights if (left := round(weight * kept, 3)) >= _LEAST]


def _high(weights: Weights) -> float:
    """The value that all but a small share of the weight reaches at most."""
    spare = (1.0 - QUANTILE) * sum(weight for _, weight in weights)
    for value, weight in reversed(weights):
        spare -= weight
        if spare < 0:
            return value
    return 0.0
