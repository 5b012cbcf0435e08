"""Weights of evidence: signs are fixed, and severity decides where a recording has no data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import expit

from models.detectors.evidence_weights import fit


def test_evidence_that_no_recording_shows_weighs_what_its_severity_suggests() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])

    found = fit(rows, np.array([True, False, False]), np.array([6.0, 4.0]))

    assert found.evidence[1] == pytest.approx(4.0)


def test_enough_sessions_overrule_the_severity() -> None:
    rng = np.random.default_rng(5)
    rows = (rng.random((20_000, 2)) < 0.3).astype(float)
    attack = rng.random(20_000) < expit(-3.0 + rows @ np.array([2.5, 0.5]))

    found = fit(rows, attack, np.array([7.0, 4.0]))

    assert found.intercept == pytest.approx(-3.0, abs=0.15)
    assert found.evidence == pytest.approx([2.5, 0.5], abs=0.15)


def test_evidence_that_only_attacks_show_does_not_weigh_infinitely_much() -> None:
    rows = np.array([[1.0]] * 50 + [[0.0]] * 5_000)

    found = fit(rows, rows[:, 0] > 0, np.array([6.0]))

    assert 6.0 < found.evidence[0] < 14.0


def test_evidence_that_honest_sessions_show_more_often_never_turns_into_trust() -> None:
    rows = np.array([[1.0, 0.0]] * 500 + [[0.0, 1.0]] * 50 + [[0.0, 0.0]] * 50)
    attack = np.arange(600) >= 500

    found = fit(rows, attack, np.array([2.0, -1.0]))

    assert found.evidence.tolist() == [0.0, 0.0]


def test_the_intercept_can_be_for_another_share_of_attacks() -> None:
    rows = np.array([[1.0]] * 100 + [[0.0]] * 100)
    attack = np.arange(200) % 2 == 0

    half, rare = fit(rows, attack, np.ones(1)), fit(rows, attack, np.ones(1), share=0.001)

    assert rare.intercept - half.intercept == pytest.approx(np.log(0.001 / 0.999))
    assert rare.evidence.tolist() == half.evidence.tolist()


@settings(max_examples=40)
@given(npst.arrays(np.float64, (40, 3), elements=st.sampled_from([0.0, 1.0])), st.integers(1, 39))
def test_signs_hold_and_the_same_recording_gives_the_same_weights(rows: np.ndarray, attacks: int) -> None:
    attack = np.arange(40) < attacks
    expected = np.array([6.0, 1.5, -1.0])

    weights, other = fit(rows, attack, expected), fit(rows, attack, expected)

    assert (weights.evidence * np.sign(expected) >= 0).all()
    assert weights.evidence.tolist() == other.evidence.tolist()


@pytest.mark.parametrize("attack", [np.zeros(3, bool), np.ones(3, bool)])
def test_sessions_of_one_class_alone_are_refused(attack: np.ndarray) -> None:
    with pytest.raises(ValueError, match="learned from attacked and honest sessions"):
        fit(np.ones((3, 1)), attack, np.ones(1))


def test_evidence_in_the_offset_is_not_weighed_again() -> None:
    attack = np.arange(1000) < 100
    rows = np.zeros((1000, 1))
    rows[:60] = rows[150:200] = 1.0
    first = fit(rows, attack, np.zeros(1), spread=100.0).evidence

    again = fit(rows, attack, np.zeros(1), spread=100.0, offset=rows @ first).evidence

    assert [*first, *again] == pytest.approx([3.24, 0.0], abs=0.01)
