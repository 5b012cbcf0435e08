"""Honest oddities of clients: another network, other software, a mistake at the sign-in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.offline.simulation.attacks.family import at_the_desk, move, of_a_human, on_the_phone, person_of
from pipeline.offline.simulation.plan import DAY, HOUR, MINUTE, SECOND, Attempt, Change, Day, Extra, Session
from pipeline.offline.simulation.world.workdays import human


def vpn_toggle(day: Day, attempt: Attempt) -> bool:
    """The company's tunnel is switched on and off: another network and country, the same person."""
    found = day.pick(attempt.rng, at_the_desk(day), after=30 * MINUTE)
    if found is None:
        return False
    session, at = found
    move(day, session, at, person_of(day).tenant.vpn, attempt.rng)
    move(day, session, at + attempt.rng.randint(8, 25) * MINUTE, session.network, attempt.rng)
    session.family = "vpn_toggle"
    return True


def roaming(day: Day, attempt: Attempt) -> bool:
    """From Wi-Fi to the mobile carrier and back, with the same phone."""
    on_wifi = on_the_phone(day)
    found = day.pick(
        attempt.rng,
        lambda session: on_wifi(session) and session.network.network_type == "wifi",
        after=30 * MINUTE,
    )
    if found is None:
        return False
    session, at = found
    move(day, session, at, person_of(day).mobile, attempt.rng)
    move(day, session, at + attempt.rng.randint(8, 25) * MINUTE, session.network, attempt.rng)
    session.family = "roaming"
    return True


def browser_update(day: Day, attempt: Attempt) -> bool:
    """The browser restarts one version later: user agent and TLS fingerprint change, nothing else."""
    found = day.pick(attempt.rng, at_the_desk(day))
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


def flight_travel(day: Day, attempt: Attempt) -> bool:
    """A trip to another country: no events for some hours, then a new session from the hotel."""
    travellers = [session for session in day.sessions if of_a_human(session)]
    if not travellers:
        return False
    person = person_of(day)
    trip = person.tenant.trip
    last = next((traveller for traveller in reversed(travellers) if _arrives_today(day, traveller, trip.hours)), None)
    if last is None:
        return False
    start = last.end + int(trip.hours * HOUR) + attempt.rng.randrange(20 * MINUTE)
    end = start + attempt.rng.randint(12, 25) * MINUTE
    stays = replace(trip.hotel, host=attempt.rng.randrange(1, 0xFFFF))
    arrived = human(last.session_id, day, person, start, end, phone=False, network=stays)
    arrived.family = "flight_travel"
    day.sessions = [session for session in day.sessions if session.device_id is None or session.start < last.end]
    day.sessions.append(arrived)
    person.away_until = arrived.end + int(trip.hours * HOUR)
    return True


def fat_fingers(day: Day, attempt: Attempt) -> bool:
    """A wrong password twice, or a prompt denied by mistake, then everything as usual."""
    found = day.pick(attempt.rng, of_a_human, before=0, after=8 * MINUTE)
    if found is None:
        return False
    session, _ = found
    times = attempt.rng.randint(1, 2)
    password = attempt.rng.random() < 0.5
    slips: list[tuple[int, str, dict[str, Any]]] = [
        (n * 7 * SECOND, "sign_in_failed" if password else "mfa_denied", {}) for n in range(times)
    ]
    # A prompt follows the password: a mistake with it comes after the first event of the opening.
    kept = 0 if password else 1
    later = [(after + times * 7 * SECOND, action, fields) for after, action, fields in session.opening[kept:]]
    shifted = slips if password else [(after + 4 * SECOND, action, fields) for after, action, fields in slips]
    session.opening = session.opening[:kept] + shifted + later
    session.family = "fat_fingers"
    return True


def relay_egress(day: Day, attempt: Attempt) -> bool:
    """Somebody who always uses the company's private access service does not use it for a while."""
    found = day.pick(
        attempt.rng,
        lambda session: at_the_desk(day)(session) and person_of(day).relay is not None,
        after=HOUR,
    )
    if found is None:
        return False
    session, at = found
    move(day, session, at, person_of(day).home, attempt.rng)
    move(day, session, at + attempt.rng.randint(8, 25) * MINUTE, session.network, attempt.rng)
    session.family = "relay_egress"
    return True


def refresh_retry(day: Day, attempt: Attempt) -> bool:
    """The response to a token refresh is lost; the client repeats it with the same token a moment later."""
    found = day.pick(attempt.rng, lambda session: of_a_human(session) and bool(session.refreshes))
    if found is None:
        return False
    session, _ = found
    again = session.refreshes[0] + attempt.rng.randint(400, 6000)
    session.extras.append(Extra(again, "auth.event", {"action": "token_reused"}))
    session.family = "refresh_retry"
    return True


def help_desk_reset(day: Day, attempt: Attempt) -> bool:
    """A security key is left at home: the help desk resets the factor; the owner continues on the same machine."""
    found = day.pick(attempt.rng, at_the_desk(day), before=0, after=20 * MINUTE)
    if found is None:
        return False
    session, _ = found
    reset: list[tuple[int, str, dict[str, Any]]] = [
        (0, "recovery_started", {"reason": "help desk"}),
        (70 * SECOND, "credential_removed", {}),
        (110 * SECOND, "credential_added", {}),
    ]
    later = 150 * SECOND
    session.opening = reset + [(after + later, action, fields) for after, action, fields in session.opening]
    session.family = "help_desk_reset"
    return True


def on_call_night(day: Day, attempt: Attempt) -> bool:
    """On-call work at night: an hour at the laptop, at home, at an unusual hour."""
    person = person_of(day) if day.devices else None
    last = max((session.end for session in day.sessions if session.device_id is not None), default=0)
    if person is None or not last or person.role not in {"developer", "admin"}:
        return False
    start = last + attempt.rng.randint(80, 150) * MINUTE
    end = start + attempt.rng.randint(25, 70) * MINUTE
    if end > min(day.over, day.until):
        return False
    session = human("on call", day, person, start, end, phone=False, network=person.relay or person.home)
    session.family = "on_call_night"
    day.sessions.append(session)
    return True


def _arrives_today(day: Day, last: Session, hours: float) -> bool:
    """Whether the person can leave after the session *last*, without other sessions, and still work at the hotel."""
    busy = any(session.device_id is not None and session.start < last.end < session.end for session in day.sessions)
    return not busy and last.end + int(hours * HOUR) + 50 * MINUTE <= min(day.start + DAY, day.until)
