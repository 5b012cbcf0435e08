"""Plans of honest days: sessions of people, their keys and agents, and of services.

A session is signed out before its device stops reporting. A person's day lasts from the hour at which their shift
turns (03:00 local time for most) to the same hour a day later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from pipeline.offline.simulation.plan import DAY, HOUR, MINUTE, SECOND, Day, DevicePlan, Extra, Pace, Session
from pipeline.offline.simulation.world.clients import ASSISTANTS, KEY_CLIENT, SERVICE_CLIENT
from pipeline.offline.simulation.world.operations import Habit, Operation, call, scopes
from pipeline.offline.simulation.world.places import Network
from pipeline.offline.simulation.world.population import WORK, Person, Service, rng_for, short_id
from pipeline.offline.simulation.world.work import APPLIED, MINT, NIGHTLY, ON_THE_PHONE, ROLES

AT_A_DESK: Final = Pace(7, 110, 0.16)
BY_HAND: Final = Pace(9, 150, 0.3)
BY_KEY: Final = Pace(30)
BY_AGENT: Final = Pace(8, 60, 0.15)
MIN_SESSION_MS: Final = 8 * MINUTE


@dataclass(frozen=True, slots=True)
class Horizon:
    """The simulated time in ms, from *start* to before *end*."""

    start: int
    end: int


def person_day_start(person: Person, number: int, horizon: Horizon) -> int:
    """Return when the day *number* of *person* begins (ms); the simulation begins in day 0."""
    local = horizon.start + person.city.utc_offset * HOUR
    return local // DAY * DAY + (person.shift.turns - person.city.utc_offset) * HOUR + number * DAY


def plan_person(run: str, person: Person, number: int, horizon: Horizon) -> Day:
    """Plan an honest day of *person*: phone, laptop, agents and keys; mostly no sessions on days off."""
    rng = rng_for(run, person.principal_id, "day", number)
    start = person_day_start(person, number, horizon)
    day = Day(number, person, start, min(start + DAY, horizon.end))
    for device in (person.laptop, person.phone):
        day.devices[device.device_id] = DevicePlan(device)
    weekday = ((start + person.city.utc_offset * HOUR) // DAY + 3) % 7  # 1970-01-01 was a Thursday
    works = rng.random() < (0.95 if weekday in person.shift.weekdays else 0.05)
    if works:
        sessions = _working_day(run, day, person, rng)
        there = [session for session in sessions if session.start >= person.away_until]
        day.sessions = [session for session in there if _within(session, horizon, rng)]
        _add_keys(run, day, person, rng)
        _add_agents(run, day, person, rng)
    return day


def human(run: str, day: Day, person: Person, start: int, end: int, *, phone: bool, network: Network) -> Session:
    """Plan one session of *person* from *start* to *end* (ms), on their phone or laptop."""
    device = person.phone if phone else person.laptop
    return Session(
        session_id=f"s-{short_id(run, person.principal_id, day.number, start, phone)}",
        tenant=person.tenant.name,
        principal_id=person.principal_id,
        kind="human",
        operations=ON_THE_PHONE if phone else desk_work(person),
        pace=(BY_HAND if phone else AT_A_DESK).times(person.volume),
        start=start,
        end=end,
        network=network,
        client=person.app if phone else person.browser,
        opening=sign_in_events(ON_THE_PHONE if phone else desk_work(person), phone=phone),
        habit=person.habit,
        device_id=device.device_id,
        refreshes=list(range(start + 50 * MINUTE, end - 2 * MINUTE, 50 * MINUTE)),
    )


def desk_work(person: Person) -> tuple[Operation, ...]:
    """Return the operations of *person* at a desk, including new releases."""
    return ROLES[person.role] + person.released


def sign_in_events(operations: tuple[Operation, ...], *, phone: bool = False) -> list[tuple[int, str, dict[str, Any]]]:
    """Return the opening of an honest session: a first factor, a second, and a token for *operations*."""
    first = ["face", "hwk"] if phone else ["pwd"]
    return [
        (0, "sign_in", {"amr": first}),
        (1200, "mfa_challenged", {}),
        (9400, "mfa_passed", {"amr": ["hwk", "user"]}),
        (9700, "token_issued", {"acr": "phr", "scopes": scopes(operations)}),
    ]


def _working_day(run: str, day: Day, person: Person, rng: Random) -> list[Session]:
    """Phone at breakfast, on the way, at lunch and at work; two blocks at a desk; sometimes work at night."""
    shift = person.shift
    midnight = day.start - shift.turns * HOUR
    begins = midnight + int((shift.starts + rng.gauss(0, 0.25)) * HOUR)
    lunch = begins + int(rng.uniform(*shift.first) * HOUR)
    back = lunch + rng.randint(35, 65) * MINUTE
    ends = back + int(rng.uniform(*shift.second) * HOUR)
    out = person.office is not None and rng.random() < 0.75
    desk = person.office if out and person.office is not None else person.relay or person.home
    wifi = replace(desk, network_type=desk.network_type if desk is person.relay else "wifi")

    def at(start: int, minutes: float, *, phone: bool, network: Network) -> Session:
        return human(run, day, person, start, start + int(minutes * MINUTE), phone=phone, network=network)

    plan = [
        at(begins - rng.randint(55, 75) * MINUTE, rng.uniform(10, 18), phone=True, network=person.home),
        at(begins, (lunch - begins) / MINUTE - 2, phone=False, network=desk),
        at(lunch, rng.uniform(12, 28), phone=True, network=person.mobile),
        at(back, (ends - back) / MINUTE, phone=False, network=desk),
        at(back + rng.randint(5, 25) * MINUTE, _phone_minutes(ends - back, rng), phone=True, network=wifi),
    ]
    if out:
        plan.append(at(begins - 35 * MINUTE, rng.uniform(12, 25), phone=True, network=person.mobile))
        plan.append(at(ends + 5 * MINUTE, rng.uniform(12, 25), phone=True, network=person.mobile))
    if rng.random() < 0.2:
        plan.append(at(ends + rng.randint(110, 150) * MINUTE, rng.uniform(25, 70), phone=False, network=person.home))
    return sorted(plan, key=lambda session: session.start)


def _phone_minutes(afternoon: int, rng: Random) -> float:
    """Minutes of the phone session in an *afternoon* of this length in ms."""
    return min(rng.uniform(75, 150), afternoon / MINUTE)


def _within(session: Session, horizon: Horizon, rng: Random) -> bool:
    """Whether the session is in the horizon; one that would begin before it begins a little late instead."""
    if session.start < horizon.start:
        session.start = horizon.start + rng.randrange(10 * MINUTE)
        session.refreshes = [at for at in session.refreshes if at > session.start + MINUTE]
    return session.start < horizon.end and session.end - session.start >= MIN_SESSION_MS


def _add_keys(run: str, day: Day, person: Person, rng: Random) -> None:
    """Create the person's API keys in the day's first desk session; they are used from the cloud until night."""
    desk = [session for session in day.sessions if session.device_id == person.laptop.device_id]
    for key, operations in person.keys if desk else []:
        parent = desk[0]
        minted = parent.start + rng.randint(60, 240) * SECOND
        parent.extras.append(Extra(minted, "api.call", call(MINT, rng) | {"status": 201, "records": 1}))
        parent.extras.append(Extra(minted + 300, "auth.event", {"action": "credential_added"}))
        day.sessions.append(_key_session(run, day, parent, (key, operations), minted + rng.randint(20, 90) * SECOND))


def _key_session(run: str, day: Day, parent: Session, key: tuple[str, tuple[Operation, ...]], start: int) -> Session:
    end = day.start + DAY - 5 * MINUTE
    expiry = {"credential_expires_at": end, "scopes": scopes(key[1])}
    return Session(
        session_id=f"s-{short_id(run, key[0], day.number)}",
        tenant=parent.tenant,
        principal_id=key[0],
        kind="api_key",
        operations=key[1],
        pace=BY_KEY.times(parent.habit.follow + 0.5),
        start=start,
        end=end,
        network=day.owner.tenant.cloud,
        client=KEY_CLIENT,
        opening=[(0, "token_exchanged", expiry | {"parent_session_id": parent.session_id})],
        parent=parent,
    )


def _add_agents(run: str, day: Day, person: Person, rng: Random) -> None:
    """Add sessions of the person's agents during the day's longest phone session, on the phone itself."""
    hand = [session for session in day.sessions if session.device_id == person.phone.device_id]
    for agent, tools in person.agents if hand else []:
        parent = max(hand, key=lambda session: session.end - session.start)
        start = parent.start + rng.randint(60, 240) * SECOND
        delegated = {"parent_session_id": parent.session_id, "scopes": scopes(tools)}
        session = Session(
            session_id=f"s-{short_id(run, agent, day.number)}",
            tenant=parent.tenant,
            principal_id=agent,
            kind="agent",
            operations=tools,
            pace=BY_AGENT,
            start=start,
            end=parent.end - MINUTE,
            network=parent.network,
            client=ASSISTANTS[person.phone.platform],
            opening=[(0, "token_exchanged", delegated)],
            habit=person.habit,
            device_id=parent.device_id,
            parent=parent,
        )
        _try_every_tool(session, rng)
        day.sessions.append(session)


def _try_every_tool(session: Session, rng: Random) -> None:
    """An agent first calls each of its tools once."""
    for number, tool in enumerate(session.operations, start=1):
        at = session.start + number * rng.randint(4, 9) * SECOND
        session.extras.append(Extra(at, "api.call", call(tool, rng)))


TERRAFORM_RUN: Final = "terraform_run"
NIGHTLY_BATCH: Final = "nightly_batch"
RUNS: Final = {"terraform": TERRAFORM_RUN, "nightly-triage": NIGHTLY_BATCH}
"""Jobs with a daily run, which is honest but conspicuous, and the family of its session."""


def plan_service(run: str, service: Service, number: int, horizon: Horizon) -> Day:
    """Plan a day of *service*: one session."""
    start = horizon.start + number * DAY
    day = Day(number, service, start, min(start + DAY, horizon.end))
    rng = rng_for(run, service.principal_id, "day", number)
    begins = start + rng.randrange(3 * MINUTE)
    operations = WORK[service.job]
    session = Session(
        session_id=f"s-{short_id(run, service.principal_id, number)}",
        tenant=service.tenant.name,
        principal_id=service.principal_id,
        kind=service.kind,
        operations=operations,
        pace=Pace(service.gap_s),
        start=begins,
        end=start + DAY - MINUTE,
        network=service.network,
        client=SERVICE_CLIENT,
        opening=[(0, "token_issued", _granted(service))],
        habit=Habit(0.6),
        refreshes=list(range(begins + HOUR, start + DAY - HOUR, HOUR)),
    )
    if session.start < horizon.end:
        day.sessions.append(session)
        _daily_run(day, service, session, rng)
    return day


def _granted(service: Service) -> dict[str, Any]:
    """The fields of the issued credential of a workload; not every issuer states its network."""
    applied = APPLIED if service.job == "terraform" else ()
    minted = {"workload": service.workload} | ({"home_asn": service.network.asn} if service.reports_workload else {})
    return {"amr": ["hwk"], "scopes": scopes(WORK[service.job] + applied)} | minted


def _daily_run(day: Day, service: Service, session: Session, rng: Random) -> None:
    """Add the daily run: infrastructure as code applies rights, or an agent sorts the night's tickets."""
    family = RUNS.get(service.job)
    if family is None:
        return
    at = day.start + int(service.run_at * HOUR) + rng.randrange(6 * MINUTE)
    times = rng.randint(8, 20) if family == TERRAFORM_RUN else rng.randint(500, 1200)
    for _ in range(times):
        operation = rng.choice(APPLIED if family == TERRAFORM_RUN else NIGHTLY)
        session.extras.append(Extra(at, "api.call", call(operation, rng)))
        at += int(rng.uniform(4, 25) * SECOND) if family == TERRAFORM_RUN else rng.randint(300, 900)
    session.family = family
