"""Score and level: the logistic function of log-odds, and hysteresis with a dwell time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decisions.policy import Levels
from pipeline.decisions.risk import LEVELS, Level, next_level, score

USUAL = Levels()
SCORES = st.floats(0, 100)
ANY_LEVEL = st.sampled_from(LEVELS)


@pytest.mark.parametrize(
    ("log_odds", "value"),
    [
        (0.0, 50.0),
        (-4.0, 1.8),
        (2.0, 88.1),
        (-math.inf, 0.0),
        (math.inf, 100.0),
        (1e308, 100.0),
        (-1e308, 0.0),
    ],
)
def test_a_score_is_the_logistic_of_the_evidence(log_odds: float, value: float) -> None:
    assert score(log_odds) == value


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_more_evidence_never_lowers_the_score(one: float, other: float) -> None:
    low, high = sorted([one, other])

    assert 0 <= score(low) <= score(high) <= 100


TURNS: list[tuple[Level, float, float, Level]] = [
    ("LOW", 39.9, 0, "LOW"),
    ("LOW", 40.0, 0, "MEDIUM"),
    ("LOW", 80.0, 0, "HIGH"),
    ("MEDIUM", 79.9, 0, "MEDIUM"),
    ("MEDIUM", 80.0, 0, "HIGH"),
    ("MEDIUM", 25.0, 3600, "MEDIUM"),
    ("MEDIUM", 24.9, 59.9, "MEDIUM"),
    ("MEDIUM", 24.9, 60, "LOW"),
    ("HIGH", 60.0, 3600, "HIGH"),
    ("HIGH", 59.9, 59.9, "HIGH"),
    ("HIGH", 59.9, 60, "MEDIUM"),
    ("HIGH", 25.0, 60, "MEDIUM"),
    ("HIGH", 24.9, 60, "LOW"),
]


@pytest.mark.parametrize(("level", "value", "since_s", "after"), TURNS)
def test_a_level_changes_at_the_thresholds_of_the_policy(
    level: Level, value: float, since_s: float, after: Level
) -> None:
    assert next_level(level, value, since_s, USUAL) == after


@given(ANY_LEVEL, SCORES, st.floats(0, 59.9))
def test_a_level_is_held_for_its_dwell_time_unless_it_rises(level: Level, value: float, since_s: float) -> None:
    assert LEVELS.index(next_level(level, value, since_s, USUAL)) >= LEVELS.index(level)


@given(ANY_LEVEL, SCORES, SCORES, st.floats(0, 1e6))
def test_a_higher_score_never_gives_a_lower_level(level: Level, one: float, other: float, since_s: float) -> None:
    low, high = sorted([one, other])
    after = [LEVELS.index(next_level(level, value, since_s, USUAL)) for value in (low, high)]

    assert after == sorted(after)


@given(SCORES, st.lists(ANY_LEVEL, min_size=1, max_size=3))
def test_a_score_that_stays_gives_a_level_that_stays(value: float, starts: list[Level]) -> None:
    for level in starts:
        settled = next_level(level, value, 1e6, USUAL)
        assert next_level(settled, value, 1e6, USUAL) == settled
