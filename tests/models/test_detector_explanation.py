"""Explanation of a score: the features that made a vector anomalous, strongest first, with usual values."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors.explanation import shares
from models.detectors.methods import METHODS
from models.detectors.trained import Trained
from models.features.table import FEATURE_NAMES
from tests.support.toy_detectors import TRAINED, every_variant
from tests.support.toy_traffic import AGENT, COUNT, HUMAN, traffic

VARYING = [index for index in range(COUNT) if index % 5 and index % 7]
"""Features that `traffic` gives many values: a forest cannot cut along a constant, nor beyond a yes or no."""


@pytest.mark.parametrize("method", METHODS)
def test_the_feature_that_was_made_anomalous_comes_first_with_its_usual_values(method: str) -> None:
    detector = TRAINED[method, "calibrated"]
    usual = detector.norms[HUMAN]

    first = []
    for feature in VARYING:
        values = usual[1].copy()
        values[feature] = 1e9
        (moved, *_) = detector.explain(values, HUMAN, 5)
        first.append((moved.feature, moved.observed, moved.lower, moved.usual, moved.upper))

    assert first == [(FEATURE_NAMES[number], 1e9, *usual[:, number].tolist()) for number in VARYING]


@every_variant
def test_the_usual_vector_has_nothing_to_explain(detector: Trained) -> None:
    assert detector.explain(detector.norms[AGENT, 1], AGENT, 5) == []


def test_no_more_features_are_returned_than_the_limit() -> None:
    assert len(TRAINED["components", "calibrated"].explain(traffic(1, 3)[0] * 1e4, HUMAN, 5)) == 5


def test_two_redundant_features_do_not_hide_each_other() -> None:
    def either(trials: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.maximum(trials[:, 0], trials[:, 1]).astype(np.float64)

    seen, usual = np.array([9, 9, 1], np.float32), np.zeros(3, np.float32)

    assert shares(either, seen, usual, "removed").tolist() == [0.0, 0.0, 0.0]
    assert shares(either, seen, usual, "both").tolist() == [4.5, 4.5, 0.0]
