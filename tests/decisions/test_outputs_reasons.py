"""The reasons of a decision: they add up to its score and show the observed beside the normal."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors.base import Moved, NoDetector
from models.roles.fit import fit_roles
from pipeline.decisions.decision import ANOMALY, Contribution
from pipeline.decisions.explanations import reasons
from pipeline.decisions.risk import score
from pipeline.decisions.risk_state import DetectionEpisode
from pipeline.detections import DETECTIONS
from pipeline.processing.processor import Message
from schemas import topics
from tests.models.test_roles import OFFICE
from tests.support.all_outputs import received
from tests.support.run_processors import Desk, of, read
from tests.support.samples import T0, auth, call

__all__ = ["received"]  # a fixture


def test_the_reasons_of_a_decision_add_up_to_its_score(received: list[Message]) -> None:
    off = []
    for event in of(read(received), topics.SESSION_RISK):
        total = -4.0 + sum(reason["contribution"] for reason in event["reasons"])
        if abs(score(total) - event["score"]) > 0.05:
            off.append(event)
        assert [reason["contribution"] for reason in event["reasons"]] == sorted(
            (reason["contribution"] for reason in event["reasons"]), reverse=True
        )

    assert off == []


def test_a_reason_has_the_observed_the_normal_and_the_evidence() -> None:
    desk = Desk()
    desk.each(auth(0), call(1, event_id="e-7", records=6000, sensitivity="restricted"))

    (event,) = desk.output(topics.SESSION_RISK)

    assert event["reasons"] == [
        {
            "detection": "mass_read",
            "text": "Far more confidential or restricted records were read than usual.",
            "severity": "HIGH",
            "attack": ["T1530", "T1213"],
            "contribution": 6.0,
            "observed": "6000 records in 10 min",
            "evidence": ["e-7"],
            "normal": "≤ 1000 records or 8 times the usual; of a newcomer its role's, ≤ 5000 "
            "or twice what its tenant's reach",
            "first_at": T0 + 1_000,
            "last_at": T0 + 1_000,
        }
    ]


def test_what_is_normal_follows_the_policy() -> None:
    desk = Desk("[detections.mass_read.limits]\nrecords = 7")
    desk.each(auth(0), call(1, records=8, sensitivity="restricted"))

    (event,) = desk.output(topics.SESSION_RISK)

    assert (
        event["reasons"][0]["normal"] == "≤ 1000 records or 8 times the usual; of a newcomer its role's, ≤ 7 "
        "or twice what its tenant's reach"
    )


def test_a_suppressed_reason_is_shown_and_contributes_nothing() -> None:
    part = Contribution("mass_read", 6.0, DetectionEpisode(T0, T0, 1.0, ["e"]), "mass_read: suppressed by soc: export")

    (shown,) = reasons([part], tuple(rule.limits for rule in DETECTIONS), [])

    assert shown["contribution"] == 0.0


def test_an_unusual_order_of_calls_has_its_own_text_and_names_the_call() -> None:
    moved = [Moved("surprise_10m", 21.5, 0.0, 0.125, 0.25), Moved("calls_1m", 9.0, 1.0, 2.0, 3.0)]

    (shown,) = reasons([Contribution(ANOMALY, 1.5)], (), moved, "GET /orders after GET /inbox")

    assert shown == {
        "detection": "anomaly",
        "text": (
            "The session makes calls, or an order of calls, that its role does not use: "
            "GET /orders after GET /inbox; "
            "21.5 nats in 10 min, usually ≤ 0.25 (how far calls were less likely than the role expects); "
            "9 calls in 1 min, usually ≤ 3 (API calls)"
        ),
        "severity": "LOW",
        "contribution": 1.5,
        "observed": "surprise_10m 21.5; calls_1m 9",
        "normal": "surprise_10m ≤ 0.25; calls_1m ≤ 3",
    }


def test_a_call_is_named_only_if_its_order_is_unusual() -> None:
    (shown,) = reasons([Contribution(ANOMALY, 1.5)], (), [Moved("calls_1m", 9.0, 1.0, 2.0, 3.0)], "GET /a after GET /b")

    assert (shown["text"], shown["observed"]) == (
        ("The session behaves unlike the sessions the model learned from: 9 calls in 1 min, usually ≤ 3 (API calls)"),
        "calls_1m 9",
    )


class OutOfOrder(NoDetector):
    """A detector for which the order of calls is anomalous at every call."""

    is_general = False

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.full(len(scores), 3, np.uint8)

    def explain(self, values: NDArray[np.float64], kind: int, limit: int) -> list[Moved]:
        return [Moved("surprise_10m", 21.5, 0.0, 0.125, 0.25)]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("GET /orders", "use: GET /orders after POST /messages; 21.5 nats in 10 min, usually ≤ 0.25"),
        ("GET /inbox", "use: 21.5 nats in 10 min, usually ≤ 0.25"),
    ],
)
def test_a_decision_names_the_call_that_is_rare_in_the_role(last: str, expected: str) -> None:
    desk = Desk("[detections.mass_read.limits]\nrecords = 7", OutOfOrder())
    desk.active.roles = fit_roles(OFFICE, seed=7)
    usual = ["GET /inbox", "GET /messages", "POST /messages"] * 4

    desk.each(*[call(at, operation=name) for at, name in enumerate(usual)])
    desk.each(call(20, operation=last, records=8, sensitivity="restricted"))

    (decision,) = desk.output(topics.SESSION_RISK)
    (text,) = [reason["text"] for reason in decision["reasons"] if reason["detection"] == ANOMALY]
    assert expected in text
