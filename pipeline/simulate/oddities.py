"""Honest oddities: a table, one row and one function each. They look strange and must not end a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, Final

from pipeline.simulate.days import human
from pipeline.simulate.operations import BATCH, MONTH_END
from pipeline.simulate.places import TRIPS
from pipeline.simulate.plan import DAY, HOUR, MINUTE, SECOND, Change, Day, DevicePlan, Session
from pipeline.simulate.population import identity
from pipeline.simulate.strike import (
    Family,
    at_the_desk,
    calls,
    move,
    of_a_human,
    of_kind,
    on_the_phone,
    paced,
    person_of,
)

SAVING_MS: Final = 5 * MINUTE
"""What a device promises while it saves its battery."""


def vpn_toggle(day: Day, rng: Random) -> bool:
    """The company's tunnel is switched on and off: another network and country, the same person."""
    found = day.pick(rng, at_the_desk(day), after=30 * MINUTE)
    if found is None:
        return False
    session, at = found
    move(day, session, at, person_of(day).tenant.vpn, rng)
    move(day, session, at + rng.randint(8, 25) * MINUTE, session.network, rng)
    session.family = "vpn_toggle"
    return True


def new_phone(day: Day, rng: Random) -> bool:
    """From the afternoon on it is another phone, with the same SIM; what was on the old one moves along."""
    found = day.pick(rng, _on_a_phone_again(day), before=0, after=8 * MINUTE)
    if found is None:
        return False
    first, _ = found
    person = person_of(day)
    old = person.phone.device_id
    person.phone = replace(person.phone, device_id=f"phone-{identity(first.session_id, 'new phone')}")
    day.devices[person.phone.device_id] = DevicePlan(person.phone)
    for session in day.sessions:
        if session.device_id == old and session.start >= first.start:
            session.device_id = person.phone.device_id
    first.opening.append((11_000, "credential_added", {}))
    first.family = "new_phone"
    return True


def battery_saver(day: Day, rng: Random) -> bool:
    """The phone saves its battery: it says that it will report less often, and does."""
    found = day.pick(rng, on_the_phone(day), before=3 * MINUTE, after=12 * MINUTE)
    if found is None:
        return False
    session, at = found
    day.devices[session.device_id or ""].changes.append((at, {"heartbeat_interval_ms": SAVING_MS}))
    session.family = "battery_saver"
    return True


def roaming(day: Day, rng: Random) -> bool:
    """Out of the door: from the wireless network to the carrier and back, the phone as before."""
    on_wifi = on_the_phone(day)
    found = day.pick(rng, lambda one: on_wifi(one) and one.network.network_type == "wifi", after=30 * MINUTE)
    if found is None:
        return False
    session, at = found
    move(day, session, at, person_of(day).mobile, rng)
    move(day, session, at + rng.randint(8, 25) * MINUTE, session.network, rng)
    session.family = "roaming"
    return True


def browser_update(day: Day, rng: Random) -> bool:
    """The browser restarts one version later: user agent and TLS fingerprint change, nothing else."""
    found = day.pick(rng, at_the_desk(day))
    if found is None:
        return False
    session, at = found
    person = person_of(day)
    person.browser = person.browser.updated()
    session.changes.append(Change(at, client=person.browser))
    for later in day.sessions:
        if later.device_id == session.device_id and later.start > at:
            later.client = person.browser
    session.family = "browser_update"
    return True


def flight_travel(day: Day, rng: Random) -> bool:
    """Off to another country: nothing for some hours, then a new session from the hotel."""
    travellers = [session for session in day.sessions if of_a_human(session)]
    if not travellers:
        return False
    person = person_of(day)
    trip = TRIPS[person.tenant.name]
    last = next((one for one in reversed(travellers) if _lands_today(day, one, trip.hours)), None)
    if last is None:
        return False
    start = last.end + int(trip.hours * HOUR) + rng.randrange(20 * MINUTE)
    end = start + rng.randint(12, 25) * MINUTE
    stays = replace(trip.hotel, host=rng.randrange(1, 0xFFFF))
    arrived = human(last.session_id, day, person, start, end, phone=False, network=stays)
    arrived.family = "flight_travel"
    day.sessions = [one for one in day.sessions if one.device_id is None or one.start < last.end]
    day.sessions.append(arrived)
    person.away_until = arrived.end + int(trip.hours * HOUR)
    return True


def batch_job(day: Day, rng: Random) -> bool:
    """A service reads what it reads once a day: very much."""
    found = day.pick(rng, of_kind("service"))
    if found is None:
        return False
    session, at = found
    calls(session, paced(at, rng.randint(150, 300), (0.5, 4), rng), (BATCH,), rng)
    session.family = "batch_job"
    return True


def month_end(day: Day, rng: Random) -> bool:
    """Finance closes the month: more ledger entries than usual, fewer than 2000 in any ten minutes."""
    desk = at_the_desk(day)
    found = day.pick(rng, lambda one: desk(one) and person_of(day).role == "finance", after=25 * MINUTE)
    if found is None:
        return False
    session, at = found
    calls(session, paced(at, rng.randint(15, 25), (50, 95), rng), (MONTH_END,), rng)
    session.family = "month_end"
    return True


def fat_fingers(day: Day, rng: Random) -> bool:
    """A password typed wrong twice, or a prompt denied by mistake, then everything as always."""
    found = day.pick(rng, of_a_human, before=0, after=8 * MINUTE)
    if found is None:
        return False
    session, _ = found
    times = rng.randint(1, 2)
    password = rng.random() < 0.5
    slips: list[tuple[int, str, dict[str, Any]]] = [
        (n * 7 * SECOND, "sign_in_failed" if password else "mfa_denied", {}) for n in range(times)
    ]
    # A prompt comes after the password: mistakes with it stand behind the first event of the opening.
    kept = 0 if password else 1
    later = [(after + times * 7 * SECOND, action, told) for after, action, told in session.opening[kept:]]
    shifted = slips if password else [(after + 4 * SECOND, action, told) for after, action, told in slips]
    session.opening = session.opening[:kept] + shifted + later
    session.family = "fat_fingers"
    return True


def _on_a_phone_again(day: Day) -> Callable[[Session], bool]:
    by_hand = on_the_phone(day)
    return lambda session: by_hand(session) and day.has_history(session)


def _lands_today(day: Day, last: Session, hours: float) -> bool:
    """Whether one can leave after the session *last*, nothing else going on, and still work at the hotel."""
    busy = any(one.device_id is not None and one.start < last.end < one.end for one in day.sessions)
    return not busy and last.end + int(hours * HOUR) + 50 * MINUTE <= min(day.start + DAY, day.until)


ODDITIES: Final = (
    Family("vpn_toggle", "the company's tunnel on and off", vpn_toggle),
    Family("new_phone", "another phone, the same person", new_phone),
    Family("battery_saver", "telemetry rarer, as announced", battery_saver),
    Family("roaming", "from wireless to the carrier and back", roaming),
    Family("browser_update", "the browser one version later", browser_update),
    Family("flight_travel", "abroad, hours later", flight_travel),
    Family("batch_job", "a service reads very much", batch_job),
    Family("month_end", "finance reads more than usual", month_end),
    Family("fat_fingers", "a slip or two at the sign-in", fat_fingers),
)
"""Every oddity; the label of its sessions is `benign`."""
