"""Honest oddities that affect a whole company at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipeline.offline.simulation.attacks.family import (
    at_the_desk,
    calls,
    companies,
    paced,
    person_of,
    untouched,
)
from pipeline.offline.simulation.plan import HOUR, MINUTE, SECOND, Attempt, Day, Session
from pipeline.offline.simulation.world.population import Person
from pipeline.offline.simulation.world.work import MONTH_END, RELEASES

FACTS: Final[tuple[dict[str, Any], ...]] = (
    {"compliant": False},
    {"screen_lock": False, "compliant": False},
    {"managed": False},
    {"encrypted": False, "compliant": False},
)
"""Posture facts that a new policy, or a mistake in one, changes on all devices."""


def policy_rollout(days: Sequence[Day], attempt: Attempt) -> bool:
    """A policy reaches every device of a company within an hour, and changes the same fact on all."""
    company, at = _busiest(days, attempt)
    fact = attempt.rng.choice(FACTS)
    back = attempt.rng.randint(2, 5) * HOUR
    for day in company:
        for plan in day.devices.values():
            flips = at + attempt.rng.randrange(HOUR)
            plan.changes.append((flips, dict(fact)))
            plan.changes.append((flips + back, dict.fromkeys(fact, True)))
        _label(day, at, at + HOUR + back, "policy_rollout")
    return bool(company)


def telemetry_outage(days: Sequence[Day], attempt: Attempt) -> bool:
    """The telemetry collector of a company's region is down: no device reports for twenty minutes."""
    company, at = _busiest(days, attempt)
    until = at + 20 * MINUTE
    for day in company:
        for plan in day.devices.values():
            plan.gaps.append((at, until))
        _label(day, at, until, "telemetry_outage")
    return bool(company)


def office_nat(days: Sequence[Day], attempt: Attempt) -> bool:
    """After a change of passwords, many people in one office, behind one address, mistype theirs."""
    company, _ = _busiest(days, attempt)
    offices: dict[int, list[Session]] = {}
    for day in company:
        desk = [session for session in day.sessions if at_the_desk(day)(session) and session.network == _office(day)]
        if desk:
            offices.setdefault(desk[0].network.asn, []).append(desk[0])
    fullest = max(offices.values(), key=len, default=[])
    for session in fullest:
        if attempt.rng.random() < 0.6:
            slips = attempt.rng.randint(1, 3)
            wrong: list[tuple[int, str, dict[str, Any]]] = [
                (n * 8 * SECOND, "sign_in_failed", {"reason": "wrong password"}) for n in range(slips)
            ]
            later = slips * 8 * SECOND
            session.opening = wrong + [(after + later, action, fields) for after, action, fields in session.opening]
        session.family = "office_nat"
    return bool(fullest)


def new_release(days: Sequence[Day], attempt: Attempt) -> bool:
    """A release: from today on, everybody in a company uses an operation that is new."""
    company, at = _busiest(days, attempt)
    operation = attempt.rng.choice(RELEASES)
    for day in company:
        person = person_of(day)
        if operation not in person.released:
            person.released += (operation,)
        for session in day.sessions:
            if at_the_desk(day)(session) and session.end > at + 5 * MINUTE:
                first = max(at, session.start + MINUTE) + attempt.rng.randrange(20 * MINUTE)
                times = paced(first, attempt.rng.randint(3, 18), 240, attempt.rng)
                calls(session, times, (operation,), attempt.rng)
                session.family = "new_release"
    return bool(company)


def quarter_end(days: Sequence[Day], attempt: Attempt) -> bool:
    """End of the quarter: finance and analysts of a company read far more, all afternoon."""
    company, at = _busiest(days, attempt)
    touched = False
    for day in company:
        if person_of(day).role not in {"finance", "analyst"}:
            continue
        for session in day.sessions:
            if at_the_desk(day)(session) and session.end > at + 30 * MINUTE:
                first = max(at, session.start + 2 * MINUTE)
                times = paced(first, (session.end - first) // (80 * SECOND), 80, attempt.rng)
                calls(session, times, (MONTH_END,), attempt.rng)
                session.family, touched = "quarter_end", True
    return touched


def _busiest(days: Sequence[Day], attempt: Attempt) -> tuple[list[Day], int]:
    """A company that is at work, and a time (ms) at which it is; an empty list and 0 if none is."""
    for company in companies(days):
        starts = sorted(
            session.start
            for day in company
            for session in day.sessions
            if at_the_desk(day)(session) and session.start + 3 * HOUR < day.until
        )
        if starts:
            return company, starts[len(starts) // 2] + attempt.rng.randint(20, 50) * MINUTE
    return [], 0


def _label(day: Day, since: int, until: int, family: str) -> None:
    """Set the family of untouched sessions on devices of *day* between *since* and *until*."""
    for session in day.sessions:
        if session.device_id is not None and untouched(session) and session.start < until and session.end > since:
            session.family = family


def _office(day: Day) -> object:
    return day.owner.office if isinstance(day.owner, Person) else None
