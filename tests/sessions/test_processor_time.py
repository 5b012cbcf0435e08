"""Time in the session scorer: who sweeps, what a clock of the future does, and when a policy changes."""

from __future__ import annotations

from schemas import topics
from tests.support.event_streams import BUSY
from tests.support.run_processors import NOW, Desk, found, of
from tests.support.samples import T0, UNASKED, auth, call, context
from tests.support.session_processor import OBSERVING, desk, others


def test_an_idle_partition_is_swept_by_the_wall_clock() -> None:
    this_desk = desk(BUSY.replace("[guard]", "[guard]\nstep_up_if_unverified = false"))
    this_desk.play(auth(0, device_id="phone-1"), now=T0)
    this_desk.play(context(0, heard_at=T0, heartbeat_interval_ms=5_000), now=T0)

    quiet = this_desk.sweep(T0 + 20_000)
    silent = this_desk.sweep(T0 + 40_000)

    assert found(quiet) == set()
    assert found(silent) == {"telemetry_silent_while_idle"}
    assert of(silent, topics.SESSION_CHALLENGES) == []
    assert this_desk.sweep(T0 + 41_000) == []


def test_before_the_first_event_nothing_is_swept() -> None:
    assert desk().sweep(NOW) == []


def test_a_clock_of_the_future_does_not_end_everybodys_session() -> None:
    this_desk = desk()
    this_desk.play(auth(0), now=T0)
    this_desk.play(call(290, session_id="ben"), now=T0 + 1_000)

    assert len(this_desk.scorer.table) == 2


def test_a_policy_is_exchanged_between_chunks() -> None:
    this_desk = desk(OBSERVING)
    this_desk.each(auth(0), call(1, records=200, sensitivity="restricted"))
    assert this_desk.revoked() == []

    this_desk.active.use_policy(Desk(f"{UNASKED}{BUSY}").active.engine.policy)
    this_desk.each(*others(2, 60))

    assert len(set(this_desk.revoked("s-1"))) == 1
