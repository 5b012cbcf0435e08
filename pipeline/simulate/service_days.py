"""A day of a service: one session as long as its token lives, and its daily run, if it has one."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from pipeline.simulate.clients import SERVICE_CLIENT
from pipeline.simulate.days import Horizon
from pipeline.simulate.operations import Habit, call, scopes
from pipeline.simulate.plan import DAY, HOUR, MINUTE, SECOND, Day, Extra, Pace, Session
from pipeline.simulate.population import WORK, Service, chance, identity
from pipeline.simulate.work import APPLIED, NIGHTLY

TERRAFORM_RUN: Final = "terraform_run"
NIGHTLY_BATCH: Final = "nightly_batch"
RUNS: Final = {"terraform": TERRAFORM_RUN, "nightly-triage": NIGHTLY_BATCH}
"""The jobs with a run every day, which is as honest as it is loud, and the family of such a day."""


def plan_service(run: str, service: Service, number: int, horizon: Horizon) -> Day:
    """Plan a day of *service*: one session, as long as its access token lives."""
    start = horizon.start + number * DAY
    day = Day(number, service, start, min(start + DAY, horizon.end))
    rng = chance(run, service.principal_id, "day", number)
    begins = start + rng.randrange(3 * MINUTE)
    operations = WORK[service.job]
    session = Session(
        session_id=f"s-{identity(run, service.principal_id, number)}",
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
    """What the issuer of a workload's credential says of it; not every issuer tells where its home is."""
    applied = APPLIED if service.job == "terraform" else ()
    minted = {"workload": service.workload} | ({"home_asn": service.network.asn} if service.told else {})
    return {"amr": ["hwk"], "scopes": scopes(WORK[service.job] + applied)} | minted


def _daily_run(day: Day, service: Service, session: Session, rng: Random) -> None:
    """Add the run of the day: rights are applied by the plan, or the night's tickets are sorted."""
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
