"""Attacks on a live session: its token is stolen, or the owner's own machine is used."""

from __future__ import annotations

from pipeline.offline.simulation.attacks.family import (
    at_the_desk,
    calls,
    elsewhere,
    of_a_human,
    paced,
    person_of,
    settled,
)
from pipeline.offline.simulation.attacks.operations import SENSITIVE, SINGLE
from pipeline.offline.simulation.plan import HOUR, MINUTE, SECOND, Attempt, Change, Day, Extra, Session
from pipeline.offline.simulation.world.clients import INTRUDERS
from pipeline.offline.simulation.world.places import ANONYMOUS_VPN, FAR, RESIDENTIAL, ROGUE, TOR, Network


def token_replayed(day: Day, attempt: Attempt) -> bool:
    """A stolen cookie is used from a rented server with another client, beside its owner."""
    rng = attempt.rng
    # Intruders prefer sessions that give more access: those with API keys or agents.
    found = day.pick(
        rng,
        lambda session: of_a_human(session) and (day.has_children(session) or rng.random() < 0.1),
    )
    if found is None:
        return False
    session, at = found
    # Owner and intruder use the same token: no refresh shortly before and during the attack.
    session.refreshes = [when for when in session.refreshes if not at - 9 * MINUTE < when < at + 20 * MINUTE]
    network, client = attempt.pick("network", ROGUE), attempt.pick("client", INTRUDERS)
    calls(session, _times(attempt, at), session.operations, rng, network=network, client=client)
    day.mark_attacked(session, at, attempt)
    return True


def token_by_residential_proxy(day: Day, attempt: Attempt) -> bool:
    """A stolen cookie is used with an identical browser, through a residential proxy near its owner."""
    found = day.pick(attempt.rng, settled(day))
    if found is None:
        return False
    session, at = found
    city = person_of(day).city
    if attempt.intensity == "high":
        city = attempt.rng.choice([other_city for other_city in person_of(day).tenant.cities if other_city is not city])
    network = city.network(attempt.pick("provider", RESIDENTIAL), "wifi", attempt.rng)
    calls(session, _times(attempt, at), session.operations, attempt.rng, network=network)
    day.mark_attacked(session, at, attempt)
    return True


