"""The end of a session: when it is over, forgotten, evicted or begun again, and who is told."""

from __future__ import annotations

import pytest

from models.state.table import Names
from pipeline.sessions.state_store import row_key
from schemas import topics
from tests.support.event_streams import BUSY
from tests.support.run_processors import Desk, Event
from tests.support.samples import ack, auth, call, context, feedback
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
    one = desk()
    one.each(*last)
    key = row_key(Names("default", "s-1").pack())

    one.each(*others(0, after + 15))
    assert key in one.rows
    one.each(*others(after + 15, after + 35))

    assert key not in one.rows
    assert one.scorer.table.find("default", "s-1") == -1
    assert len(one.scorer.table) == 1


def test_a_device_that_goes_on_reporting_does_not_keep_a_session_that_nobody_uses() -> None:
    one, idle_s = Desk(), 12 * 3600
    one.each(auth(0, device_id="phone-1"), *(context(at, device_id="phone-1") for at in (3600, idle_s)))

    one.play(call(idle_s + 60, session_id="s-2"))

    assert sorted(one.rows) == [row_key(Names("default", "s-2").pack())]


def test_who_is_forgotten_without_a_word_is_said_to_have_ended_once() -> None:
    one = desk()
    one.each(auth(0, device_id="phone-1"), *others(0, 200))

    assert [told["kind"] for told in one.said(topics.PRINCIPAL_ACTIVITY, "ana")] == ["started", "ended"]
    assert [told["state"] for told in one.said(topics.SESSION_BINDINGS, "phone-1")] == ["live", "ended"]


@pytest.mark.parametrize("end", ["sign_out", "revoke", "idle"])
def test_a_finding_is_closed_when_its_session_is_over(end: str) -> None:
    one = desk(OBSERVING if end == "idle" else BUSY)
    one.each(
        auth(0), call(1, records=60, sensitivity="restricted"), call(2, records=60, sensitivity="restricted")
    )
    if end == "sign_out":
        one = desk(OBSERVING)
        one.each(auth(0), call(1, records=200, sensitivity="restricted"), auth(3, action="sign_out"))
    if end == "revoke":
        one.play(ack(3, revocation_id=one.revoked("s-1")[0]))
    one.each(*others(5, 600))

    told = one.said(topics.SESSION_FINDINGS, "s-1")
    assert [finding["activity_id"] for finding in told if finding["activity_id"] != 2] == [1, 3]
    assert len({finding["finding_info"]["uid"] for finding in told}) == 1
    assert told[-1]["status_id"] == 4
    assert "model" not in told[-1]["message"]


def test_a_session_that_goes_on_after_its_sign_out_is_judged_again() -> None:
    one = desk()
    one.each(auth(0), auth(5, action="sign_out"), call(30), call(31, records=200, sensitivity="restricted"))

    assert len(one.revoked("s-1")) == 1


def test_a_session_that_goes_on_is_kept_as_long_as_any_other() -> None:
    one = desk()
    one.each(auth(0), auth(5, action="sign_out"), call(30), *others(35, 140))

    assert row_key(Names("default", "s-1").pack()) in one.rows


def test_a_call_that_was_late_does_not_bring_a_session_back_after_its_sign_out() -> None:
    one = desk()
    one.each(auth(0), auth(5, action="sign_out"), call(4, records=200, sensitivity="restricted"))

    assert one.revoked("s-1") == []


def test_a_session_that_signs_in_again_under_its_old_id_starts_again() -> None:
    one = desk()
    one.each(
        auth(0, device_id="phone-1"), auth(5, action="sign_out"), auth(20, device_id="phone-1"), call(21)
    )

    assert [told["kind"] for told in one.said(topics.PRINCIPAL_ACTIVITY)] == ["started", "ended", "started"]
    assert [told["state"] for told in one.said(topics.SESSION_BINDINGS)] == ["live", "ended", "live"]


def test_no_more_sessions_are_held_than_allowed_and_the_longest_idle_go_first() -> None:
    one = desk(max_sessions=5)
    for at in range(40):
        one.play(auth(at, session_id=f"n-{at}"))
    one.each(*others(40, 60))

    assert len(one.rows) <= 6
    assert one.counts[("evicted_sessions",)] >= 34
    assert row_key(Names("default", "ben").pack()) in one.rows
    assert len(one.said(topics.PRINCIPAL_ACTIVITY)) == 41 + one.counts[("evicted_sessions",)]


def test_a_revocation_nobody_acknowledged_is_not_evicted() -> None:
    one = fallen(max_sessions=5)
    for at in range(2, 40):
        one.play(auth(at, session_id=f"n-{at}"))

    assert row_key(Names("default", "s-1").pack()) in one.rows
    assert len(one.revoked()) > 1


def test_a_flood_of_sessions_at_one_moment_is_bounded_too() -> None:
    one = desk(max_sessions=100)

    for chunk in range(20):
        one.play(*(auth(0, session_id=f"n-{chunk}-{at}") for at in range(50)))

    assert len(one.scorer.table) <= 200
