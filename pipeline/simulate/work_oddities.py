"""Honest oddities of work: more of it than usual, again and again, or other work than yesterday."""

from __future__ import annotations

from pipeline.simulate.attempt import Attempt
from pipeline.simulate.plan import MINUTE, Day, Extra
from pipeline.simulate.strike import at_the_desk, calls, of_kind, paced, person_of
from pipeline.simulate.work import BATCH, MONTH_END


def batch_job(day: Day, attempt: Attempt) -> bool:
    """A service reads what it reads once a day: very much."""
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
        attempt.rng, lambda one: desk(one) and person_of(day).role == "finance", after=25 * MINUTE
    )
    if found is None:
        return False
    session, at = found
    calls(session, paced(at, attempt.rng.randint(15, 25), 72, attempt.rng), (MONTH_END,), attempt.rng)
    session.family = "month_end"
    return True


def password_loop(day: Day, attempt: Attempt) -> bool:
    """A password has expired in some forgotten configuration: the same service fails again and again."""
    found = day.pick(attempt.rng, of_kind("service"), after=60 * MINUTE)
    if found is None:
        return False
    session, at = found
    for when in paced(at, attempt.rng.randint(40, 110), 30, attempt.rng):
        session.extras.append(
            Extra(when, "auth.event", {"action": "sign_in_failed", "reason": "password expired"})
        )
    session.family = "password_loop"
    return True
