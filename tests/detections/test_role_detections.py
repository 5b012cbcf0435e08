"""Detections on newcomers: compared with their role, as far as the model knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.histories import HOUR_S, Row, days, names, now, repeated, session
from tests.support.role_samples import one_role
from tests.support.run_processors import Event, found, replayed
from tests.support.samples import call

Do = Callable[[float, dict[str, Any]], list[Event]]
AGENT: dict[str, Any] = {"principal_id": "assistant", "principal_kind": "agent"}
SERVICE: dict[str, Any] = {"principal_id": "backup", "principal_kind": "service"}
MAIL: dict[str, Any] = {"tool": "mail", "operation": "POST /tools/mail"}
VAULT: dict[str, Any] = {"operation": "GET /vault", "sensitivity": "restricted", "scope": "vault.read"}
PAY: dict[str, Any] = {"operation": "POST /pay", "sensitivity": "restricted", "scope": "pay.write"}
BETA: dict[str, Any] = {"operation": "GET /beta", "scope": "beta.read"}
ROLES = one_role(
    ("GET /x", "POST /pay", "POST /tools/mail"),
    {
        "sensitive_records_10m": 20.0,
        "sensitive_records_1h": 40.0,
        "refused_10m": 1.0,
        "tool_calls_1m": 12.0,
        "denied_10m": 6.0,
    },
)
"""Clerks read and pay, and their assistants read mail."""


def then(*parts: Do) -> Do:
    """One after the other, each from ten minutes after the one before began."""
    return lambda start, subject: [event for at, part in enumerate(parts) for event in part(start + 600 * at, subject)]


def work(**what: Any) -> Do:
    """What the model knows, for nearly ten minutes."""
    return repeated(25, 20, **what)


def among_work(count: int, **what: Any) -> Do:
    """Work, with *count* other calls in the middle of it."""
    return then(work(), lambda start, subject: [*work()(start, subject), *repeated(count, 33, **what)(start, subject)])


def tools(*tools: str) -> Do:
    """Mail, then each of the tools once among more of it."""
    return then(
        work(**MAIL),
        lambda start, subject: [
            *work(**MAIL)(start, subject),
            *(
                call(start + 75 + 33 * at, tool=tool, operation=f"POST /tools/{tool}", **subject)
                for at, tool in enumerate(tools)
            ),
        ],
    )


def refused(count: int, **what: Any) -> Do:
    """*count* different resources are not found."""
    return lambda start, subject: [
        *work()(start, subject),
        *(call(start + 65 + 10 * at, status=404, resource=f"r-{at}", **what, **subject) for at in range(count)),
    ]


def others(number: int, *tools: str, **what: Any) -> list[Event]:
    """*number* colleagues did the same this morning, or as many agents used the tools."""
    events = []
    for at in range(number):
        kind = "agent" if tools else "human"
        subject = {"session_id": f"c-{at}", "principal_id": f"c-{at}", "principal_kind": kind}
        used = [{"tool": tool, "operation": f"POST /tools/{tool}"} for tool in tools] or [what]
        did = [call(8 * HOUR_S + 60 + at, **members, **subject) for members in used]
        events += session(8 * HOUR_S, *did, **subject)
    return events


DRIP = then(*[repeated(20, 30, records=5, sensitivity="confidential")] * 4)
SIP = then(*[repeated(20, 30, records=1, sensitivity="confidential")] * 4)
ELSEWHERE: dict[str, Any] = {"operation": "GET /elsewhere"}
BULK: dict[str, Any] = {"records": 150, "sensitivity": "restricted"}

ROWS = [
    Row(
        "slow_exfiltration",
        now(DRIP),
        now(SIP),
        (
            [*days(4, do=repeated(1, records=145, sensitivity="confidential")), *now(DRIP)],
            now(DRIP, **SERVICE),
            now(then(*[repeated(20, 30, records=5, sensitivity="confidential", **ELSEWHERE)] * 4)),
        ),
    ),
    Row(
        "unfamiliar_scope",
        now(among_work(1, **VAULT)),
        now(among_work(1, **PAY)),
        (
            [*others(3, **VAULT), *now(among_work(1, **VAULT))],
            now(among_work(1, operation="GET /vault", sensitivity="confidential", scope="vault.read")),
            now(then(repeated(25, 20, **ELSEWHERE), repeated(25, 20, **VAULT))),
            now(among_work(1, **VAULT), **SERVICE),
        ),
    ),
    Row(
        "unfamiliar_scope",
        now(among_work(8, **BETA)),
        now(among_work(4, **BETA)),
        ([*others(3, **BETA), *now(among_work(8, **BETA))],),
    ),
    Row(
        "access_probing",
        now(refused(8)),
        now(refused(5)),
        (
            now(then(repeated(25, 20, **ELSEWHERE), refused(8, **ELSEWHERE), repeated(9, **ELSEWHERE))),
            [*days(4, do=refused(5)), *now(refused(8))],
        ),
    ),
    Row(
        "mass_read",
        now(repeated(10, **BULK)),
        now(repeated(6, **BULK)),
        (now(repeated(10, **BULK, **ELSEWHERE)),),
    ),
    Row(
        "agent_tool_burst",
        now(repeated(80, 0.25, **MAIL), **AGENT),
        now(repeated(50, 0.25, **MAIL), **AGENT),
        (now(repeated(80, 0.25, **MAIL | ELSEWHERE), **AGENT),),
    ),
    Row(
        "agent_tool_burst",
        now(tools("shell", "tunnel"), **AGENT),
        now(tools("shell"), **AGENT),
        ([*others(3, "shell", "tunnel"), *now(tools("shell", "tunnel"), **AGENT)],),
    ),
    Row(
        "agent_insists",
        now(repeated(20, 5, status=403, **MAIL), **AGENT),
        now(repeated(10, 5, status=403, **MAIL), **AGENT),
        (now(repeated(15, 5, status=403, **MAIL), **AGENT), now(repeated(20, 5, status=403))),
    ),
]


def seen(events: list[Event]) -> set[str]:
    return found(replayed(events, roles=ROLES), "s-1")


@pytest.mark.parametrize("row", ROWS, ids=names(ROWS))
def test_a_newcomer_who_does_what_nobody_in_that_role_does_is_detected(row: Row) -> None:
    assert row.rule in seen(row.fires)


@pytest.mark.parametrize("row", ROWS, ids=names(ROWS))
def test_behaviour_usual_in_the_role_is_not_detected(row: Row) -> None:
    assert row.rule not in seen(row.quiet)


@pytest.mark.parametrize("row", ROWS, ids=names(ROWS))
def test_honest_newcomers_are_not_detected(row: Row) -> None:
    assert [row.rule in seen(events) for events in row.honest] == [False] * len(row.honest)


@pytest.mark.parametrize("row", [row for row in ROWS if row.rule != "agent_insists"])
def test_without_a_model_no_newcomer_is_detected(row: Row) -> None:
    assert row.rule not in found(replayed(row.fires), "s-1")
