"""Rows of the tables of attacks and oddities, and the functions they share: choosing sessions and adding calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from pipeline.offline.simulation.plan import ORDINARY, SECOND, Attempt, Change, Day, Extra, Pace, Session
from pipeline.offline.simulation.world.clients import Client
from pipeline.offline.simulation.world.operations import Operation, call
from pipeline.offline.simulation.world.places import Network
from pipeline.offline.simulation.world.population import Person, short_id

BY_AN_INTRUDER: Final = Pace(10, 60, 0.1)
Apply = Callable[[Sequence[Day], Attempt], bool]
"""Changes the plans of days and marks the sessions concerned; returns whether it found a suitable session."""


@dataclass(frozen=True, slots=True)
class Family:
    """One row: an attack or oddity on the day of a person or company.

    *detections* are the ids of detections of which at least one is expected; none for an honest oddity.
    """

    name: str
    text: str
    apply: Apply
    detections: tuple[str, ...] = ()


def on_one_day(apply: Callable[[Day, Attempt], bool]) -> Apply:
    """Turn a function of one day into one of many: the first suitable day that is not affected yet is changed."""

    def over(days: Sequence[Day], attempt: Attempt) -> bool:
        for day in days:
            if not day.is_affected and apply(day, attempt):
                day.is_affected = True
                return True
        return False

    return over


def companies(days: Sequence[Day]) -> list[list[Day]]:
    """Return the days of people by company, companies in order of their first day."""
    found: dict[str, list[Day]] = {}
    for day in days:
        if isinstance(day.owner, Person):
            found.setdefault(day.owner.tenant.name, []).append(day)
    return list(found.values())


def untouched(session: Session) -> bool:
    """Whether the session has no attack or oddity yet."""
    return session.family == ORDINARY and session.label == "benign"


def of_a_human(session: Session) -> bool:
    """Whether it is an untouched session of a person."""
    return session.kind == "human" and untouched(session)


def of_kind(kind: str) -> Callable[[Session], bool]:
    """Return a test for the untouched sessions of a kind of principal."""
    return lambda session: session.kind == kind and untouched(session)


def at_the_desk(day: Day) -> Callable[[Session], bool]:
    """Return a test for the untouched sessions on the person's laptop."""
    return lambda session: of_a_human(session) and session.device_id == person_of(day).laptop.device_id


def on_the_phone(day: Day) -> Callable[[Session], bool]:
    """Return a test for the untouched sessions on the person's phone."""
    return lambda session: of_a_human(session) and session.device_id == person_of(day).phone.device_id


def settled(day: Day) -> Callable[[Session], bool]:
    """Return a test for a human's sessions with a history to compare with."""
    return lambda session: of_a_human(session) and day.has_history(session)


def calls(
    session: Session,
    times: Iterable[int],
    operations: Sequence[Operation],
    rng: Random,
    *,
    network: Network | None = None,
    client: Client | None = None,
) -> None:
    """Add a call to *session* at each of *times* (ms); calls from another *network* have no device."""
    shown = elsewhere(network, client)
    for at in times:
        if at >= session.end:
            break
        session.extras.append(Extra(at, "api.call", shown | call(rng.choice(operations), rng)))


def elsewhere(network: Network | None, client: Client | None = None) -> dict[str, Any]:
    """Return the event fields of somebody who has the session, but not the device."""
    shown: dict[str, Any] = {} if network is None else network.fields() | {"device_id": None}
    return shown if client is None else shown | client.fields()


def paced(start: int, count: int, gap_s: float, rng: Random) -> list[int]:
    """Return *count* times (ms) from *start* on, about *gap_s* seconds apart."""
    times = [start]
    while len(times) < count:
        times.append(times[-1] + int(gap_s * rng.uniform(0.5, 1.5) * SECOND))
    return times


def intrusion(  # noqa: PLR0913 - fields of a session; the last are passed by name
    day: Day,
    name: str,
    at: int,
    end: int,
    shown: tuple[Network, Client],
    opening: list[tuple[int, str, dict[str, Any]]],
    *,
    operations: tuple[Operation, ...],
    pace: Pace = BY_AN_INTRUDER,
    device_id: str | None = None,
) -> Session:
    """Add to *day* a session of its owner that an intruder signed in to, and return it.

    *shown* is the network and client of the intruder, *opening* as in :class:`Session`.
    """
    session = Session(
        session_id=f"s-{short_id(day.owner.principal_id, day.start, name, at)}",
        tenant=day.owner.tenant.name,
        principal_id=day.owner.principal_id,
        kind="human",
        operations=operations,
        pace=pace,
        start=at,
        end=min(end, day.over),
        network=shown[0],
        client=shown[1],
        opening=opening,
        device_id=device_id,
        foreign=True,
    )
    day.sessions.append(session)
    return session


def move(day: Day, session: Session, at: int, network: Network, rng: Random) -> None:
    """Let an honest person change networks; if the new one is not known, they pass the step-up."""
    session.changes.append(Change(at, network=network))
    calls(session, [at], session.operations, rng)
    known = _networks_before(day, session.principal_id, at)
    if network.asn not in known:
        answered = at + rng.randint(20, 80) * SECOND
        session.extras.append(Extra(answered, "auth.event", {"action": "step_up_passed", "amr": ["hwk", "user"]}))


def _networks_before(day: Day, principal_id: str, at: int) -> set[int]:
    known = set(day.owner.networks) if isinstance(day.owner, Person) else set()
    for session in day.sessions:
        if session.principal_id == principal_id and session.start < at:
            known.add(session.network.asn)
            known.update(c.network.asn for c in session.changes if c.network is not None and c.at < at)
    return known


def person_of(day: Day) -> Person:
    """Return the person whose day it is; `TypeError` for a service's day."""
    if not isinstance(day.owner, Person):
        raise TypeError(f"{day.owner.principal_id} is a service, but a person is needed")
    return day.owner
