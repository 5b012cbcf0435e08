"""Findings are OCSF Detection Findings, one after the other for a session."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from models.state.table import Subject
from pipeline.decisions.decision import Contribution, Decision
from pipeline.decisions.explanations import reasons
from pipeline.decisions.outputs import CLOSE, CREATE, UPDATE, finding, risk
from pipeline.decisions.risk_state import DetectionEpisode, SessionRiskState
from pipeline.detections import DETECTIONS
from pipeline.processing.messages import Stamp
from pipeline.processing.processor import Message
from schemas import topics
from tests.support.all_outputs import received, wrong
from tests.support.event_streams import OddTotals
from tests.support.ocsf_schema import ocsf
from tests.support.run_processors import Desk, of, read
from tests.support.samples import T0, auth, context

__all__ = ["ocsf", "received"]  # fixtures

WHO = Subject("acme", "s-1", "ana", "phone-1")
STAMP = Stamp(T0, "odd@1", "default@0", "enforce")


def test_findings_are_ocsf_detection_findings(received: list[Message], ocsf: Draft202012Validator) -> None:
    findings = of(read(received), topics.SESSION_FINDINGS)

    assert {finding["type_uid"] for finding in findings} >= {200401, 200402}
    assert [error.message for finding in findings for error in ocsf.iter_errors(finding)] == []


def test_the_findings_of_a_session_are_one_episode_after_the_other(ocsf: Draft202012Validator) -> None:
    policy = 'mode = "observe"\n[levels]\ndwell_s = 5\n[times]\nrepeat_s = 20\n'
    desk = Desk(policy, OddTotals())
    desk.play(auth(0))
    for start in (0, 100):
        for at in range(start, start + 50, 10):
            desk.play(context(at, rooted=at < start + 30, heard_at=T0 + at * 1000))
    desk.play(auth(300, action="sign_out"))

    findings = desk.output(topics.SESSION_FINDINGS)

    assert [finding["activity_id"] for finding in findings] == [CREATE, UPDATE, CLOSE] * 2
    assert [finding["status_id"] for finding in findings] == [1, 2, 4] * 2
    assert [error.message for finding in findings for error in ocsf.iter_errors(finding)] == []
    first, second = findings[:3], findings[3:]
    for episode in (first, second):
        assert len({finding["finding_info"]["uid"] for finding in episode}) == 1
        assert len({finding["start_time"] for finding in episode}) == 1
        assert len({finding["metadata"]["uid"] for finding in episode}) == 3
    assert first[0]["finding_info"]["uid"] != second[0]["finding_info"]["uid"]


@pytest.mark.parametrize("activity", [CREATE, UPDATE, CLOSE])
@pytest.mark.parametrize("level", ["LOW", "MEDIUM", "HIGH"])
def test_a_finding_of_any_level_with_every_detection_is_ocsf(
    activity: int, level: Any, ocsf: Draft202012Validator
) -> None:
    episode = DetectionEpisode(T0, T0 + 5, 1.5, ["e-1", "e-2"])
    parts = [Contribution(rule.id, rule.weight, episode) for rule in DETECTIONS]
    parts += [Contribution("anomaly", 1.2), Contribution("fresh_strong_auth", -0.5)]
    decision = Decision("d", 99.9, level, "LOW", "revoke", "", parts, detections=[rule.id for rule in DETECTIONS])
    shown = reasons(parts, tuple(rule.limits for rule in DETECTIONS), [])

    messages = [
        finding(
            WHO,
            SessionRiskState(finding="f", finding_at=T0),
            decision,
            shown,
            activity,
            T0,
            STAMP,
            detail="Why so.",
        ),
        risk(WHO, "human", decision, shown, "e-2", T0, STAMP),
    ]

    assert wrong(messages) == []
    assert [error.message for error in ocsf.iter_errors(json.loads(messages[0].value))] == []
