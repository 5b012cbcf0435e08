"""A simulation: days are planned, struck by attacks and oddities, and merged into one stream of events.

Plans of a day are small and made for everybody at once; events are made one by one, as they are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import count
from random import Random
from typing import Any, Final

from pipeline.offline.simulation.attacks.catalogue import ATTACKS
from pipeline.offline.simulation.attacks.family import Family
from pipeline.offline.simulation.benign.catalogue import ODDITIES
from pipeline.offline.simulation.benign.noise import NONE, USUAL, Noise, disturbed
from pipeline.offline.simulation.emit import Timed, by_time, play
from pipeline.offline.simulation.plan import DAY, HOUR, INTENSITIES, Attempt, Day
from pipeline.offline.simulation.world.population import (
    Person,
    Population,
    Service,
    chance,
    identity,
    populate,
)
from pipeline.offline.simulation.world.workdays import Horizon, person_day_start, plan_person, plan_service
from pipeline.offline.simulation.world.world import WORLDS, World, WorldName
from pipeline.sources.ground_truth import Intensity, Truth

MONDAY_MS: Final = 1_772_409_600_000
"""2026-03-02T00:00:00Z, a Monday: where a simulation starts unless told otherwise."""
FAMILY_NAMES: Final = tuple(family.name for family in (*ATTACKS, *ODDITIES))
"""Every family that may be asked for."""

Card = tuple[Family, Intensity | None]
"""A family and how hard it strikes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What comes over days: so many of the cards of two decks a day, for each person or service."""

    attacks: tuple[Card, ...]
    oddities: tuple[Card, ...]
    attack_share: float
    oddity_share: float


class Simulation:
    """Iterate over it once, for (topic, event) in the order of arrival; then *truth* is complete.

    *attempts* holds the parameters that were drawn for every attack and oddity there was.
    """

    def __init__(
        self, run: str, world: World, population: Population, horizon: Horizon, fate: Fate, noise: Noise
    ) -> None:
        self.population = population
        self.truth: list[Truth] = []
        self.attempts: list[Attempt] = []
        self._noise = noise
        self._run = run
        self._world = world
        self._horizon = horizon
        self._planned = 0
        self._days: dict[tuple[int, int], Day] = {}
        self._decks = (
            (_Deck(fate.attacks, chance(run, "attacks")), fate.attack_share),
            (_Deck(fate.oddities, chance(run, "oddities")), fate.oddity_share),
        )

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        happening = self._happening()
        return happening if self._noise == NONE else disturbed(happening, self._noise, self._run)

    def _happening(self) -> Iterator[tuple[str, dict[str, Any]]]:
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
        for deck, share in self._decks:
            if deck.cards:
                self._strike(days, deck, int(share * len(days) + rng.random()), rng)
        for day in days:
            _remember(day)
            end = self._horizon.end
            self.truth.extend(session.truth(end) for session in day.sessions if session.start < end)
        return days

    def _strike(self, days: Sequence[Day], deck: _Deck, times: int, rng: Random) -> None:
        """Let so many of the *deck* come over *days*; what finds no room today stays on top of the deck."""
        order = list(days)
        kept: list[Card] = []
        for _ in range(times + 2 * len(deck.cards)):
            if times <= 0:
                break
            family, intensity = card = deck.draw()
            rng.shuffle(order)
            attempt = Attempt(family.name, self._world, rng, intensity)
            if card not in kept and family.strike(order, attempt):
                self.attempts.append(attempt)
                times -= 1
            elif card not in kept:
                kept.append(card)
        deck.put_back(kept)


@dataclass(slots=True)
class _Deck:
    """Cards, shuffled and dealt, and all again: over the days no family and no intensity is forgotten."""

    cards: tuple[Card, ...]
    rng: Random
    left: list[Card] = field(default_factory=list)

    def draw(self) -> Card:
        if not self.left:
            self.left = list(self.cards)
            self.rng.shuffle(self.left)
        return self.left.pop()

    def put_back(self, cards: Sequence[Card]) -> None:
        self.left += [card for card in cards if card not in self.left]


def simulate(  # noqa: PLR0913 - a world has many knobs; all but the first four go by name
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
    """Return *hours* in the life of *principals* people, services, keys and agents, the same for one *seed*.

    Args:
        seed: of everything; the two worlds share nothing of the same seed either.
        hours: how long; weeks give everybody a history.
        principals: how many ids there are to be principals.
        start_ms: when it begins, ms since the epoch.
        world: `train` or `test`: they have no person, device, network or parameter of an attack in common.
        attack_share: attacks a day, for each person or service, as far as the days have room for them.
        oddity_share: the same of honest oddities.
        families: the names of the attacks and oddities there are to be; all of them if not given.
        intensity: of all attacks; if not given they take turns.
        noise: how much arrives late, twice, incomplete or by a wrong clock: 0 is nothing, 1 what is usual.

    Raises `ValueError` for a number or a name that makes no sense.
    """
    if hours <= 0 or principals < 1 or start_ms < 0 or not 0 <= attack_share <= 1 or not 0 <= oddity_share <= 1:
        raise ValueError("hours and principals must be positive, start_ms not negative, shares between 0 and 1")
    run = identity(world, seed, start_ms)
    horizon = Horizon(start_ms, start_ms + int(hours * HOUR))
    attacks, oddities = _decks(families, intensity)
    fate = Fate(attacks=attacks, oddities=oddities, attack_share=attack_share, oddity_share=oddity_share)
    population = populate(run, principals, WORLDS[world])
    return Simulation(run, WORLDS[world], population, horizon, fate, USUAL.times(noise))


def _decks(families: Iterable[str] | None, intensity: Intensity | None) -> tuple[tuple[Card, ...], tuple[Card, ...]]:
    """The cards of the *families* asked for: attacks of each intensity, and oddities."""
    wanted = set(FAMILY_NAMES if families is None else families)
    if unknown := wanted - set(FAMILY_NAMES):
        raise ValueError(f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(FAMILY_NAMES)}")
    levels = INTENSITIES if intensity is None else (intensity,)
    attacks = tuple((family, level) for family in ATTACKS if family.name in wanted for level in levels)
    return attacks, tuple((family, None) for family in ODDITIES if family.name in wanted)


def _remember(day: Day) -> None:
    """Let a person's networks of an honest day be known to them the next day."""
    if isinstance(day.owner, Person):
        day.owner.networks |= set(_networks(day))


def _networks(day: Day) -> Iterable[int]:
    for session in day.sessions:
        if session.label == "benign" and session.principal_id == day.owner.principal_id:
            yield session.network.asn
            yield from (change.network.asn for change in session.changes if change.network is not None)
