"""Calibration: raw scores become quantiles of normal traffic, and surprise is in bits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.detectors.calibration import QUANTILES, bands_of, calibrated, knots_of, surprise


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=60),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
)
def test_a_calibrated_score_never_falls_and_never_is_one(known: list[float], raw: list[float]) -> None:
    knots = knots_of(np.array(known))

    scores = calibrated(np.sort(np.array(raw)), knots)

    assert (np.diff(scores) >= 0).all()
    assert scores[0] >= 0
    assert scores[-1] < 1


def test_a_raw_score_at_a_quantile_is_that_quantile_and_of_equal_ones_the_lowest() -> None:
    distinct = np.linspace(0.0, 9.0, len(QUANTILES))
    flat = np.array([0.0, *[1.0] * (len(QUANTILES) - 1)])

    assert calibrated(distinct, distinct).tolist() == QUANTILES.tolist()
    assert calibrated(np.array([0.0, 1.0, 2.0]), flat).tolist()[:2] == [0.0, QUANTILES[1]]
    assert bands_of(calibrated(np.array([9.0, 9.1]), distinct)).tolist() == [2, 3]


def test_surprise_is_in_bits() -> None:
    assert surprise(np.array([0.0, 0.5, 0.75])).tolist() == [0.0, 1.0, 2.0]
