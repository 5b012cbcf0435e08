"""A session scorer under a policy for which little must happen, and a colleague who lets time go on."""

from __future__ import annotations

from typing import Any

from pipeline.sessions.processor import Options
from tests.support.event_streams import BUSY, OddTotals
from tests.support.run_processors import Desk, Event
from tests.support.samples import auth, call, feedback

OBSERVING = f'mode = "observe"\n{BUSY}'


def desk(policy: str = BUSY, **options: Any) -> Desk:
    return Desk(policy, OddTotals(), Options(**options))


def fallen(**options: Any) -> Desk:
    """A desk that has just commanded to revoke session s-1."""
    this_desk = desk(**options)
    this_desk.play(auth(0))
    this_desk.play(feedback(1, verdict="confirmed_compromised"))
    return this_desk


def others(start: int, until: int) -> list[Event]:
    """Somebody else goes on, so that time does."""
    return [call(at, session_id="ben", principal_id="ben") for at in range(start, until, 5)]
