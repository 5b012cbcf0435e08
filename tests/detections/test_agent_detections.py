"""Detections on AI agents: compared with their own history, and with the session they act for."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import topics
from tests.support.histories import HOUR_S, Row, days, now, repeated, session, today
from tests.support.run_processors import Event, found, of, replayed
from tests.support.samples import auth, call

AGENT: dict[str, Any] = {"principal_id": "assistant", "principal_kind": "agent"}
NINE = 9 * HOUR_S
HOME: dict[str, Any] = {"asn": 64601, "ip": "192.0.2.1"}
CAFE: dict[str, Any] = {"asn": 64851, "ip": "198.51.100.1"}


def calling(*tools: str, **what: Any) -> Any:
    """Each of the tools once, a minute apart."""
    return lambda start, subject: [
        call(start + 60 * at, tool=tool, **subject, **what) for at, tool in enumerate(tools, start=1)
    ]


def denied(count: int, apart: float = 10) -> Any:
    return repeated(count, apart, tool="payments", status=403)


def others_use(tool: str) -> list[Event]:
    """Three other agents begin to use a tool this morning."""
    events = []
    for at in range(3):
        subject = {"session_id": f"a-{at}", "principal_id": f"a-{at}", "principal_kind": "agent"}
        events += session(8 * HOUR_S, call(8 * HOUR_S + 60, tool=tool, **subject), **subject)
    return events


def for_somebody(*, moves: bool, passes: bool = False, kind: str = "agent") -> list[Event]:
    """A person's session is the parent of s-1 and then, if it *moves*, is on a network new to that person."""
    ana = {"session_id": "parent", "principal_id": "ana"}
    there = CAFE if moves else HOME
    events = [
        *days(1, principal_id="ana", **HOME),
        auth(NINE, **ana, **HOME),
        auth(
            NINE + 60,
            action="token_exchanged",
            parent_session_id="parent",
            **AGENT | {"principal_kind": kind},
        ),
        call(NINE + 1200, **ana, **there),
        call(NINE + 1260, **ana, **there),
    ]
    if passes:
        events.append(auth(NINE + 1290, action="step_up_passed", **ana, **there))
    return [*events, call(NINE + 1450, **AGENT | {"principal_kind": kind})]


ROWS = [
    Row(
        "agent_denied_tools",
        now(denied(8), **AGENT),
        now(denied(4), **AGENT),
        (
            now(denied(8)),
            now(denied(8, apart=600), **AGENT),
            [*days(4, do=denied(8, apart=90), **AGENT), *now(denied(8), **AGENT)],
        ),
    ),
    Row(
        "agent_new_tool",
        [*days(4, do=calling("mail"), **AGENT), *now(calling("mail", "shell"), **AGENT)],
        [*days(4, do=calling("mail", "shell"), **AGENT), *now(calling("mail", "shell"), **AGENT)],
        (
            [*days(4, do=calling("mail"), **AGENT), *others_use("shell"), *now(calling("shell"), **AGENT)],
            [*days(2, do=calling("mail"), **AGENT), *now(calling("shell"), **AGENT)],
            [*days(4), *now(calling("shell"))],
        ),
    ),
    Row(
        "agent_tool_burst",
        [*days(4, do=calling("mail"), **AGENT), *now(repeated(80, 0.25, tool="mail"), **AGENT)],
        [
            *days(4, do=repeated(45, 0.25, tool="mail"), **AGENT),
            *now(repeated(80, 0.25, tool="mail"), **AGENT),
        ],
    ),
    Row(
        "agent_for_risky_user",
        for_somebody(moves=True),
        for_somebody(moves=False),
        (for_somebody(moves=True, kind="service"),),
    ),
]
IDS = [f"{row.rule}-{at}" for at, row in enumerate(ROWS)]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_an_agent_that_stands_out_is_detected(row: Row) -> None:
    assert row.rule in found(replayed(row.fires), "s-1")


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_an_agent_that_behaves_as_usual_is_not_detected(row: Row) -> None:
    assert row.rule not in found(replayed(row.quiet), "s-1")


@pytest.mark.parametrize("row", [row for row in ROWS if row.honest], ids=[r.rule for r in ROWS if r.honest])
def test_honest_agents_are_not_detected(row: Row) -> None:
    assert [row.rule in found(replayed(events), "s-1") for events in row.honest] == [False] * len(row.honest)


def levels(events: list[Event], session_id: str) -> list[tuple[str, list[str]]]:
    decisions = of(replayed(events), topics.SESSION_RISK, session_id)
    return [(event["level"], [reason["detection"] for reason in event["reasons"]]) for event in decisions]


def test_an_agent_is_at_risk_as_long_as_the_person_it_acts_for() -> None:
    pairs = levels(for_somebody(moves=True, passes=True), "s-1")

    risky = ("MEDIUM", ["agent_for_risky_user"])
    assert pairs == [risky, ("LOW", [])]


def test_an_agent_whose_parent_session_is_at_risk_is_detected() -> None:
    ana = {"session_id": "parent", "principal_id": "ana"}
    born = {"action": "token_exchanged", "parent_session_id": "parent", **AGENT}
    events = [
        *days(1, principal_id="ana", **HOME),
        auth(NINE, **ana, **HOME),
        call(NINE + 1200, **ana, **CAFE),
        call(NINE + 1260, **ana, **CAFE),
        auth(NINE + 1280, **born),
    ]

    assert levels([*events, *today(hour=9.36, **AGENT)], "s-1")[0] == ("MEDIUM", ["agent_for_risky_user"])
