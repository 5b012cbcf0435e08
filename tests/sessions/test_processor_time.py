"""Time in the session scorer: who sweeps, what a clock of the future does, and when a policy changes."""

from __future__ import annotations

from schemas import topics
from tests.support.event_streams import BUSY
from tests.support.run_processors import NOW, Desk, found, of
from tests.support.samples import T0, auth, call, context
from tests.support.session_processor import OBSERVING, desk, others


def test_an_idle_partition_is_swept_by_the_wall_clock() -> None:
    one = desk(BUSY.replace("[guard]", "[guard]\nask_unheard = false"))
    one.play(auth(0, device_id="phone-1"), now=T0)
    one.play(context(0, heard_at=T0, heartbeat_interval_ms=5_000), now=T0)

    quiet = one.sweep(T0 + 20_000)
    silent = one.sweep(T0 + 40_000)

    assert found(quiet) == set()
    assert found(silent) == {"telemetry_silent_while_idle"}
    assert of(silent, topics.SESSION_CHALLENGES) == []
    assert one.sweep(T0 + 41_000) == []


def test_before_the_first_event_nothing_is_swept() -> None:
    assert desk().sweep(NOW) == []


def test_a_clock_of_the_future_does_not_end_everybodys_session() -> None:
    one = desk()
    one.play(auth(0), now=T0)
    one.play(call(290, session_id="ben"), now=T0 + 1_000)

    assert len(one.scorer.table) == 2


def test_a_policy_is_exchanged_between_chunks() -> None:
    one = desk(OBSERVING)
    one.each(auth(0), call(1, records=200, sensitivity="restricted"))
    assert one.revoked() == []

    one.brain.use_policy(Desk(BUSY).brain.judge.policy)
    one.each(*others(2, 60))

    assert len(set(one.revoked("s-1"))) == 1
