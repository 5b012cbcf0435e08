"""Revocations over the budget: what is commanded while they are held, and when they are tried again."""

from __future__ import annotations

import pytest

from pipeline.decisions.guard import Guard
from pipeline.decisions.policy import parse_policy
from pipeline.processing.messages import stable_id
from tests.support.decision_session import REVOKED, WHO, brief, new_session

OPEN = "[guard]\nrevocations_per_minute = 1\n"


def test_a_revocation_over_the_budget_is_held_stepped_up_and_tried_again() -> None:
    guard = Guard(parse_policy(OPEN).guard, 1.0)
    first = new_session(OPEN, guard=guard).see(1, "device_rooted")
    second = new_session(OPEN, guard=guard, subject=WHO._replace(session_id="s-2"))

    held = second.see(2, "device_rooted")
    assert brief(first) == REVOKED
    assert brief(held) == ("HIGH", "step_up", False, True)
    assert (held.held, held.is_reported) == (True, True)
    assert "held by the guard: more than 1 revocations" in held.suppressed
    assert second.wake() == 60

    again = second.see(60, "device_rooted")
    assert again.revocation_id == stable_id("acme", "s-2", 0, "device_rooted")
    assert (again.action, again.held, second.risk_state.held_at) == ("revoke", False, 0)


@pytest.mark.parametrize("kind", ["agent", "service", "api_key"])
def test_a_session_that_cannot_be_stepped_up_gets_no_command_while_it_is_held(kind: str) -> None:
    session = new_session(OPEN, kind=kind)
    assert session.guard is not None
    session.guard.admit("acme", 0)

    assert brief(session.see(1, "device_rooted")) == ("HIGH", "allow", False, False)


def test_a_held_session_that_is_trusted_again_is_forgotten() -> None:
    session = new_session(OPEN, kind="agent")
    assert session.guard is not None
    session.guard.admit("acme", 0)
    session.see(1, "device_rooted")

    session.see(2)
    session.see(62)

    assert (session.risk_state.level, session.risk_state.held_at, session.risk_state.is_empty()) == ("LOW", 0, True)


def test_a_held_session_is_not_revoked_once_its_evidence_has_ended() -> None:
    session = new_session(f"{OPEN}[levels]\ndwell_s = 600")
    assert session.guard is not None
    session.guard.admit("acme", 0)
    session.see(1, "device_rooted")

    later = [session.see(at) for at in (30, 61, 120)]

    assert [(decision.level, decision.revocation_id, decision.held) for decision in later] == [("HIGH", "", False)] * 3
