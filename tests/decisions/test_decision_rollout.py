"""Possible rollouts: commands wait for the rest of the fleet."""

from __future__ import annotations

from tests.support.decision_session import CHALLENGED, QUIET, REVOKED, brief, new_session
from tests.support.samples import UNASKED


def test_no_step_up_is_requested_before_the_fleet_had_time_to_follow() -> None:
    session = new_session()

    looks = [session.see(at, "posture_downgraded") for at in (0, 299, 300)]

    assert [brief(look) for look in looks] == [*[("MEDIUM", "allow", False, False)] * 2, CHALLENGED]
    assert [look.suppressed for look in looks] == [
        *["waiting whether other devices do the same, as in a rollout"] * 2,
        "",
    ]


def test_a_session_that_waits_for_its_fleet_wakes_when_the_time_is_over() -> None:
    session = new_session("[times]\nrepeat_s = 5000\n[levels]\ndwell_s = 0")
    session.see(0, "posture_downgraded")

    assert session.wake() == 300


def test_evidence_that_ended_before_the_fleet_could_follow_leads_to_no_step_up() -> None:
    session = new_session()
    session.see(0, "posture_downgraded")

    later = [session.see(at) for at in (120, 300, 400)]

    assert [decision.challenge_id for decision in later] == ["", "", ""]
    assert brief(later[-1]) == QUIET


TWO = "[levels]\nhigh_raise = 99\n"
"""Two detections of MEDIUM are not HIGH together."""


def test_other_evidence_does_not_wait_for_the_fleet() -> None:
    assert brief(new_session(TWO).see(0, "posture_downgraded", "network_changed")) == CHALLENGED
    assert brief(new_session().see(0, "posture_downgraded", "device_rooted")) == REVOKED


def test_no_session_is_revoked_before_the_fleet_had_time_to_follow() -> None:
    agent, person = new_session(UNASKED, kind="agent"), new_session(UNASKED)
    held = "posture_downgraded", "agent_for_risky_user"

    looks = [agent.see(at, *held) for at in (0, 299, 300)]

    assert [brief(look) for look in looks] == [*[("HIGH", "allow", False, False)] * 2, REVOKED]
    assert [look.suppressed for look in looks] == [
        *["waiting whether other devices do the same, as in a rollout"] * 2,
        "",
    ]
    asked = person.see(0, "posture_downgraded", "network_changed")
    assert brief(asked) == ("HIGH", "step_up", False, True)


def test_a_policy_may_switch_off_the_wait_for_the_fleet() -> None:
    assert brief(new_session("[times]\nrollout_s = 0").see(0, "posture_downgraded")) == CHALLENGED


FOLLOWED = {"posture_downgraded": "many of the tenant's devices did the same, as in a rollout"}


def test_a_step_up_is_withdrawn_when_the_fleet_follows_later() -> None:
    session = new_session()
    asked = [session.see(at, "posture_downgraded") for at in (0, 300)]

    withdrawn = session.see(300, observed=FOLLOWED)  # at the time of the previous event, as context events often are
    later = [session.see(at) for at in (601, 700)]

    assert brief(asked[-1]) == CHALLENGED
    assert (withdrawn.action, session.risk_state.challenge) == ("allow", None)
    assert [(decision.revocation_id, decision.challenge_id) for decision in later] == [("", "")] * 2


def test_a_step_up_is_not_withdrawn_when_the_posture_is_restored() -> None:
    session = new_session()
    for at in (0, 300):
        session.see(at, "posture_downgraded")
    session.see(400)

    assert brief(session.see(600)) == REVOKED


def test_a_step_up_with_another_cause_too_is_not_withdrawn() -> None:
    session = new_session(TWO)
    session.see(0, "posture_downgraded", "network_changed")
    session.see(100, observed=FOLLOWED)

    assert brief(session.see(300)) == REVOKED
