"""Attacks with machine credentials used in the wrong place, and with a password that was sold to many."""

from __future__ import annotations

from pipeline.offline.simulation.attacks.family import calls, intrusion, of_kind, paced, person_of, settled
from pipeline.offline.simulation.plan import HOUR, MINUTE, Attempt, Day, Session
from pipeline.offline.simulation.world.clients import BURNERS, COPIES, INTRUDERS
from pipeline.offline.simulation.world.places import HANDSETS, RESIDENTIAL, ROGUE
from pipeline.offline.simulation.world.population import short_id
from pipeline.offline.simulation.world.work import ROLES


def api_key_off_place(day: Day, attempt: Attempt) -> bool:
    """An API key copied from a repository is used from a new network, beside its owner."""
    found = day.pick(attempt.rng, of_kind("api_key"), before=30 * MINUTE)
    if found is None:
        return False
    session, at = found
    client = attempt.pick("client", INTRUDERS) if attempt.at_least("high") else session.client
    network = attempt.pick("network", ROGUE)
    times = _times(attempt, at)
    calls(session, times, session.operations, attempt.rng, network=network, client=client)
    day.mark_attacked(session, at, attempt)
    return True


def machine_on_handset(day: Day, attempt: Attempt) -> bool:
    """A service's credential is used from a phone."""
    found = day.pick(attempt.rng, of_kind("service"), before=HOUR)
    if found is None:
        return False
    session, at = found
    network, client = attempt.pick("carrier", HANDSETS), attempt.pick("client", BURNERS)
    calls(session, _times(attempt, at), session.operations, attempt.rng, network=network, client=client)
    day.mark_attacked(session, at, attempt)
    return True


def workload_credential_off_home(day: Day, attempt: Attempt) -> bool:
    """A workload's credential, read from its metadata service, opens a session outside its cloud."""
    found = day.pick(attempt.rng, of_kind("service"), before=HOUR, after=50 * MINUTE)
    if found is None:
        return False
    origin, at = found
    client = origin.client if attempt.intensity == "low" else attempt.pick("client", INTRUDERS)
    session = Session(
        session_id=f"s-{short_id(origin.session_id, 'off home', at)}",
        tenant=origin.tenant,
        principal_id=origin.principal_id,
        kind="service",
        operations=origin.operations,
        pace=origin.pace,
        start=at,
        end=at + attempt.whole("stay_minutes", (10, 18), (16, 30), (30, 48)) * MINUTE,
        network=attempt.pick("network", ROGUE),
        client=client,
        opening=origin.opening,
    )
    count, gap = (
        attempt.whole("calls", (1, 2), (20, 40), (120, 240)),
        attempt.real("gap_s", (20, 60), (6, 15), (1, 4)),
    )
    calls(session, paced(at + MINUTE, count, gap, attempt.rng), origin.operations, attempt.rng)
    day.sessions.append(session)
    day.mark_attacked(session, at, attempt)
    return True


def concurrent_sessions(day: Day, attempt: Attempt) -> bool:
    """Several buyers of a sold password sign in beside the owner, each from another network."""
    found = day.pick(attempt.rng, settled(day))
    if found is None:
        return False
    _, at = found
    person = person_of(day)
    gap = attempt.whole("gap_s", (240, 420), (60, 150), (10, 40)) * 1000
    for number in range(attempt.whole("sessions", (2, 3), (4, 6), (8, 14))):
        start = at + number * gap
        network = person.city.network(attempt.pick("provider", RESIDENTIAL), "wifi", attempt.rng)
        end = start + attempt.whole("stay_minutes", (8, 40)) * MINUTE
        session = intrusion(
            day,
            f"{attempt.family}-{number}",
            start,
            end,
            (network, attempt.pick("client", COPIES)),
            [(0, "sign_in", {"amr": ["pwd"]}), (4000, "mfa_passed", {"amr": ["otp"]})],
            operations=ROLES[person.role],
        )
        day.mark_attacked(session, start, attempt)
    return True


def _times(attempt: Attempt, at: int) -> list[int]:
    count = attempt.whole("calls", (5, 9), (25, 60), (100, 200))
    gap = attempt.real("gap_s", (60, 120), (5, 30), (0.5, 3))
    return paced(at, count, gap, attempt.rng)