def through_own_machine(day: Day, attempt: Attempt) -> bool:
    """A tunnel through the owner's machine: network, device and client are the owner's, the calls are not."""
    found = day.pick(attempt.rng, at_the_desk(day), after=20 * MINUTE)
    if found is None:
        return False
    session, at = found
    gap = attempt.real("gap_s", (70, 160), (12, 30), (2, 6))
    count = attempt.whole("calls", (5, 12), (25, 50), (90, 180))
    wanted = (attempt.pick("sensitive", SENSITIVE), attempt.pick("single", SINGLE))
    calls(session, paced(at, count, gap, attempt.rng), wanted, attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def non_browser_client(day: Day, attempt: Attempt) -> bool:
    """The browser's cookie is read from its disk and used by a script on the same machine."""
    found = day.pick(attempt.rng, at_the_desk(day))
    if found is None:
        return False
    session, at = found
    client = attempt.pick("client", INTRUDERS)
    calls(session, _times(attempt, at), session.operations, attempt.rng, client=client)
    day.mark_attacked(session, at, attempt)
    return True


def impossible_travel(day: Day, attempt: Attempt) -> bool:
    """The same session is used with an identical browser from another continent within minutes."""
    # If another of the owner's sessions began now, it would seem to have travelled, too.
    found = day.pick(attempt.rng, lambda session: of_a_human(session) and day.is_latest(session))
    if found is None:
        return False
    session, at = found
    network = attempt.pick("network", FAR)
    calls(session, _times(attempt, at), session.operations, attempt.rng, network=network)
    day.mark_attacked(session, at, attempt)
    return True


def network_changed_unanswered(day: Day, attempt: Attempt) -> bool:
    """A session continues from a network its owner never used, and nobody passes the step-up."""
    # After the ten minutes in which a recent second factor supports the session.
    found = day.pick(attempt.rng, settled(day), before=12 * MINUTE)
    if found is None:
        return False
    session, at = found
    city = person_of(day).city
    network = city.network(city.cafe, "wifi", attempt.rng)
    if attempt.at_least("medium"):
        network = city.network(attempt.pick("provider", RESIDENTIAL), "wifi", attempt.rng)
    session.changes.append(Change(at, network=network))
    more = attempt.whole("calls", (1, 2), (4, 12), (30, 70))
    calls(
        session,
        paced(at, more, attempt.real("gap_s", (20, 60), (10, 30), (2, 6)), attempt.rng),
        session.operations,
        attempt.rng,
    )
    day.mark_attacked(session, at, attempt)
    return True


def anonymised_network(day: Day, attempt: Attempt) -> bool:
    """A session continues through an anonymiser: a commercial VPN, a rented server, Tor."""
    found = day.pick(attempt.rng, settled(day), before=12 * MINUTE)
    if found is None:
        return False
    session, at = found
    tables = {"low": ANONYMOUS_VPN, "medium": ROGUE, "high": TOR}
    network: Network = attempt.pick("network", tables[attempt.intensity or "low"])
    calls(session, _times(attempt, at), session.operations, attempt.rng, network=network)
    day.mark_attacked(session, at, attempt)
    return True


def refresh_token_reused(day: Day, attempt: Attempt) -> bool:
    """An old refresh token is presented again, long after its successor was issued, by somebody else."""
    found = day.pick(
        attempt.rng,
        lambda session: of_a_human(session) and bool(session.refreshes),
        before=55 * MINUTE,
    )
    if found is None:
        return False
    session, at = found
    network, client = attempt.pick("network", ROGUE), attempt.pick("client", INTRUDERS)
    shown = elsewhere(None if attempt.intensity == "low" else network, client)
    gap = attempt.whole("retry_s", (90, 200), (40, 80), (10, 30)) * SECOND
    for number in range(attempt.whole("reuses", (1, 2), (2, 4), (5, 9))):
        session.extras.append(Extra(at + number * gap, "auth.event", shown | {"action": "token_reused"}))
    day.mark_attacked(session, at, attempt)
    return True


def after_hours(day: Day, attempt: Attempt) -> bool:
    """A session left open is used at hours when its owner never works, increasingly for other operations."""
    found = _last_at_the_desk(day, attempt)
    if found is None:
        return False
    session, at = found
    session.idle_from, session.end = session.end, min(at + 45 * MINUTE, day.over)
    gap = attempt.real("gap_s", (80, 150), (15, 40), (3, 8))
    count = attempt.whole("calls", (8, 16), (30, 60), (100, 200))
    wanted = (*session.operations, *(attempt.pick(f"drift_{n}", SINGLE) for n in range(3)))
    calls(session, paced(at, count, gap, attempt.rng), wanted, attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def _last_at_the_desk(day: Day, attempt: Attempt) -> tuple[Session, int] | None:
    """The day's last session at the desk, and when the intruder begins, if the day is long enough."""
    desk = at_the_desk(day)
    ends = max((session.end for session in day.sessions if session.device_id is not None), default=0)
    at = ends + int(attempt.real("hours_later", (0.6, 1.5), (1.5, 2.5), (2.5, 3.5)) * HOUR)
    mine = [session for session in day.sessions if desk(session)]
    if not mine or at + 30 * MINUTE > min(day.over, day.until):
        return None
    return max(mine, key=lambda session: session.end), at


def _times(attempt: Attempt, at: int) -> list[int]:
    """Times of the intruder's calls: few and slow, or many and fast."""
    count = attempt.whole("calls", (6, 14), (25, 45), (80, 160))
    gap = attempt.real("gap_s", (40, 90), (8, 25), (1, 4))
    return paced(at, count, gap, attempt.rng)
