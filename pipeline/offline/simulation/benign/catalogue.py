"""Table of the honest oddities, one row each. They look unusual, but must not end a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.offline.simulation.attacks.family import (
    Apply,
    Family,
    at_the_desk,
    calls,
    of_kind,
    on_one_day,
    paced,
    person_of,
)
from pipeline.offline.simulation.benign import clients, companies, devices
from pipeline.offline.simulation.plan import MINUTE, Attempt, Day, Extra
from pipeline.offline.simulation.world.work import BATCH, MONTH_END


def batch_job(day: Day, attempt: Attempt) -> bool:
    """A service runs its daily job and reads very much."""
    found = day.pick(attempt.rng, of_kind("service"))
    if found is None:
        return False
    session, at = found
    calls(session, paced(at, attempt.rng.randint(150, 300), 2, attempt.rng), (BATCH,), attempt.rng)
    session.family = "batch_job"
    return True


def month_end(day: Day, attempt: Attempt) -> bool:
    """Finance closes the month: more ledger entries than usual, fewer than 2000 in any ten minutes."""
    desk = at_the_desk(day)
    found = day.pick(
        attempt.rng,
        lambda session: desk(session) and person_of(day).role == "finance",
        after=25 * MINUTE,
    )
    if found is None:
        return False
    session, at = found
    calls(session, paced(at, attempt.rng.randint(15, 25), 72, attempt.rng), (MONTH_END,), attempt.rng)
    session.family = "month_end"
    return True


def password_loop(day: Day, attempt: Attempt) -> bool:
    """A password in a forgotten configuration has expired: the same service fails repeatedly."""
    found = day.pick(attempt.rng, of_kind("service"), after=60 * MINUTE)
    if found is None:
        return False
    session, at = found
    for when in paced(at, attempt.rng.randint(40, 110), 30, attempt.rng):
        session.extras.append(Extra(when, "auth.event", {"action": "sign_in_failed", "reason": "password expired"}))
    session.family = "password_loop"
    return True


def _row(apply: Callable[[Day, Attempt], bool], text: str) -> Family:
    return Family(apply.__name__, text, on_one_day(apply))


def _wide(apply: Apply, text: str) -> Family:
    return Family(apply.__name__, text, apply)


ODDITIES: Final = (
    _row(clients.vpn_toggle, "the company's tunnel on and off"),
    _row(clients.roaming, "from wireless to the carrier and back"),
    _row(clients.browser_update, "the browser one version later"),
    _row(clients.flight_travel, "abroad, hours later"),
    _row(clients.fat_fingers, "one or two mistakes at the sign-in"),
    _row(clients.relay_egress, "once without the private access service"),
    _row(clients.refresh_retry, "a refresh asked for twice within seconds"),
    _row(clients.help_desk_reset, "a factor reset by the help desk, on the usual device"),
    _row(clients.on_call_night, "an hour's work in the night"),
    _row(devices.new_phone, "another phone, the same person"),
    _row(devices.battery_saver, "telemetry rarer, as announced"),
    _row(devices.mdm_lag, "updated, and for minutes not compliant"),
    _row(devices.sim_upgrade, "another SIM, and nothing else"),
    _row(batch_job, "a service reads very much"),
    _row(month_end, "finance reads more than usual"),
    _row(password_loop, "one service fails repeatedly"),
    _wide(companies.policy_rollout, "a policy flips a fact on all devices of a company"),
    _wide(companies.telemetry_outage, "a region's telemetry is down for twenty minutes"),
    _wide(companies.office_nat, "an office behind one address mistypes its passwords"),
    _wide(companies.new_release, "everybody uses a new operation"),
    _wide(companies.quarter_end, "finance and analysts read more all afternoon"),
)
"""Every oddity; its sessions are labelled `benign`. Daily ones are in `world.workdays`."""
