"""Approvals: whoever answers for a service, key or agent is asked, what the answer clears, and what silence means."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipeline.processing.messages import stable_id
from tests.support.decision_session import ASKED, CHALLENGED, HELD, QUIET, brief, new_session

DAY_S = 86_400
MACHINES = ("service", "api_key")
GOES_ON = ("HIGH", "hold_for_approval", False, False)


@pytest.mark.parametrize("kind", [*MACHINES, "agent"])
def test_an_approval_is_requested_once(kind: str) -> None:
    session = new_session(kind=kind)

    decisions = [session.see(at, "mass_read") for at in (0, 10, 20)]

    assert [brief(decision) for decision in decisions] == [HELD, GOES_ON, GOES_ON]
    assert decisions[0].challenge_id == stable_id("acme", "s-1", 0, "mass_read", "approval")
    challenge = session.risk_state.challenge
    assert challenge is not None
    assert (challenge.asks, challenge.deadline) == ("approval", 3_600_000)


@pytest.mark.parametrize(
    ("kind", "expected"), [*((kind, "hold_for_approval") for kind in MACHINES), ("agent", "allow")]
)
def test_at_medium_owners_of_machines_are_asked_and_users_of_agents_are_not(kind: str, expected: str) -> None:
    assert brief(new_session(kind=kind).see(0, "access_probing"))[:2] == ("MEDIUM", expected)


@pytest.mark.parametrize("kind", [*MACHINES, "agent"])
def test_an_approval_clears_every_suspicion_for_a_day(kind: str) -> None:
    session = new_session(kind=kind)
    session.see(0, "mass_read", "api_key_off_place", band=6)

    approved = session.see(600, "mass_read", "api_key_off_place", band=6, action="step_up_passed")
    later = [session.see(at, "mass_read", "api_key_off_place", band=6) for at in (700, DAY_S)]
    next_day = session.see(DAY_S + 601, "mass_read", "api_key_off_place")

    assert [brief(decision) for decision in (approved, *later)] == [QUIET] * 3
    assert brief(next_day) == QUIET  # it never stopped
    session.see(DAY_S + 8000)
    assert brief(session.see(DAY_S + 8100, "mass_read")) == HELD


def test_an_approval_does_not_clear_facts() -> None:
    session = new_session('[service]\nhigh = "hold_for_approval"', kind="service")
    session.see(0, "device_rooted")

    assert session.see(20, "device_rooted", action="step_up_passed").level == "HIGH"


@pytest.mark.parametrize("action", ["sign_in", "step_up_passed"])
def test_a_machine_clears_nothing_before_anybody_was_asked(action: str) -> None:
    session = new_session('[service]\nmedium = "allow"', kind="service")
    session.see(0, "access_probing")

    answered = session.see(10, "access_probing", action=action)

    assert (answered.level, session.risk_state.cleared_until, session.risk_state.epoch) == ("MEDIUM", {}, 0)


@pytest.mark.parametrize("kind", [*MACHINES, "agent"])
def test_a_machine_that_signs_in_again_has_not_been_approved(kind: str) -> None:
    session = new_session(kind=kind)
    session.see(0, "mass_read")

    signed_in = session.see(10, "mass_read", action="sign_in")

    assert brief(signed_in) == GOES_ON
    assert session.risk_state.challenge is not None


@pytest.mark.parametrize("kind", MACHINES)
def test_no_machine_is_ended_because_nobody_answered_for_it(kind: str) -> None:
    session = new_session(kind=kind)

    seen = [session.see(at, "mass_read") for at in range(0, 2 * DAY_S, 1800)]

    assert [brief(decision) for decision in seen] == [HELD, *[GOES_ON] * (len(seen) - 1)]
    assert "step_up_missed" not in session.risk_state.episodes


def test_a_policy_may_end_machines_for_which_nobody_answers() -> None:
    session = new_session('[service]\nunanswered = "revoke"', kind="service")
    session.see(0, "mass_read")

    assert brief(session.see(3599, "mass_read")) == GOES_ON
    assert brief(session.see(3600, "mass_read")) == ("HIGH", "revoke", True, False)


def test_an_agent_is_ended_when_its_user_does_not_answer_within_an_hour() -> None:
    session = new_session(kind="agent")
    session.see(0, "mass_read")

    assert brief(session.see(3599, "mass_read")) == GOES_ON
    assert brief(session.see(3600, "mass_read")) == ("HIGH", "revoke", True, False)


def test_a_policy_may_leave_the_sessions_of_people_who_do_not_answer() -> None:
    session = new_session('[human]\nunanswered = "allow"')

    assert brief(session.see(0, "mass_read")) == ASKED
    assert brief(session.see(301, "mass_read")) == ("HIGH", "step_up", False, False)


def test_what_comes_after_an_unanswered_approval_is_asked_about_again() -> None:
    session = new_session(kind="service")
    session.see(0, "mass_read")
    for at in (3700, 7300, 7400):
        session.see(at)

    again = session.see(8000, "mass_read")

    assert (session.risk_state.level, brief(again)) == ("HIGH", HELD)


# --- Habits -----------------------------------------------------------------------------------------------------------


def test_what_a_person_refutes_again_and_again_is_asked_about_half_as_often_each_time_and_daily_at_least() -> None:
    session = new_session()
    asked, held = [], "non_browser_client"
    for hour in range(24 * 8):
        decision = session.see(hour * 3600, held)
        if decision.challenge_id:
            asked.append(hour)
            session.see(hour * 3600 + 60, held, action="step_up_passed", strong_age_s=0)
        session.see(hour * 3600 + 120)
        session.see(hour * 3600 + 3500)

    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps[:6] == [2, 3, 5, 9, 17, 25]
    assert set(gaps[6:]) == {25}


def test_a_sign_in_that_nobody_asked_for_makes_no_habit() -> None:
    session = new_session('[human]\nmedium = "allow"')
    for at in (0, 10_000, 20_000):
        session.see(at, "privilege_widened")
        session.see(at + 60, "privilege_widened", action="sign_in")
        session.see(at + 120)

    assert session.risk_state.times_cleared == {}
    assert brief(new_session().see(0, "privilege_widened")) == CHALLENGED
