"""A simulation: days are planned, struck by attacks and oddities, and merged into one stream of events.

Plans of a day are small and made for everybody at once; events are made one by one, as they are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import count, cycle, islice
from random import Random
from typing import Any, Final

from pipeline.recording import Truth
from pipeline.simulate.attacks import ATTACKS
from pipeline.simulate.days import Horizon, person_day_start, plan_person, plan_service
from pipeline.simulate.oddities import ODDITIES
from pipeline.simulate.plan import DAY, HOUR, Day
from pipeline.simulate.play import Timed, by_time, play
from pipeline.simulate.population import Person, Population, Service, chance, identity, populate
from pipeline.simulate.strike import Family

MONDAY_MS: Final = 1_772_409_600_000
"""2026-03-02T00:00:00Z, a Monday: where a simulation starts unless told otherwise."""


class Simulation:
    """Iterate over it once, for (topic, event) in event-time order; then *truth* is complete."""

    def __init__(
        self, run: str, population: Population, horizon: Horizon, shares: tuple[float, float]
    ) -> None:
        self.population = population
        self.truth: list[Truth] = []
        self._run = run
        self._horizon = horizon
        self._shares = shares
        self._planned = 0
        self._days: dict[tuple[int, int], Day] = {}

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        owners: tuple[Person | Service, ...] = (*self.population.people, *self.population.services)
        streams = [self._stream(index, owner) for index, owner in enumerate(owners)]
        for at, topic, event in merge(*streams, key=by_time):
            if at >= self._horizon.end:
                return
            if at >= self._horizon.start:
                yield topic, event

    def _stream(self, index: int, owner: Person | Service) -> Iterator[Timed]:
        for number in count():
            if self._start(owner, number) >= self._horizon.end:
                return
            yield from play(self._run, self._day(number, index))

    def _start(self, owner: Person | Service, number: int) -> int:
        if isinstance(owner, Person):
            return person_day_start(owner, number, self._horizon)
        return self._horizon.start + number * DAY

    def _day(self, number: int, index: int) -> Day:
        """Take somebody's day *number*, planned for everybody at once; a plan that is being played can go."""
        while self._planned <= number:
            for whose, day in enumerate(self._plan(self._planned)):
                self._days[self._planned, whose] = day
            self._planned += 1
        return self._days.pop((number, index))

    def _plan(self, number: int) -> list[Day]:
        people, services = self.population.people, self.population.services
        days = [plan_person(self._run, person, number, self._horizon) for person in people]
        days += [plan_service(self._run, service, number, self._horizon) for service in services]
        rng = chance(self._run, "fate", number)
        for families, share in zip((ATTACKS, ODDITIES), self._shares, strict=True):
            _strike(days, families, round(share * len(days)), rng)
        for day in days:
            _remember(day)
            end = self._horizon.end
            self.truth.extend(one.truth(end) for one in day.sessions if one.start < end)
        return days


def simulate(
    seed: int = 7,
    hours: float = 24.0,
    principals: int = 200,
    start_ms: int = MONDAY_MS,
    *,
    attack_share: float = 0.08,
    oddity_share: float = 0.2,
) -> Simulation:
    """Return *hours* in the life of *principals* people, services, keys and agents, the same for one *seed*.

    *attack_share* and *oddity_share*: attacks and honest oddities a day, for each person or service. Families
    take turns, as far as the days have room for them. Raises `ValueError` for a number that makes no sense.
    """
    if (
        hours <= 0
        or principals < 1
        or start_ms < 0
        or not 0 <= attack_share <= 1
        or not 0 <= oddity_share <= 1
    ):
        raise ValueError(
            "hours and principals must be positive, start_ms not negative, shares between 0 and 1"
        )
    run = identity(seed, start_ms)
    horizon = Horizon(start_ms, start_ms + int(hours * HOUR))
    return Simulation(run, populate(run, principals), horizon, (attack_share, oddity_share))


def _strike(days: list[Day], families: Sequence[Family], times: int, rng: Random) -> None:
    """Let *families* take turns, each coming over a day that has room for it and was left in peace so far."""
    order = list(families)
    rng.shuffle(order)
    for family in islice(cycle(order), times):
        free = [day for day in days if not day.taken]
        rng.shuffle(free)
        for day in free:
            if family.strike(day, rng):
                day.taken = True
                break


def _remember(day: Day) -> None:
    """Let a person's networks of an honest day be known to them the next day."""
    if isinstance(day.owner, Person):
        day.owner.networks |= set(_networks(day))


def _networks(day: Day) -> Iterable[int]:
    for session in day.sessions:
        if session.label == "benign" and session.principal_id == day.owner.principal_id:
            yield session.network.asn
            yield from (change.network.asn for change in session.changes if change.network is not None)
