"""Attacks on authentication: passwords, prompts, factors, phone numbers, enrolled devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipeline.offline.simulation.attacks.family import (
    calls,
    companies,
    intrusion,
    on_the_phone,
    paced,
    person_of,
    settled,
)
from pipeline.offline.simulation.attacks.operations import SENSITIVE
from pipeline.offline.simulation.plan import HOUR, MINUTE, SECOND, Attempt, Day, Extra, Session
from pipeline.offline.simulation.world.clients import BURNERS, COPIES, INTRUDERS, Client
from pipeline.offline.simulation.world.operations import scopes
from pipeline.offline.simulation.world.places import HANDSETS, RESIDENTIAL, ROGUE, Network
from pipeline.offline.simulation.world.population import short_id
from pipeline.offline.simulation.world.work import ON_THE_PHONE, ROLES

Opening = list[tuple[int, str, dict[str, Any]]]
SMS: Final = ["pwd", "sms"]
GUESSED_WRONG: Final = "guessed_wrong"
"""The family of a failed password guess, which is labelled benign, as nobody got in."""


def mfa_fatigue(day: Day, attempt: Attempt) -> bool:
    """An intruder with the password sends prompts until the owner accepts one."""
    found = day.pick(attempt.rng, settled(day))
    if found is None:
        return False
    _, at = found
    prompts = attempt.whole("prompts", (3, 4), (6, 10), (12, 25))
    gap = attempt.whole("gap_s", (90, 150), (12, 25), (5, 9)) * SECOND
    opening: Opening = [(0, "sign_in", {"amr": ["pwd"]})]
    for number in range(prompts):
        opening += [(1500 + number * gap, "mfa_challenged", {}), (4500 + number * gap, "mfa_denied", {})]
    after = 1500 + prompts * gap
    opening += [(after, "mfa_challenged", {}), (after + 9000, "mfa_passed", {"amr": ["mfa"]})]
    shown = (attempt.pick("network", ROGUE), attempt.pick("client", INTRUDERS))
    session = intrusion(
        day,
        attempt.family,
        at,
        at + after + _stay(attempt),
        shown,
        opening,
        operations=ROLES[person_of(day).role],
    )
    day.mark_attacked(session, at, attempt)
    return True


def factor_reset_new_device(day: Day, attempt: Attempt) -> bool:
    """The help desk is persuaded to reset the factor; then an unknown device signs in."""
    found = day.pick(attempt.rng, settled(day))
    if found is None:
        return False
    _, at = found
    person = person_of(day)
    later = attempt.whole("minutes_later", (20, 40), (8, 16), (1, 4)) * MINUTE
    opening: Opening = [
        (0, "recovery_started", {"reason": "help desk"}),
        (40 * SECOND, "credential_removed", {}),
        (90 * SECOND, "credential_added", {}),
        (later, "sign_in", {"amr": ["pwd"]}),
        (later + 8 * SECOND, "mfa_passed", {"amr": ["otp"]}),
        (later + 9 * SECOND, "token_issued", {"scopes": scopes(ROLES[person.role])}),
    ]
    network = person.city.network(attempt.pick("provider", RESIDENTIAL), "wifi", attempt.rng)
    shown = (network if attempt.intensity != "high" else attempt.pick("network", ROGUE), attempt.pick("client", COPIES))
    session = intrusion(
        day,
        attempt.family,
        at,
        at + later + _stay(attempt),
        shown,
        opening,
        operations=ROLES[person.role],
        device_id=_foreign_device(person.principal_id, at),
    )
    day.mark_attacked(session, at, attempt)
    return True


def new_device_privileged(day: Day, attempt: Attempt) -> bool:
    """With the password and a stolen code, a new device signs in and soon makes privileged calls."""
    found = day.pick(attempt.rng, settled(day))
    if found is None:
        return False
    _, at = found
    person = person_of(day)
    opening: Opening = [
        (0, "sign_in", {"amr": ["pwd"]}),
        (5 * SECOND, "mfa_passed", {"amr": ["otp"]}),
        (6 * SECOND, "token_issued", {"scopes": scopes(ROLES[person.role])}),
    ]
    network = person.city.network(attempt.pick("provider", RESIDENTIAL), "wifi", attempt.rng)
    end = at + _stay(attempt) + HOUR
    session = intrusion(
        day,
        attempt.family,
        at,
        end,
        (network, attempt.pick("client", COPIES)),
        opening,
        operations=ROLES[person.role],
        device_id=_foreign_device(person.principal_id, at),
    )
    first = at + attempt.whole("minutes_later", (25, 45), (8, 20), (1, 4)) * MINUTE
    session.extras.append(Extra(first, "auth.event", {"action": "credential_added"}))
    count = attempt.whole("calls", (1, 2), (4, 8), (15, 40))
    times = paced(first, count, attempt.real("gap_s", (60, 200), (20, 50), (3, 10)), attempt.rng)
    calls(session, times, (attempt.pick("sensitive", SENSITIVE),), attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def sim_swapped(day: Day, attempt: Attempt) -> bool:
    """The phone number is ported to another SIM, and the account is recovered by a text message."""
    found = day.pick(attempt.rng, on_the_phone(day), before=5 * MINUTE)
    if found is None:
        return False
    session, at = found
    device_id = session.device_id or ""
    sim = {"sim_id": f"sim-{short_id(device_id, 'ported', at)}"}
    plan = day.devices[device_id]
    plan.changes.append((at, sim))
    start = at + attempt.whole("minutes_later", (7, 9), (3, 5), (1, 2)) * MINUTE
    opening: Opening = [
        (0, "recovery_started", {"reason": "one-time code by message"}),
        (30 * SECOND, "sign_in", {"amr": SMS}),
        (35 * SECOND, "mfa_passed", {"amr": SMS}),
        (50 * SECOND, "credential_changed", {}),
        (52 * SECOND, "token_issued", {"scopes": scopes(ON_THE_PHONE)}),
    ]
    shown = (attempt.pick("carrier", HANDSETS), attempt.pick("client", BURNERS))
    if attempt.intensity == "low":
        shown = (person_of(day).mobile, session.client)
    swapped = intrusion(
        day,
        attempt.family,
        start,
        start + _stay(attempt),
        shown,
        opening,
        operations=ON_THE_PHONE,
        device_id=device_id,
    )
    day.mark_attacked(swapped, start, attempt)
    return True


def password_spray(days: Sequence[Day], attempt: Attempt) -> bool:
    """One password is tried for many people of a company, from one network, until it works."""
    size = attempt.whole("targets", (4, 7), (10, 20), (25, 60))
    gap = attempt.whole("gap_s", (60, 110), (8, 20), (1, 3)) * SECOND
    for company in companies(days):
        for victim in company:
            found = None if victim.is_affected else victim.pick(attempt.rng, settled(victim))
            if found is None:
                continue
            others = _awake(company, victim, found[1] - gap * size, found[1])
            if len(others) >= 3:
                _spray(victim, others[:size], found[1], gap, attempt)
                victim.is_affected = True
                return True
    return False


def _awake(company: Sequence[Day], victim: Day, since: int, until: int) -> list[Day]:
    """The days of other people that cover *since* to *until*; none if that begins before the simulation."""
    first = min(session.start for day in company for session in day.sessions)
    if since < first:
        return []
    return [day for day in company if day is not victim and day.start <= since and until < day.over]


def _spray(victim: Day, targets: Sequence[Day], hit: int, gap: int, attempt: Attempt) -> None:
    """The guesses for *targets* fail, one every *gap* ms; the one for *victim* succeeds at *hit* (ms)."""
    shown = (attempt.pick("network", ROGUE), attempt.pick("client", COPIES))
    for number, day in enumerate(reversed(targets), start=1):
        _failed_guess(day, hit - number * gap, shown, attempt)
    opening: Opening = [
        (0, "sign_in", {"amr": ["pwd"]}),
        (SECOND, "token_issued", {"scopes": ["mail.read"]}),
    ]
    session = intrusion(
        victim,
        attempt.family,
        hit,
        hit + _stay(attempt),
        shown,
        opening,
        operations=ROLES[person_of(victim).role],
    )
    victim.mark_attacked(session, hit, attempt)


def _failed_guess(day: Day, at: int, shown: tuple[Network, Client], attempt: Attempt) -> None:
    """A sign-in that fails: it starts no session, so there is nothing to revoke."""
    opening: Opening = [(0, "sign_in_failed", {"reason": "wrong password"})]
    session = intrusion(
        day,
        f"{attempt.family} failed",
        at,
        at + SECOND // 2,
        shown,
        opening,
        operations=ROLES[person_of(day).role],
    )
    session.family, session.closed = GUESSED_WRONG, False


def aitm_sign_in(days: Sequence[Day], attempt: Attempt) -> bool:
    """People of a company sign in through a proxy page that forwards everything and keeps the cookies."""
    size = attempt.whole("victims", (1, 2), (3, 4), (5, 9))
    network, proxy = attempt.pick("network", ROGUE), attempt.pick("proxy", COPIES)
    used_with = attempt.pick("client", INTRUDERS)
    delay = attempt.whole("minutes_later", (12, 20), (5, 9), (1, 3)) * MINUTE
    for company in companies(days):
        hits = [(day, hit) for day in company if not day.is_affected and (hit := day.pick(attempt.rng, settled(day)))]
        if len(hits) < size:
            continue
        moment = hits[0][1][1]
        hits.sort(key=lambda found: abs(found[1][1] - moment))
        for day, (_, at) in hits[:size]:
            person = person_of(day)
            opening: Opening = [
                (0, "sign_in", {"amr": ["pwd"]}),
                (9 * SECOND, "mfa_passed", {"amr": ["otp"]}),
                (10 * SECOND, "token_issued", {"scopes": scopes(ROLES[person.role])}),
            ]
            session: Session = intrusion(
                day,
                attempt.family,
                at,
                at + delay + _stay(attempt),
                (network, proxy),
                opening,
                operations=ROLES[person.role],
            )
            if attempt.at_least("medium"):
                calls(
                    session,
                    paced(at + delay, 20, 15, attempt.rng),
                    session.operations,
                    attempt.rng,
                    network=network,
                    client=used_with,
                )
            day.mark_attacked(session, at, attempt)
            day.is_affected = True
        return True
    return False


def _stay(attempt: Attempt) -> int:
    """How long an intruder stays signed in, in ms."""
    return attempt.whole("stay_minutes", (14, 40), (16, 60), (20, 120)) * MINUTE


def _foreign_device(principal_id: str, at: int) -> str:
    return f"laptop-{short_id(principal_id, 'foreign', at)}"
