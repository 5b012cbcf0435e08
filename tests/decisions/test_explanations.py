"""Explanations of an anomaly: words, units and bounds that people can read."""

from __future__ import annotations

import doctest

import pytest

from models.detectors.base import Moved
from models.features.table import FEATURES
from pipeline.decisions import explanations
from pipeline.decisions.decision import Contribution
from pipeline.decisions.explanations import reasons
from pipeline.detections import DETECTIONS

PIECES = [
    (Moved("records_10m", 412.3, 0, 4, 30), "412 records in 10 min, usually ≤ 30 (records read or written)"),
    (
        Moved("denied_10m", 12, 0, 0, 0.5),
        "12 calls in 10 min, usually ≤ 0.5 (calls answered with 401 or 403)",
    ),
    (
        Moved("bytes_out_10m", 5.21e9, 0, 2e3, 4.2e6),
        "5.21 GB in 10 min, usually ≤ 4.2 MB (bytes sent to the client)",
    ),
    (
        Moved("session_age_m", 0.0, 2.0, 60.0, 300.0),
        "0 minutes, usually ≥ 2 (since the session's first event)",
    ),
    (
        Moved("novelty", 0.75, 0.0, 0.25, 1.0),
        "0.75, usually about 0.25 (share of client facts new to the principal)",
    ),
    (
        Moved("speed_kmh", 1234567.0, 0, 0, 0),
        "1,234,567 km/h, usually ≤ 0 (speed between this place and the last)",
    ),
]


@pytest.mark.parametrize(("moved", "text"), PIECES, ids=[moved.feature for moved, _ in PIECES])
def test_a_feature_is_shown_with_its_amount_the_usual_and_its_description(moved: Moved, text: str) -> None:
    assert explanations.clause(moved) == text


@pytest.mark.parametrize("feature", [feature.name for feature in FEATURES])
def test_every_feature_has_words_short_enough_for_five_in_a_reason(feature: str) -> None:
    piece = explanations.clause(Moved(feature, 123456.0, 0.0, 1.0, 99999.0))

    assert len(piece) <= 120
    assert "_" not in piece
    assert explanations.SEPARATOR not in piece


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(explanations)

    assert (result.attempted > 0, result.failed) == (True, 0)


def test_clauses_are_shown_whole_or_not_at_all() -> None:
    assert explanations.joined("Odd: ", ["one", "two", "three"], 14) == "Odd: one; two"
    assert explanations.joined("", ["one", "two"], 256) == "one; two"
    assert explanations.joined("Odd: ", [], 14) == "Odd: "


def test_the_reason_of_an_anomaly_shows_the_features_beside_the_usual() -> None:
    moved = [Moved("records_10m", 412, 0, 4, 30), Moved("denied_10m", 12, 0, 0, 1)]

    (fields,) = reasons([Contribution("anomaly", 0.9)], tuple(rule.limits for rule in DETECTIONS), moved)

    assert fields == {
        "detection": "anomaly",
        "text": (
            "The session behaves unlike the sessions the model learned from: "
            "412 records in 10 min, usually ≤ 30 (records read or written); "
            "12 calls in 10 min, usually ≤ 1 (calls answered with 401 or 403)"
        ),
        "severity": "LOW",
        "contribution": 0.9,
        "observed": "records_10m 412; denied_10m 12",
        "normal": "records_10m ≤ 30; denied_10m ≤ 1",
    }


def test_an_anomaly_without_features_has_a_general_reason() -> None:
    (fields,) = reasons([Contribution("anomaly", 0.5)], tuple(rule.limits for rule in DETECTIONS), [])

    assert (fields["observed"], fields["normal"]) == ("score above the usual", "below the 99% quantile")
    assert fields["text"] == "The session behaves unlike the sessions the model learned from."


def test_the_longest_reason_conforms_to_the_contract() -> None:
    moved = [Moved(feature.name, 1e15, 0.0, 1.0, 1e14) for feature in FEATURES]

    (fields,) = reasons([Contribution("anomaly", 0.5)], tuple(rule.limits for rule in DETECTIONS), moved)

    assert len(fields["text"]) <= 512
    assert max(len(fields["observed"]), len(fields["normal"])) <= 256
    assert fields["text"].endswith(")")
