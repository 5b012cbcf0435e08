"""Simulation: plans days, applies attacks and oddities, and merges all events into one stream.

The plans of a day are small and made for everybody at once; events are made one by one, as they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

from pipeline.offline.simulation.attacks.catalogue import ATTACKS
from pipeline.offline.simulation.attacks.family import Family
from pipeline.offline.simulation.benign.catalogue import ODDITIES
from pipeline.offline.simulation.benign.noise import NONE, USUAL, Noise, with_noise
from pipeline.offline.simulation.emit import Timed, by_time, emit
from pipeline.offline.simulation.plan import DAY, HOUR, INTENSITIES, Attempt, Day, Session
from pipeline.offline.simulation.world.population import (
    Person,
    Population,
    Service,
    populate,
    rng_for,
    short_id,
)
from pipeline.offline.simulation.world.workdays import Horizon, person_day_start, plan_person, plan_service
from pipeline.offline.simulation.world.world import WORLDS, World, WorldName
from pipeline.sources.ground_truth import Intensity, Truth

MONDAY_MS: Final = 1_772_409_600_000
"""2026-03-02T00:00:00Z, a Monday: the default start of a simulation."""
FAMILY_NAMES: Final = tuple(family.name for family in (*ATTACKS, *ODDITIES))
"""Every family that can be selected."""

Variant = tuple[Family, Intensity | None]
"""A family and its intensity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """The attacks and oddities of a simulation, and their numbers per day and person or service."""

    attacks: tuple[Variant, ...]
    oddities: tuple[Variant, ...]
    attack_share: float
    oddity_share: float


class Simulated(NamedTuple):
    """What is known of a session: its truth, whose it is, and its first and last moment (ms since 1970)."""

    truth: Truth
    principal_id: str
    kind: str
    first_at: int
    last_at: int


class Simulation:
    """Iterable of (topic, event) in order of arrival; *sessions* is complete after one iteration.

    *attempts* has the parameters that were drawn for every attack and oddity.
    """

    def __init__(
        self, run: str, world: World, population: Population, horizon: Horizon, mix: Mix, noise: Noise
    ) -> None:
        self.population = population
        self.horizon = horizon
        self.sessions: list[Simulated] = []
        self.attempts: list[Attempt] = []
        self._noise = noise
        self._run = run
        self._world = world
        self._planned = 0
        self._days: dict[tuple[int, int], Day] = {}
        self._variants = (
            (_Rotation(mix.attacks, rng_for(run, "attacks")), mix.attack_share),
            (_Rotation(mix.oddities, rng_for(run, "oddities")), mix.oddity_share),
        )

    @property
    def truth(self) -> list[Truth]:
        """The ground truth of all *sessions*."""
        return [session.truth for session in self.sessions]

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        events = self._events()
        return events if self._noise == NONE else with_noise(events, self._noise, self._run)

    def _events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        owners: tuple[Person | Service, ...] = (*self.population.people, *self.population.services)
        streams = [self._stream(index, owner) for index, owner in enumerate(owners)]
        for at, topic, event in merge(*streams, key=by_time):
            if at >= self.horizon.end:
                return
            if at >= self.horizon.start:
                yield topic, event

    def _stream(self, index: int, owner: Person | Service) -> Iterator[Timed]:
        for number in count():
            if self._start(owner, number) >= self.horizon.end:
                return
            yield from emit(self._run, self._day(number, index))

    def _start(self, owner: Person | Service, number: int) -> int:
        if isinstance(owner, Person):
            return person_day_start(owner, number, self.horizon)
        return self.horizon.start + number * DAY

    def _day(self, number: int, index: int) -> Day:
        """Return the day *number* of owner *index*, planned for everybody at once; a returned plan is forgotten."""
        while self._planned <= number:
            for owner, day in enumerate(self._plan(self._planned)):
                self._days[self._planned, owner] = day
            self._planned += 1
        return self._days.pop((number, index))

    def _plan(self, number: int) -> list[Day]:
        people, services = self.population.people, self.population.services
        days = [plan_person(self._run, person, number, self.horizon) for person in people]
        days += [plan_service(self._run, service, number, self.horizon) for service in services]
        rng = rng_for(self._run, "fate", number)
        for rotation, share in self._variants:
            if rotation.variants:
                self._apply(days, rotation, int(share * len(days) + rng.random()), rng)
        end = self.horizon.end
        for day in days:
            _learn_networks(day)
            self.sessions.extend(_known(session, end) for session in day.sessions if session.start < end)
        return days

    def _apply(self, days: Sequence[Day], rotation: _Rotation, times: int, rng: Random) -> None:
        """Apply *times* variants of the *rotation* to *days*; those without a suitable session come first next time."""
        order = list(days)
        unused: list[Variant] = []
        for _ in range(times + 2 * len(rotation.variants)):
            if times <= 0:
                break
            family, intensity = variant = rotation.draw()
            rng.shuffle(order)
            attempt = Attempt(family.name, self._world, rng, intensity)
            if variant not in unused and family.apply(order, attempt):
                self.attempts.append(attempt)
                times -= 1
            elif variant not in unused:
                unused.append(variant)
        rotation.put_back(unused)


