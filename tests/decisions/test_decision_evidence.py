"""Evidence: the score and the level that follow from detections, the anomaly model and a fresh factor."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.detections import DETECTIONS
from pipeline.processing.messages import stable_id
from tests.support.decision_session import ASKED, CHALLENGED, HELD, QUIET, REVOKED, brief, new_session
from tests.support.samples import UNASKED


@pytest.mark.parametrize("rule", [rule for rule in DETECTIONS if rule.holds], ids=lambda rule: rule.id)
def test_each_detection_alone_has_the_effect_of_its_severity(rule: Any) -> None:
    high = REVOKED if rule.is_fact else ASKED

    assert brief(new_session().see(0, rule.id)) == {"HIGH": high, "MEDIUM": CHALLENGED, "LOW": QUIET}[rule.severity]


@pytest.mark.parametrize("kind", ["service", "api_key", "agent"])
@pytest.mark.parametrize("rule", [rule for rule in DETECTIONS if rule.severity == "HIGH"], ids=lambda rule: rule.id)
def test_a_machine_is_ended_by_facts_and_anything_else_waits_for_approval(rule: Any, kind: str) -> None:
    decision = new_session(kind=kind).see(0, rule.id)

    assert brief(decision) == (REVOKED if rule.is_fact else HELD)
    assert decision.is_reported


def test_suspicions_end_no_session_however_many_they_are() -> None:
    guesses = [rule.id for rule in DETECTIONS if not rule.is_fact]

    assert brief(new_session().see(0, *guesses, band=6)) == ASKED
    assert brief(new_session(kind="service").see(0, *guesses, band=6)) == HELD


def test_a_suspicion_takes_nothing_from_a_fact() -> None:
    assert brief(new_session(kind="service").see(0, "mass_read", "device_rooted")) == REVOKED


def test_a_fact_that_does_not_reach_high_alone_ends_nothing_with_the_help_of_suspicions() -> None:
    weak = "[detections.device_rooted]\nweight = 3.0"

    assert brief(new_session(weak).see(0, "device_rooted", "mass_read")) == ASKED


def test_a_fact_that_is_suppressed_ends_nothing() -> None:
    text = """
[[suppressions]]
detections = ["token_replayed"]
owner = "soc"
reason = "a shared token"
expires_at = 50_000
"""
    assert brief(new_session(text).see(0, "token_replayed", "mass_read")) == ASKED


def test_a_policy_may_end_sessions_on_suspicion() -> None:
    assert brief(new_session(UNASKED, kind="service").see(0, "mass_read")) == REVOKED


def test_a_policy_of_a_former_version_asks_about_suspicions() -> None:
    former = '[human]\nmedium = "step_up"\nhigh = "revoke"\n[service]\nmedium = "allow"\nhigh = "revoke"\n'

    assert brief(new_session(former).see(0, "mass_read")) == ASKED
    assert brief(new_session(former, kind="service").see(0, "mass_read"))[1] == "hold_for_approval"


def test_no_evidence_is_no_risk_and_is_not_reported() -> None:
    decision = new_session().see(0)

    assert (brief(decision), decision.score, decision.is_reported, decision.contributions) == (QUIET, 1.8, False, [])


def test_the_score_is_the_sum_of_the_contributions() -> None:
    decision = new_session().see(0, "network_changed", "mass_read", band=4)

    assert [(part.detection, part.log_odds) for part in decision.contributions] == [
        ("mass_read", 6.0),
        ("network_changed", 4.0),
        ("anomaly", 0.9),
    ]
    assert decision.score == 99.9


@pytest.mark.parametrize(("band", "score"), [(0, 1.8), (1, 2.9), (4, 4.3), (6, 5.7)])
def test_an_anomaly_alone_does_not_raise_the_level(band: int, score: float) -> None:
    decision = new_session().see(0, band=band)

    assert (brief(decision), decision.score) == (QUIET, score)


@pytest.mark.parametrize("kind", ["service", "api_key", "agent"])
def test_a_policy_may_only_report_the_suspicions_about_machines(kind: str) -> None:
    decision = new_session(f'[{kind}]\nmedium = "allow"', kind=kind).see(0, "privilege_widened")

    assert (brief(decision), decision.is_reported) == (("MEDIUM", "allow", False, False), True)


def test_a_detection_that_is_not_enabled_contributes_nothing() -> None:
    decision = new_session("[detections.mass_read]\nenabled = false").see(0, "mass_read")

    assert (brief(decision), decision.contributions, decision.is_reported) == (QUIET, [], False)


def test_a_policy_that_revokes_without_any_detection_names_the_model_as_cause() -> None:
    session = new_session("prior = 5")

    decision = session.see(0)

    assert brief(decision) == REVOKED
    assert decision.revocation_id == stable_id("acme", "s-1", 0, "anomaly")


def test_a_factor_proved_after_the_evidence_lowers_the_score_a_little() -> None:
    session = new_session()
    session.see(0, "mass_read")

    assert [part.detection for part in session.see(60, strong_age_s=30).contributions] == [
        "mass_read",
        "fresh_strong_auth",
    ]
    assert [part.detection for part in session.see(61, strong_age_s=100).contributions] == ["mass_read"]
