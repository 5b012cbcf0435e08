"""Verdicts reach the session scorer: those on sessions of others go back, and each of several counts."""

from __future__ import annotations

from schemas import topics
from tests.support.run_processors import found, of, read
from tests.support.samples import auth, call, context, feedback
from tests.support.session_processor import OBSERVING, desk, others


def test_verdicts_on_sessions_that_do_not_live_here_go_back_with_the_reason() -> None:
    this_desk = desk()
    this_desk.play(auth(0))

    outputs = this_desk.play(feedback(1, session_id="s-9"), feedback(2, verdict="confirmed_compromised"))

    assert [(letter["offset"], letter["reason"]) for letter in of(outputs, topics.DEAD_LETTERS)] == [
        (0, "session_id: no such session lives here any more")
    ]
    assert len(this_desk.revoked("s-1")) == 1


def test_a_false_positive_also_ends_the_step_up_that_was_asked_for() -> None:
    this_desk = desk()
    this_desk.each(auth(0, asn=1), call(1, asn=2), context(2, source="principal", known_asn=False))
    this_desk.play(feedback(10, verdict="false_positive"))
    this_desk.each(*others(12, 60))

    assert len(this_desk.output(topics.SESSION_CHALLENGES)) == 1
    assert this_desk.revoked() == []
    assert this_desk.output(topics.SESSION_RISK, "s-1")[-1]["level"] == "LOW"


def test_two_verdicts_at_one_moment_both_count() -> None:
    this_desk = desk(OBSERVING)
    this_desk.each(auth(0), call(1, records=200, sensitivity="restricted"))
    this_desk.play(feedback(5, verdict="false_positive"), feedback(5, verdict="confirmed_compromised"))

    assert "confirmed_compromised" in found(read(this_desk.messages))
