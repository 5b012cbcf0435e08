"""Revocations: one for a cause, with an id derived from it, and never undone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decisions.decision import Decision
from pipeline.decisions.risk_state import Revocation
from pipeline.detections import BIT, DETECTIONS
from pipeline.processing.messages import stable_id
from tests.support.decision_session import WHO, Session, brief, new_session


def test_a_session_is_revoked_once_for_a_cause() -> None:
    session = new_session()

    decisions = [session.see(at, "device_rooted") for at in (0, 10)]
    session.risk_state.revocation = None
    decisions.append(session.see(20, "device_rooted"))

    assert [decision.revocation_id for decision in decisions] == [stable_id("acme", "s-1", 0, "device_rooted")] * 3


@settings(max_examples=30)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=10), st.integers(0, 9))
def test_the_id_of_a_revocation_does_not_depend_on_when_or_by_which_event(looks: list[int], extra: int) -> None:
    session = new_session()
    at = 0
    for step in looks:
        at += step
        session.see(at, id_=f"x-{at}-{extra}")

    assert session.see(at + 1, "device_rooted", id_=f"y-{extra}").revocation_id == stable_id(
        "acme", "s-1", 0, "device_rooted"
    )


def test_the_largest_contribution_is_the_cause() -> None:
    decision = new_session().see(0, "mass_read", "device_rooted")

    assert decision.revocation_id == stable_id("acme", "s-1", 0, "device_rooted")


def test_a_sign_in_that_clears_nothing_changes_no_id() -> None:
    session, other = Session(), Session()
    other.risk_state.children.append("s-2")
    other.see(0, action="sign_in")

    assert session.see(10, "device_rooted").revocation_id == other.see(10, "device_rooted").revocation_id != ""


def test_another_tenant_session_or_epoch_has_another_id() -> None:
    ids = {
        new_session(subject=WHO._replace(**other)).see(0, "device_rooted").revocation_id
        for other in ({}, {"tenant": "z"}, {"session_id": "z"})
    }
    later = new_session()
    later.risk_state.epoch = 1
    ids.add(later.see(0, "device_rooted").revocation_id)

    assert len(ids) == 4


def test_a_revoked_session_stays_revoked_whatever_comes() -> None:
    session = new_session()
    first = session.see(0, "device_rooted")
    _revoke(session, first)

    later = [session.see(at, action="step_up_passed", strong_age_s=0) for at in (10, 100, 4000)]

    assert [(decision.action, decision.revocation_id, decision.challenge_id) for decision in later] == [
        ("revoke", "", "")
    ] * 3
    assert session.risk_state.epoch == 0


def _revoke(one: Session, decision: Decision) -> None:
    one.risk_state.revocation = Revocation({"revocation_id": decision.revocation_id}, one.at + 60_000)


def test_silence_after_a_revocation_is_no_evidence() -> None:
    session = new_session()
    _revoke(session, session.see(0, "device_rooted"))

    later = session.see(300, "telemetry_silent_while_idle", "telemetry_silent_while_active")

    assert [part.detection for part in later.contributions if DETECTIONS[BIT[part.detection]].rests_on_silence] == []


def test_observe_mode_decides_and_commands_nothing() -> None:
    session = new_session('mode = "observe"')

    high, medium = session.see(0, "device_rooted"), new_session('mode = "observe"').see(0, "network_changed")

    assert brief(high) == ("HIGH", "revoke", False, False)
    assert brief(medium) == ("MEDIUM", "step_up", False, False)
    assert high.is_reported
    assert medium.is_reported
    assert (session.risk_state.revocation, session.risk_state.challenge, session.risk_state.held_at) == (
        None,
        None,
        0,
    )
