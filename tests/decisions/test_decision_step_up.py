"""Step-ups: when one is requested, what a passed one clears and for how long, and what a missed one leads to."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.detections import DETECTIONS
from pipeline.processing.messages import stable_id
from tests.support.decision_session import ASKED, CHALLENGED, QUIET, REVOKED, brief, new_session


def test_a_step_up_is_requested_once() -> None:
    session = new_session()

    asked = [session.see(at, "network_changed").challenge_id for at in (0, 10, 20)]

    assert asked == [stable_id("acme", "s-1", 0, "network_changed", "step-up"), "", ""]
    assert session.wake() == 60


def test_a_passed_step_up_clears_what_it_can() -> None:
    session = new_session()
    session.see(0, "network_changed")
    session.see(10)

    passed = session.see(20, action="step_up_passed", strong_age_s=0)

    assert (brief(passed), passed.previous, passed.is_reported) == (QUIET, "MEDIUM", True)
    assert (session.risk_state.challenge, session.risk_state.epoch, session.risk_state.episodes) == (None, 1, {})
    assert brief(session.see(400)) == QUIET


def test_a_passed_step_up_does_not_clear_a_jailbroken_device() -> None:
    session = new_session('[human]\nmedium = "step_up"\nhigh = "step_up"')
    session.see(0, "device_rooted")

    passed = session.see(20, "device_rooted", action="step_up_passed", strong_age_s=0)

    assert passed.level == "HIGH"


@pytest.mark.parametrize("rule", ["privilege_widened", "telemetry_silent_while_idle"])
def test_a_step_up_is_not_requested_again_for_evidence_that_was_just_cleared(rule: str) -> None:
    session = new_session()
    session.see(0, rule)

    passed = session.see(20, rule, action="step_up_passed", strong_age_s=0)
    later = [session.see(at, rule) for at in (30, 100, 400)]

    assert [brief(decision) for decision in (passed, *later)] == [QUIET] * 4


@pytest.mark.parametrize("rule", ["privilege_widened", "network_changed"])
def test_a_step_up_is_requested_again_when_the_evidence_starts_again(rule: str) -> None:
    session = new_session()
    session.see(0, rule)
    session.see(20, rule, action="step_up_passed", strong_age_s=0)
    session.see(700)

    again = session.see(710, rule)

    assert brief(again) == CHALLENGED
    assert again.challenge_id == stable_id("acme", "s-1", 1, rule, "step-up")


ANSWERED_FOR_A_WHILE = [rule for rule in DETECTIONS if rule.cleared_for_s]


@pytest.mark.parametrize("rule", ANSWERED_FOR_A_WHILE, ids=lambda rule: rule.id)
def test_evidence_that_comes_and_goes_leads_to_one_step_up_in_the_time_it_stays_cleared(rule: Any) -> None:
    session = new_session("[levels]\ndwell_s = 0\n[times]\nrepeat_s = 1e6")
    session.see(0, rule.id)
    session.see(20, rule.id, action="step_up_passed", strong_age_s=0)

    again = [
        session.see(at, *holding) for at in range(700, int(rule.cleared_for_s), 600) for holding in ((), (rule.id,))
    ]
    wakes = session.wake()
    later = session.see(20 + rule.cleared_for_s, rule.id)

    assert [brief(decision) for decision in again] == [QUIET] * len(again)
    assert wakes == 20 + rule.cleared_for_s
    assert brief(later) == {"HIGH": ASKED, "MEDIUM": CHALLENGED, "LOW": QUIET}[rule.severity]


def test_only_detections_that_held_stay_cleared_for_a_while() -> None:
    session = new_session()
    session.see(0, "network_changed")
    session.see(20, action="step_up_passed", strong_age_s=0)

    assert brief(session.see(700, "unfamiliar_scope")) == CHALLENGED


def test_only_detections_that_a_step_up_clears_can_stay_cleared() -> None:
    assert ANSWERED_FOR_A_WHILE
    assert all(rule.cleared_by_step_up for rule in ANSWERED_FOR_A_WHILE)


def test_a_step_up_clears_every_suspicion_that_leads_to_one() -> None:
    of_people = [rule for rule in DETECTIONS if not rule.is_fact and rule.severity != "LOW" and rule.id not in MACHINES]

    assert [rule.id for rule in of_people if not rule.cleared_by_step_up] == []


MACHINES = {
    "api_key_off_place",
    "machine_on_handset",
    "agent_tool_burst",
    "agent_denied_tools",
    "agent_insists",
    "agent_for_risky_user",
    "machine_probing",
    "workload_credential_off_home",
}
"""Detections that only machines show, of which nobody can be asked."""


def test_a_new_sign_in_clears_as_a_step_up_does() -> None:
    session = new_session()
    session.see(0, "network_changed")

    later = [
        session.see(20, action="sign_in", strong_age_s=0),
        session.see(40),
        session.see(400),
    ]

    assert [(decision.revocation_id, decision.challenge_id) for decision in later] == [("", "")] * 3
    assert later[-1].level == "LOW"


def test_a_missed_step_up_revokes_the_session() -> None:
    session = new_session()
    session.see(0, "network_changed")

    before, missed = session.see(299), session.see(300)

    assert before.level == "MEDIUM"
    assert brief(missed) == REVOKED
    assert missed.detections == ["step_up_missed", "network_changed"]
    assert missed.revocation_id == stable_id("acme", "s-1", 0, "step_up_missed")


def test_a_step_up_is_not_missed_while_nobody_uses_the_session() -> None:
    session = new_session()
    session.see(0, "network_changed")

    resting = session.see(300, idle=True)
    woken_at = session.wake()
    back = session.see(4_000)
    late = session.see(4_300)

    assert (resting.level, resting.detections, woken_at) == ("MEDIUM", ["network_changed"], 360)
    assert (back.detections, session.risk_state.challenge is not None) == ([], True)
    assert brief(late) == REVOKED


def test_the_first_use_since_a_challenge_is_also_found_by_the_next_event() -> None:
    session = new_session()
    session.see(0, "network_changed")
    session.see(300, idle=True)
    session.used_at = 330_000  # a call that the slow path did not see

    looks = [session.see(at, idle=True).detections for at in (360, 629, 630)]

    assert looks == [["network_changed"], ["network_changed"], ["step_up_missed", "network_changed"]]


def test_a_person_who_returns_in_time_and_passes_is_trusted() -> None:
    session = new_session()
    session.see(0, "network_changed")
    session.see(300, idle=True)
    session.see(4_000)

    answered = session.see(4_100, action="step_up_passed", strong_age_s=0)

    assert (brief(answered), session.risk_state.challenge) == (QUIET, None)


def test_the_deadline_of_a_step_up_wakes_the_session() -> None:
    session = new_session("[times]\nrepeat_s = 5000\n[levels]\ndwell_s = 0")
    session.see(0, "network_changed")

    assert session.wake() == 300


def test_a_step_up_for_a_network_is_not_withdrawn_because_time_passes() -> None:
    session = new_session()
    session.see(0, "network_changed")
    session.see(100)

    assert brief(session.see(301)) == REVOKED


# --- what the model finds -----------------------------------------------------------------------------------


def test_a_step_up_clears_what_the_model_finds_for_four_hours() -> None:
    session = new_session("anomaly_weights = [0.5, 4.0, 5.0]\n[times]\nrepeat_s = 1e6")
    session.see(0, band=4)
    session.see(20, band=4, action="step_up_passed", strong_age_s=0)

    hours = [session.see(at, band=band).action for at in range(3600, 4 * 3600, 3600) for band in (0, 3)]
    after = session.see(20 + 4 * 3600, band=6)

    assert hours == ["allow"] * len(hours)
    assert brief(after) == ("MEDIUM", "step_up", False, True)


def test_what_the_model_finds_without_an_end_is_asked_about_once() -> None:
    session = new_session("anomaly_weights = [0.5, 4.0, 5.0]\n[times]\nrepeat_s = 1e6")
    session.see(0, band=4)
    session.see(20, band=4, action="step_up_passed", strong_age_s=0)

    assert [session.see(at, band=4).action for at in (60, 20 + 4 * 3600, 6 * 3600)] == ["allow"] * 3
