"""What sessions tell their principal of what they did: every half hour, at their end, and at first uses."""

from __future__ import annotations

from typing import Any

from schemas import topics
from tests.support.run_processors import Desk, Event, by_key, read
from tests.support.samples import T0, auth, call, context

READ = {"records": 30, "sensitivity": "restricted"}
AGENT: dict[str, Any] = {"principal_kind": "agent", "tool": "mail"}


def received(desk: Desk, kind: str, *members: str) -> list[Any]:
    """What s-1 said of this kind of activity."""
    events = [event for event in desk.output(topics.PRINCIPAL_ACTIVITY) if event["session_id"] == "s-1"]
    return [[event.get(name) for name in members] for event in events if event["kind"] == kind]


def working(until: int, every: int = 300) -> list[Event]:
    """s-1 calls all the while; ben drives the time on."""
    events = [auth(0), auth(0, session_id="ben", principal_id="ben")]
    for at in range(1, until, every):
        events += [call(at, operation="GET /y"), call(at + 60, session_id="ben", principal_id="ben")]
    return events


def test_a_session_sums_up_every_half_hour_of_its_life() -> None:
    desk = Desk()
    desk.each(*working(2 * 3600 + 300))

    assert [(at - T0) // 1_800_000 for (at,) in received(desk, "summary", "occurred_at")] == [1, 2, 3, 4]
    assert all(name == f"summary:{at}~a" for name, at in received(desk, "summary", "event_id", "occurred_at"))


def test_a_summary_tells_the_most_since_the_last_one_and_names_no_zeros() -> None:
    desk = Desk()
    desk.each(auth(0), call(1, **READ), call(1801, session_id="ben", principal_id="ben"))
    desk.each(call(1830, session_id="ben", principal_id="ben"), call(3000, operation="GET /y"))
    desk.each(call(3700, session_id="ben", principal_id="ben"))

    first, second = received(desk, "summary", "peaks")
    assert first == [{"calls_10m": 1.0, "records_10m": 31.0, "sensitive_records_10m": 31.0}]
    assert 1.0 <= second[0]["calls_10m"] < 1.2
    assert second[0]["records_10m"] < 2.0


def test_a_session_that_calls_nothing_has_nothing_to_sum_up() -> None:
    desk = Desk()
    desk.each(auth(0), *[call(at, session_id="ben", principal_id="ben") for at in range(0, 7200, 600)])

    assert received(desk, "summary", "at") == []


def test_a_session_that_ends_tells_what_it_did_since_its_last_summary() -> None:
    desk = Desk()
    desk.each(auth(0), call(1, **READ), auth(2, action="sign_out"))

    assert received(desk, "ended", "peaks") == [
        [{"calls_10m": 1.0, "records_10m": 31.0, "sensitive_records_10m": 31.0}]
    ]


def test_scopes_that_are_granted_are_told_and_those_that_are_only_refreshed_are_not() -> None:
    desk = Desk()
    desk.each(
        auth(0, scopes=["read"]),
        auth(1, action="token_issued", scopes=["read", "admin"]),
        auth(2, action="token_refreshed", scopes=["read", "admin"]),
    )

    assert received(desk, "started", "used") == [[["scope:read"]]]
    assert received(desk, "used", "used") == [[["scope:read", "scope:admin"]]]


def test_a_first_use_that_matters_is_told_once() -> None:
    desk = Desk()
    desk.each(auth(0), call(1), call(2, scope="pay"), call(3, scope="pay"), call(4, **READ))
    desk.each(call(5, operation="iam:CreateUser"), call(6, sensitivity="internal", operation="GET /z"))

    assert received(desk, "used", "used") == [
        [["scope:pay"]],
        [["operation:GET /x"]],
        [["operation:iam:CreateUser"]],
    ]


def test_only_of_agents_tools_are_told() -> None:
    desk = Desk()
    desk.each(auth(0), call(1, tool="mail"), call(2, **AGENT), call(3, **AGENT | {"tool": "shell"}))

    assert received(desk, "used", "used") == [[["tool:shell"]]]


def test_the_answer_to_a_summary_leaves_what_is_known_of_the_session() -> None:
    desk = Desk("[detections.network_changed]\nweight = 4.0\n")
    desk.each(
        auth(0, asn=1),
        context(1, source="principal", known_asn=False, novelty=0.5, sessions_seen=3),
        context(2, source="principal", days_known=9, usual={"calls_10m": 3.0}, signals=[]),
    )

    row = desk.scorer.table.rows[0]
    assert (row["sessions_seen"], row["novelty"], row["days_known"], row["usual"][0]) == (3, 500, 9, 16)


def test_where_the_stream_is_cut_changes_no_summary() -> None:
    events = working(2 * 3600)
    this_desk, other = Desk(), Desk()
    this_desk.each(*events)
    other.play(*events[:2])
    for start in range(2, len(events), 7):
        other.play(*events[start : start + 7])

    activity = topics.PRINCIPAL_ACTIVITY
    by_keys = [
        {key: events_read for key, events_read in by_key(read(desk.messages)).items() if key[0] == activity}
        for desk in (this_desk, other)
    ]
    assert by_keys[0] == by_keys[1]
    assert this_desk.rows == other.rows


def test_a_worker_that_takes_over_sums_up_the_same() -> None:
    events = working(3600)
    desk = Desk()
    desk.each(*events[:8])
    other = desk.restarted()
    desk.each(*events[8:])
    other.each(*events[8:])

    assert received(other, "summary", "peaks") == received(desk, "summary", "peaks")
