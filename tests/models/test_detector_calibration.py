"""Calibration: raw scores become quantiles of normal traffic, and surprise is in bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.detectors.calibration import QUANTILES, bands_of, calibrated, knots_of, surprise, with_all_knots


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
    assert bands_of(calibrated(np.array([9.0, 9.1]), distinct)).tolist() == [5, 6]


@given(
    st.lists(st.integers(-100, 100), min_size=2, max_size=60, unique=True),
    st.lists(st.floats(-120, 120), min_size=1, max_size=30),
)
def test_a_scale_that_an_earlier_version_wrote_gives_the_same_scores(known: list[int], raw: list[float]) -> None:
    former = np.array([0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999])
    scale = np.quantile(known, former)
    inside = np.array([score for score in raw if scale[0] < score < scale[-1]])

    scores = calibrated(inside, with_all_knots(scale[None])[0])

    assert scores == pytest.approx(np.interp(inside, scale, former), abs=1e-9)


def test_surprise_is_in_bits() -> None:
    assert surprise(np.array([0.0, 0.5, 0.75])).tolist() == [0.0, 1.0, 2.0]
