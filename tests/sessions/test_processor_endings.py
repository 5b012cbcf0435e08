"""The end of a session: when it is over, forgotten, evicted or begun again, and who is told."""

from __future__ import annotations

import pytest

from models.state.table import Subject
from pipeline.sessions.state_store import row_key
from schemas import topics
from tests.support.event_streams import BUSY
from tests.support.run_processors import Desk, Event
from tests.support.samples import UNASKED, ack, auth, call, context, feedback
from tests.support.session_processor import OBSERVING, desk, fallen, others


@pytest.mark.parametrize(
    ("last", "after"),
    [
        ([auth(0, action="sign_out")], 60),
        ([auth(0)], 150),
        ([auth(0), feedback(0, verdict="confirmed_compromised")], 120),
    ],
    ids=["signed out", "idle", "revoked"],
)
def test_a_session_that_is_over_is_forgotten_after_its_time(last: list[Event], after: int) -> None:
    this_desk = desk()
    this_desk.each(*last)
    key = row_key(Subject("default", "s-1").pack())

    this_desk.each(*others(0, after + 15))
    assert key in this_desk.rows
    this_desk.each(*others(after + 15, after + 35))

    assert key not in this_desk.rows
    assert this_desk.scorer.table.find("default", "s-1") == -1
    assert len(this_desk.scorer.table) == 1


def test_a_device_that_goes_on_reporting_does_not_keep_a_session_that_nobody_uses() -> None:
    this_desk, idle_s = Desk(), 12 * 3600
    this_desk.each(auth(0, device_id="phone-1"), *(context(at, device_id="phone-1") for at in (3600, idle_s)))

    this_desk.play(call(idle_s + 60, session_id="s-2"))

    assert sorted(this_desk.rows) == [row_key(Subject("default", "s-2").pack())]


def test_who_is_forgotten_without_a_word_is_said_to_have_ended_once() -> None:
    this_desk = desk()
    this_desk.each(auth(0, device_id="phone-1"), *others(0, 200))

    assert [event["kind"] for event in this_desk.output(topics.PRINCIPAL_ACTIVITY, "ana")] == [
        "started",
        "ended",
    ]
    assert [event["state"] for event in this_desk.output(topics.SESSION_BINDINGS, "phone-1")] == [
        "live",
        "ended",
    ]


@pytest.mark.parametrize("end", ["sign_out", "revoke", "idle"])
def test_a_finding_is_closed_when_its_session_is_over(end: str) -> None:
    this_desk = desk(OBSERVING if end == "idle" else f"{UNASKED}{BUSY}")
    this_desk.each(
        auth(0), call(1, records=60, sensitivity="restricted"), call(2, records=60, sensitivity="restricted")
    )
    if end == "sign_out":
        this_desk = desk(OBSERVING)
        this_desk.each(auth(0), call(1, records=200, sensitivity="restricted"), auth(3, action="sign_out"))
    if end == "revoke":
        this_desk.play(ack(3, revocation_id=this_desk.revoked("s-1")[0]))
    this_desk.each(*others(5, 600))

    events = this_desk.output(topics.SESSION_FINDINGS, "s-1")
    assert [finding["activity_id"] for finding in events if finding["activity_id"] != 2] == [1, 3]
    assert len({finding["finding_info"]["uid"] for finding in events}) == 1
    assert events[-1]["status_id"] == 4
    assert "model" not in events[-1]["message"]


def test_a_session_that_goes_on_after_its_sign_out_is_judged_again() -> None:
    this_desk = desk(f"{UNASKED}{BUSY}")
    this_desk.each(auth(0), auth(5, action="sign_out"), call(30), call(31, records=200, sensitivity="restricted"))

    assert len(this_desk.revoked("s-1")) == 1


def test_a_session_that_goes_on_is_kept_as_long_as_any_other() -> None:
    this_desk = desk()
    this_desk.each(auth(0), auth(5, action="sign_out"), call(30), *others(35, 140))

    assert row_key(Subject("default", "s-1").pack()) in this_desk.rows


def test_a_call_that_was_late_does_not_bring_a_session_back_after_its_sign_out() -> None:
    this_desk = desk()
    this_desk.each(auth(0), auth(5, action="sign_out"), call(4, records=200, sensitivity="restricted"))

    assert this_desk.revoked("s-1") == []


def test_a_session_that_signs_in_again_under_its_old_id_starts_again() -> None:
    this_desk = desk()
    this_desk.each(auth(0, device_id="phone-1"), auth(5, action="sign_out"), auth(20, device_id="phone-1"), call(21))

    assert [event["kind"] for event in this_desk.output(topics.PRINCIPAL_ACTIVITY)] == [
        "started",
        "ended",
        "started",
    ]
    assert [event["state"] for event in this_desk.output(topics.SESSION_BINDINGS)] == ["live", "ended", "live"]


def test_no_more_sessions_are_held_than_allowed_and_the_longest_idle_go_first() -> None:
    this_desk = desk(max_sessions=5)
    for at in range(40):
        this_desk.play(auth(at, session_id=f"n-{at}"))
    this_desk.each(*others(40, 60))

    assert len(this_desk.rows) <= 6
    assert this_desk.counts[("evicted_sessions",)] >= 34
    assert row_key(Subject("default", "ben").pack()) in this_desk.rows
    assert len(this_desk.output(topics.PRINCIPAL_ACTIVITY)) == 41 + this_desk.counts[("evicted_sessions",)]


def test_a_revocation_nobody_acknowledged_is_not_evicted() -> None:
    this_desk = fallen(max_sessions=5)
    for at in range(2, 40):
        this_desk.play(auth(at, session_id=f"n-{at}"))

    assert row_key(Subject("default", "s-1").pack()) in this_desk.rows
    assert len(this_desk.revoked()) > 1


def test_a_flood_of_sessions_at_one_moment_is_bounded_too() -> None:
    this_desk = desk(max_sessions=100)

    for chunk in range(20):
        this_desk.play(*(auth(0, session_id=f"n-{chunk}-{at}") for at in range(50)))

    assert len(this_desk.scorer.table) <= 200
