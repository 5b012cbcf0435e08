"""What people answered is state: it weighs in the next decision of their tenant, also after a restart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas import topics
from tests.support.run_processors import Desk, Event
from tests.support.samples import auth, call, context

POLICY = "prior = -4.0\n[detections.network_changed]\nweight = 6.0"


def moves(at: float, name: str, **members: Any) -> list[Event]:
    """A person's session moves to a network that is new to the person."""
    who = {"session_id": f"s-{name}", "principal_id": name, **members}
    unknown = context(
        at + 2, source="principal", known_asn=False, sessions_seen=9, session_id=who["session_id"], **members
    )
    return [auth(at, asn=1, **who), call(at + 1, asn=2, **who), unknown]


def passes(at: float, name: str) -> Event:
    return auth(at, session_id=f"s-{name}", principal_id=name, action="step_up_passed", amr=["hwk"], asn=2)


def sums(desk: Desk, name: str) -> dict[str, float]:
    """The last decision about a person's session, as the summands of its score."""
    last = desk.output(topics.SESSION_RISK, f"s-{name}")[-1]
    return {reason["detection"]: reason["contribution"] for reason in last["reasons"]}


def played(desk: Desk, *events: Iterable[Event]) -> Desk:
    for part in events:
        desk.each(*part)
    return desk


def test_a_suspicion_that_a_person_refuted_weighs_less_about_the_next_person_of_the_tenant() -> None:
    desk = played(Desk(POLICY), moves(0, "ana"), [passes(30, "ana")], moves(60, "ben"))

    assert sums(desk, "ben") == {"network_changed": 6.0, "tenant_threshold": -1.0}
    assert desk.counts["refuted_step_ups",] == 1


def test_one_that_nobody_refuted_weighs_what_it_weighs() -> None:
    assert sums(played(Desk(POLICY), moves(0, "ana"), moves(60, "ben")), "ben") == {"network_changed": 6.0}


def test_what_the_people_of_a_tenant_answered_says_nothing_about_another_one() -> None:
    desk = played(Desk(POLICY), moves(0, "ana"), [passes(30, "ana")], moves(60, "ben", tenant="other"))

    assert sums(desk, "ben") == {"network_changed": 6.0}


def test_a_worker_that_takes_over_knows_what_people_answered() -> None:
    first = played(Desk(POLICY), moves(0, "ana"), [passes(30, "ana")])

    second = played(first.restarted(), moves(60, "ben"))

    assert sums(second, "ben") == {"network_changed": 6.0, "tenant_threshold": -1.0}


def test_hours_of_use_pay_for_it_and_then_its_row_is_gone() -> None:
    budget = "\n[budget]\nstep_ups_per_1000_hours = 500"
    desk = played(Desk(POLICY + budget), moves(0, "ana"), [passes(30, "ana")])
    assert [key for key in desk.rows if b"tenant" in key] != []

    for minute in range(1, 180):
        desk.each(call(60 * minute, session_id="s-ana", principal_id="ana", asn=2))

    assert [key for key in desk.rows if b"tenant" in key] == []
    assert sums(played(desk, moves(11_000, "ben")), "ben") == {"network_changed": 6.0}
