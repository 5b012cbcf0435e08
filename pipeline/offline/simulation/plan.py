"""Plan of a day as plain data: sessions, devices, and what happens to them. No events are made here.

Days are planned first, then changed by attacks and oddities, and then turned into events (`emit`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, NamedTuple, TypeVar

from pipeline.offline.simulation.world.clients import Client
from pipeline.offline.simulation.world.operations import NO_HABIT, Habit, Operation
from pipeline.offline.simulation.world.places import Network
from pipeline.offline.simulation.world.population import Device, Person, Service
from pipeline.offline.simulation.world.world import World
from pipeline.sources.ground_truth import Intensity, Truth

Item = TypeVar("Item")
Whole = tuple[int, int]
Real = tuple[float, float]

INTENSITIES: Final[tuple[Intensity, ...]] = ("low", "medium", "high")
"""`low` is stealthy, slow and small; `high` is conspicuous."""


@dataclass(slots=True)
class Attempt:
    """Draws the parameters of one attack or oddity and stores them in *drawn*.

    If a method gets three ranges, they are those of the intensities from low to high; a single range is for all.
    *intensity* is None for an oddity.
    """

    family: str
    world: World
    rng: Random
    intensity: Intensity | None = None
    drawn: dict[str, float | str] = field(default_factory=dict)

    def whole(self, name: str, *ranges: Whole) -> int:
        """Draw a whole number, the parameter *name*."""
        value = self.world.whole(self.rng, *self._own(ranges))
        self.drawn[name] = value
        return value

    def real(self, name: str, *ranges: Real) -> float:
        """Draw a number, the parameter *name*."""
        value = self.world.real(self.rng, *self._own(ranges))
        self.drawn[name] = value
        return value

    def pick(self, name: str, table: Sequence[Item]) -> Item:
        """Choose one of this world's rows of *table*, the parameter *name*."""
        row = self.rng.choice(self.world.share(table))
        self.drawn[name] = str(row)
        return row

    def at_least(self, intensity: Intensity) -> bool:
        """Whether the attempt is of this intensity or a higher one."""
        return self.intensity is not None and INTENSITIES.index(self.intensity) >= INTENSITIES.index(intensity)

    def _own(self, ranges: tuple[Item, ...]) -> Item:
        if len(ranges) == 1 or self.intensity is None:
            return ranges[0]
        return ranges[INTENSITIES.index(self.intensity)]


SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
ORDINARY: Final = "ordinary"
"""The family of a session without attack or oddity."""


class Change(NamedTuple):
    """From *at* on (ms), a session has another network or other software."""

    at: int
    network: Network | None = None
    client: Client | None = None


class Extra(NamedTuple):
    """An event besides the ordinary ones of a session; *fields* override the fields of the session."""

    at: int
    type: Literal["auth.event", "api.call"]
    fields: dict[str, Any]


class Pace(NamedTuple):
    """Intervals of calls: about *short* seconds, with probability *pause* about *long*."""

    short: float
    long: float = 0.0
    pause: float = 0.0

    def times(self, volume: float) -> Pace:
        """Return the pace of somebody who makes *volume* times as many calls."""
        return Pace(self.short / volume, self.long / volume, self.pause)


@dataclass(slots=True, kw_only=True)
class Session:
    """A planned session. *opening*: the auth events it begins with, as (ms after start, action, fields).

    From *idle_from* on there are no ordinary calls, only extra events. A session whose sign-in failed is not *closed*
    by a sign-out. A *foreign* session was opened by an intruder, whatever device it names.
    """

    session_id: str
    tenant: str
    principal_id: str
    kind: Literal["human", "service", "api_key", "agent"]
    operations: tuple[Operation, ...]
    pace: Pace
    start: int
    end: int
    network: Network
    client: Client
    opening: list[tuple[int, str, dict[str, Any]]]
    habit: Habit = NO_HABIT
    device_id: str | None = None
    parent: Session | None = None
    refreshes: list[int] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    extras: list[Extra] = field(default_factory=list)
    idle_from: int | None = None
    closed: bool = True
    foreign: bool = False
    label: Literal["benign", "attack"] = "benign"
    family: str = ORDINARY
    intensity: Intensity | None = None
    attacked_at: int | None = None

    def truth(self, end: int) -> Truth:
        """Return the ground truth of this session, in a simulation that stops at *end*."""
        return Truth(
            tenant=self.tenant,
            session_id=self.session_id,
            label=self.label,
            family=self.family,
            intensity=self.intensity,
            started_at=self.start if self.attacked_at is None else self.attacked_at,
            ended_at=min(self.end, end),
        )


@dataclass(slots=True)
class DevicePlan:
    """Telemetry of a device on a day: *changes* of posture by time, and when it becomes silent or unattested.

    *gaps* (from, to) are temporary silences. From *clock_from* on, its clock is *clock_off* ms ahead.
    """

    device: Device
    changes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    silent_from: int | None = None
    unattested_from: int | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    clock_from: int | None = None
    clock_off: int = 0


@dataclass(slots=True)
class Day:
    """A day of a person with their keys and agents, or of a service. Events are emitted only *until* then (ms)."""

    number: int
    owner: Person | Service
    start: int
    until: int
    sessions: list[Session] = field(default_factory=list)
    devices: dict[str, DevicePlan] = field(default_factory=dict)
    is_affected: bool = False

    def reports(self, session: Session) -> bool:
        """Whether *session* is bound to a device that sends telemetry."""
        plan = self.devices.get(session.device_id or "")
        return plan is not None and plan.device.reporting

    def pick(
        self,
        rng: Random,
        fits: Callable[[Session], bool],
        before: int = 10 * MINUTE,
        after: int = 15 * MINUTE,
    ) -> tuple[Session, int] | None:
        """Choose a session that *fits*, if any, and a time in it (ms) with so much of it *before* and *after*."""
        candidates = [
            session
            for session in self.sessions
            if fits(session) and min(session.end, self.until) - session.start >= before + after
        ]
        if not candidates:
            return None
        session = rng.choice(candidates)
        return session, rng.randint(session.start + before, min(session.end, self.until) - after)

    def has_history(self, session: Session) -> bool:
        """Whether the same principal had an earlier session, so that a baseline can exist."""
        return any(other.principal_id == session.principal_id and other.end <= session.start for other in self.sessions)

    def has_children(self, session: Session) -> bool:
        """Whether an API key's or an agent's session is a child of it."""
        return any(other.parent is session for other in self.sessions)

    def is_latest(self, session: Session) -> bool:
        """Whether no other session of the same principal begins during this one."""
        return not any(
            other.principal_id == session.principal_id and session.start < other.start <= session.end
            for other in self.sessions
        )

    @property
    def over(self) -> int:
        """The time (ms) by which everything of this day must end."""
        return self.start + DAY - 5 * MINUTE

    def mark_attacked(self, session: Session, at: int, attempt: Attempt, family: str = "") -> None:
        """Label *session* as attacked from *at* on, and its children as attacked through it."""
        session.label, session.family = "attack", family or attempt.family
        session.intensity, session.attacked_at = attempt.intensity, max(at, session.start)
        for child in self.sessions:
            if child.parent is session and child.end > at and child.label == "benign":
                self.mark_attacked(child, at, attempt, "ancestor_revoked")

    def mark_device_attacked(self, device_id: str, at: int, attempt: Attempt) -> None:
        """Label every session on the device as attacked from *at* on."""
        on_device = [session for session in self.sessions if session.device_id == device_id and session.end > at]
        for session in on_device:
            session.label = "attack"
        for session in on_device:
            self.mark_attacked(session, at, attempt)
