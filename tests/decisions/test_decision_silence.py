"""A silent device: alone, in a silent fleet, and where no device of the tenant sends telemetry."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.decision_session import ASKED, QUIET, REVOKED, brief, new_session
from tests.support.samples import UNASKED

# --- one device -------------------------------------------------------------------------------------------


def test_a_step_up_for_silence_is_withdrawn_when_telemetry_returns() -> None:
    session = new_session(silence_unverified=True)
    asked = session.see(0, "telemetry_silent_while_active")
    session.see(100)

    after = session.see(301)

    assert asked.challenge_id
    assert brief(after) == QUIET
    assert session.risk_state.challenge is None


def test_a_withdrawn_step_up_is_not_requested_again_during_the_dwell_time() -> None:
    session = new_session(silence_unverified=True)
    session.see(0, "telemetry_silent_while_active")

    later = [session.see(at) for at in (10, 20, 59)]

    assert [brief(decision)[1:] for decision in later] == [("allow", False, False)] * 3


def test_a_device_that_is_silent_while_idle_leads_to_no_step_up() -> None:
    session = new_session()

    looks = [session.see(at, "telemetry_silent_while_idle", idle=True) for at in (0, 300, 80_000)]

    assert [brief(look) for look in looks] == [QUIET] * 3


# --- a fleet that is silent too ---------------------------------------------------------------------------


def test_silence_leads_to_no_command_while_the_whole_fleet_is_silent() -> None:
    session = new_session(fleet_silent=True)

    held = session.see(0, "telemetry_silent_while_active")

    assert (brief(held), held.held) == (("HIGH", "allow", False, False), True)
    assert held.suppressed == (
        "held by the guard: many of the tenant's devices are silent, their way here may be broken"
    )


def test_a_missed_step_up_in_a_silent_fleet_leads_to_no_revocation() -> None:
    session = new_session(fleet_silent=True)
    session.see(0, "telemetry_silent_while_active")

    missed = session.see(301, "telemetry_silent_while_active")

    assert (missed.level, missed.revocation_id) == ("HIGH", "")


def test_when_telemetry_returns_no_session_is_revoked_for_a_step_up_missed_meanwhile() -> None:
    session = new_session(fleet_silent=True)
    session.see(0, "telemetry_silent_while_active")
    session.see(301, "telemetry_silent_while_active")
    session.fleet_silent = False

    back = [session.see(at) for at in (400, 461, 600)]

    assert [decision.revocation_id for decision in back] == ["", "", ""]
    assert back[-1].level == "LOW"


# --- where no device is heard -----------------------------------------------------------------------------


def test_unverified_silence_leads_to_a_step_up_before_a_revocation() -> None:
    session = new_session(UNASKED, silence_unverified=True)

    asked = session.see(0, "telemetry_silent_while_active")
    missed = session.see(301, "telemetry_silent_while_active")

    assert (brief(asked), asked.held) == (("HIGH", "step_up", False, True), True)
    assert asked.suppressed == "held by the guard: no other device shows that this one could be heard"
    assert brief(missed) == REVOKED


def test_unverified_silence_leads_to_a_revocation_once_another_device_sends_telemetry() -> None:
    session = new_session(UNASKED, silence_unverified=True)
    session.see(0, "telemetry_silent_while_active")
    look_again = session.wake()
    session.silence_unverified = False

    assert look_again == 60
    assert brief(session.see(look_again, "telemetry_silent_while_active")) == REVOKED


def test_a_step_up_clears_unverified_silence_for_a_while() -> None:
    session = new_session(silence_unverified=True)
    session.see(0, "telemetry_silent_while_active")
    session.see(20, "telemetry_silent_while_active", action="step_up_passed", strong_age_s=0)

    later = [session.see(at, "telemetry_silent_while_active").action for at in (90, 600, 1819)]
    again = session.see(1821, "telemetry_silent_while_active")

    assert later == ["allow"] * 3
    assert brief(again) == ("HIGH", "step_up", False, True)


@pytest.mark.parametrize("first", ["telemetry_silent_while_active", "telemetry_silent_while_idle"])
def test_a_step_up_clears_silence_for_half_an_hour_even_if_other_devices_send_telemetry(first: str) -> None:
    session = new_session("[detections.telemetry_silent_while_idle]\nweight = 4.0")
    session.see(0, first)
    session.see(20, first, action="step_up_passed", strong_age_s=0)

    assert session.see(90, "telemetry_silent_while_active").action == "allow"
    assert brief(session.see(1821, "telemetry_silent_while_active")) == ASKED


def test_an_agent_cannot_step_up_and_a_policy_need_not_request_it() -> None:
    agent, strict = new_session(UNASKED, kind="agent"), new_session(f"{UNASKED}[guard]\nstep_up_if_unverified = false")
    agent.silence_unverified = strict.silence_unverified = True

    decided = [session.see(0, "telemetry_silent_while_active") for session in (agent, strict)]

    assert [bool(decision.revocation_id) for decision in decided] == [True, True]


# --- more than silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fleet", [{"fleet_silent": True}, {"silence_unverified": True}], ids=["silent", "unheard"])
def test_evidence_other_than_silence_revokes_whatever_the_state_of_the_fleet(fleet: dict[str, Any]) -> None:
    session = new_session(**fleet)

    assert brief(session.see(0, "telemetry_silent_while_active", "device_rooted")) == REVOKED
