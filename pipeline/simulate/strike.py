"""What attacks and oddities share: the row they are in their tables, and ways to choose and to call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from pipeline.simulate.clients import Client
from pipeline.simulate.operations import Operation, call
from pipeline.simulate.places import Network
from pipeline.simulate.plan import ORDINARY, SECOND, Change, Day, Extra, Session
from pipeline.simulate.population import Person


@dataclass(frozen=True, slots=True)
class Family:
    """One row: something that may come over a day.

    *strike* changes the plan of a day and marks the sessions concerned; it returns whether the day had room.
    *detections* are the ids expected to answer it, any of which will do; none for an honest oddity.
    """

    name: str
    text: str
    strike: Callable[[Day, Random], bool]
    detections: tuple[str, ...] = ()


def untouched(session: Session) -> bool:
    """Whether nothing has come over the session yet."""
    return session.family == ORDINARY and session.label == "benign"


def of_a_human(session: Session) -> bool:
    """Whether it is a person's session, and untouched."""
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
    operations: tuple[Operation, ...],
    rng: Random,
    *,
    network: Network | None = None,
    client: Client | None = None,
) -> None:
    """Add a call to *session* at each of *times* (ms); from another *network* the device is not known."""
    shown: dict[str, Any] = {}
    if network is not None:
        shown = network.members() | {"device_id": None}
    if client is not None:
        shown |= client.members()
    for at in times:
        if at >= session.end:
            break
        chosen = rng.choice(operations)
        session.extras.append(Extra(at, "api.call", shown | call(chosen, rng)))


def paced(start: int, count: int, seconds: tuple[float, float], rng: Random) -> list[int]:
    """Return *count* times (ms) from *start* on, each so many *seconds* after the one before."""
    times = [start]
    while len(times) < count:
        times.append(times[-1] + int(rng.uniform(*seconds) * SECOND))
    return times


def move(day: Day, session: Session, at: int, network: Network, rng: Random) -> None:
    """Let an honest person change networks; where the new one is not known, they pass the step-up."""
    session.changes.append(Change(at, network=network))
    calls(session, [at], session.operations, rng)
    known = _networks_before(day, session.principal_id, at)
    if network.asn not in known:
        answered = at + rng.randint(20, 80) * SECOND
        session.extras.append(
            Extra(answered, "auth.event", {"action": "step_up_passed", "amr": ["hwk", "user"]})
        )


def _networks_before(day: Day, principal_id: str, at: int) -> set[int]:
    known = set(day.owner.networks) if isinstance(day.owner, Person) else set()
    for session in day.sessions:
        if session.principal_id == principal_id and session.start < at:
            known.add(session.network.asn)
            known.update(c.network.asn for c in session.changes if c.network is not None and c.at < at)
    return known


def person_of(day: Day) -> Person:
    """Return whose day it is; `TypeError` where it is a service's."""
    if not isinstance(day.owner, Person):
        raise TypeError(f"{day.owner.principal_id} is a service: it has neither desk nor phone")
    return day.owner