@dataclass(slots=True)
class _Rotation:
    """Draws all variants in random order, then again, so that every family and intensity occurs over the days."""

    variants: tuple[Variant, ...]
    rng: Random
    left: list[Variant] = field(default_factory=list)

    def draw(self) -> Variant:
        if not self.left:
            self.left = list(self.variants)
            self.rng.shuffle(self.left)
        return self.left.pop()

    def put_back(self, variants: Sequence[Variant]) -> None:
        self.left += [variant for variant in variants if variant not in self.left]


def simulate(  # noqa: PLR0913 - all but the first four are passed by name
    seed: int = 7,
    hours: float = 24.0,
    principals: int = 200,
    start_ms: int = MONDAY_MS,
    *,
    world: WorldName = "test",
    attack_share: float = 0.02,
    oddity_share: float = 0.1,
    families: Iterable[str] | None = None,
    intensity: Intensity | None = None,
    noise: float = 1.0,
) -> Simulation:
    """Return a simulation of *principals* people, services, keys and agents over *hours*.

    Args:
        seed: the seed of everything; the same seed gives the same bytes. The two worlds differ even for the same seed.
        hours: the duration; with weeks, everybody gets a history.
        principals: the number of principal ids.
        start_ms: the start, in ms since 1970.
        world: `train` or `test`: they have no person, device, network or parameter of an attack in common.
        attack_share: attacks per day and person or service, if days have suitable sessions.
        oddity_share: the same for honest oddities.
        families: names of the attacks and oddities to include; all by default.
        intensity: the intensity of all attacks; by default, they alternate.
        noise: how many events are late, repeated, incomplete or from a wrong clock: 0 none, 1 usual.

    Raises:
        ValueError: a number is out of range, or a name is unknown.
    """
    if hours <= 0 or principals < 1 or start_ms < 0 or not 0 <= attack_share <= 1 or not 0 <= oddity_share <= 1:
        raise ValueError("hours and principals must be positive, start_ms not negative, shares between 0 and 1")
    run = short_id(world, seed, start_ms)
    horizon = Horizon(start_ms, start_ms + int(hours * HOUR))
    attacks, oddities = _variants(families, intensity)
    mix = Mix(attacks=attacks, oddities=oddities, attack_share=attack_share, oddity_share=oddity_share)
    population = populate(run, principals, WORLDS[world])
    return Simulation(run, WORLDS[world], population, horizon, mix, USUAL.times(noise))


def _variants(
    families: Iterable[str] | None, intensity: Intensity | None
) -> tuple[tuple[Variant, ...], tuple[Variant, ...]]:
    """The variants of the selected *families*: attacks of each intensity, and oddities."""
    wanted = set(FAMILY_NAMES if families is None else families)
    if unknown := wanted - set(FAMILY_NAMES):
        raise ValueError(f"no such family: {', '.join(sorted(unknown))}; families are {', '.join(FAMILY_NAMES)}")
    levels = INTENSITIES if intensity is None else (intensity,)
    attacks = tuple((family, level) for family in ATTACKS if family.name in wanted for level in levels)
    return attacks, tuple((family, None) for family in ODDITIES if family.name in wanted)


def _known(session: Session, end: int) -> Simulated:
    last_at = min(session.end, end)
    return Simulated(session.truth(end), session.principal_id, session.kind, session.start, last_at)


def _learn_networks(day: Day) -> None:
    """Add the networks of a person's honest sessions to those they are known to use."""
    if isinstance(day.owner, Person):
        day.owner.networks |= set(_networks(day))


def _networks(day: Day) -> Iterable[int]:
    for session in day.sessions:
        if session.label == "benign" and session.principal_id == day.owner.principal_id:
            yield session.network.asn
            yield from (change.network.asn for change in session.changes if change.network is not None)
