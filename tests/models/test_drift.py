"""Drift: PSI as a slow reference computes it, in any order of rows, and its verdict."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.detectors.drift import MIN_SHARE, QUANTILES, SCORE, Drift, Reference, Tally, stability

NAMES = ("calls", "ratio", "always")


def rows(count: int, seed: int, shift: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vectors with a heavy tail, with many zeros, and with a constant; and their scores."""
    random = np.random.default_rng(seed)
    calls = random.lognormal(2.0 + shift, 1.0, count)
    ratio = random.random(count) * (random.random(count) < 0.2)
    return np.column_stack([calls, ratio, np.full(count, 5.0)]), random.random(count)


REFERENCE = Reference.from_rows(NAMES, *rows(5_000, 1))


def tally(values: NDArray[np.float64], scores: NDArray[np.float64]) -> Tally:
    made = Tally(REFERENCE)
    made.add(values, scores)
    return made


def slow_edges(column: Sequence[float]) -> list[float]:
    """The definition, in plain Python: the smallest value with at least a quantile of all at or below it."""
    ordered = sorted(column)
    inner = [ordered[math.ceil(q * len(ordered)) - 1] for q in QUANTILES]
    return sorted({math.nextafter(ordered[0], -math.inf), *inner, ordered[-1]})


def slow_psi(trained: Sequence[float], live: Sequence[float]) -> float:
    edges = slow_edges(trained)
    total = 0.0
    for at in range(len(edges) + 1):
        q, p = (
            max(MIN_SHARE, sum(bisect_left(edges, number) == at for number in column) / len(column))
            for column in (trained, live)
        )
        total += (p - q) * math.log(p / q)
    return total


VALUES = st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0, 1e9]) | st.floats(0, 1e6), min_size=1, max_size=60)


@given(VALUES, VALUES)
def test_the_index_is_that_of_a_slow_reference(trained: list[float], live: list[float]) -> None:
    columns = [np.array([column, column]).T[:, :1] for column in (trained, live)]
    reference = Reference.from_rows(("x",), columns[0], np.array(trained))
    made = Tally(reference)
    made.add(columns[1], np.array(live))

    found = {drift.name: drift.psi for drift in made.drift()}

    assert found == pytest.approx({"x": slow_psi(trained, live), SCORE: slow_psi(trained, live)}, abs=1e-12)
    assert found["x"] >= 0


@given(st.integers(0, 2**31), st.lists(st.integers(0, 300), max_size=5))
def test_neither_the_chunks_of_a_stream_nor_its_order_change_the_result(seed: int, cuts: list[int]) -> None:
    values, scores = rows(300, seed)
    order = np.random.default_rng(seed).permutation(300)
    in_parts = Tally(REFERENCE)
    for part in np.split(order, sorted(cuts)):
        in_parts.add(values[part], scores[part])

    assert in_parts.drift() == tally(values, scores).drift()
    assert in_parts.rows == 300


@given(st.integers(0, 200))
def test_tallies_of_two_partitions_add_up_to_that_of_both(cut: int) -> None:
    values, scores = rows(200, 3)

    both = tally(values[:cut], scores[:cut]) + tally(values[cut:], scores[cut:])

    assert both.drift() == tally(values, scores).drift()


def test_tallies_of_different_references_do_not_add_up() -> None:
    other = Tally(Reference.from_rows(NAMES, *rows(50, 2)))

    with pytest.raises(ValueError, match="tallies of different references do not add up"):
        tally(*rows(5, 1)) + other


def test_the_training_data_has_not_drifted() -> None:
    found = tally(*rows(5_000, 1)).drift()

    assert [(drift.name, drift.psi, drift.verdict) for drift in found] == [
        (name, 0.0, "stable") for name in (*NAMES, SCORE)
    ]


def test_the_same_population_is_stable_and_a_shift_shows_in_its_column() -> None:
    words = [
        {drift.name: drift.verdict for drift in tally(*rows(4_000, 9, shift=shift)).drift()}
        for shift in (0.0, 0.4, 1.0)
    ]

    rest = {"ratio": "stable", "always": "stable", SCORE: "stable"}
    assert words == [{"calls": word, **rest} for word in ("stable", "moderate", "large")]


def test_values_outside_of_training_have_bins_of_their_own_even_for_a_constant() -> None:
    values, scores = rows(4_000, 4)
    for value in (4.0, 6.0):
        values[:, 2] = value
        assert tally(values, scores).drift()[2].verdict == "large"


def test_a_bin_ends_at_its_edge_and_holds_it() -> None:
    reference = Reference.from_rows(("x",), np.arange(1.0, 101.0)[:, None], np.zeros(100))

    assert reference.edges[0].tolist() == [math.nextafter(1, 0), 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100]
    assert reference.counts[0].tolist() == [0, *[10] * 9, 5, 4, 1, 0]
    assert reference.counts[1].tolist() == [0, 100, *[0] * 12]
    assert reference.rows == 100


def test_a_handful_of_rows_is_too_few_and_no_drift() -> None:
    few = {drift.name: drift.verdict for drift in tally(*rows(40, 5)).drift()}

    assert few == {
        "calls": "too few rows",
        "ratio": "too few rows",
        "always": "stable",
        SCORE: "too few rows",
    }
    assert Tally(REFERENCE).drift() == []


@pytest.mark.parametrize(
    ("psi", "word"),
    [(0.0, "stable"), (0.0999, "stable"), (0.1, "moderate"), (0.2499, "moderate"), (0.25, "large")],
)
def test_the_limits_are_those_of_the_literature(psi: float, word: str) -> None:
    assert Drift("x", psi, 0.0499).verdict == word
    assert Drift("x", psi, 0.05).verdict == "too few rows"


def test_by_chance_alone_the_index_is_about_the_expected_noise() -> None:
    found = [tally(*rows(500, seed)).drift()[0] for seed in range(200)]

    assert np.mean([drift.psi for drift in found]) == pytest.approx(np.mean([drift.noise for drift in found]), rel=0.15)


def test_the_index_is_symmetric_in_sample_and_reference() -> None:
    values, other = np.array([[10, 0, 90]]), np.array([[1, 30, 5]])

    assert stability(values, other) == pytest.approx(stability(other, values))


def test_a_reference_is_restored_from_its_arrays() -> None:
    again = Reference.from_arrays(NAMES, REFERENCE.arrays)

    assert again.names == REFERENCE.names == (*NAMES, SCORE)
    assert all((again.arrays[name] == array).all() for name, array in REFERENCE.arrays.items())


@pytest.mark.parametrize(
    ("values", "scores", "complaint"),
    [
        (np.zeros((4, 2)), np.zeros(4), "expected (n, 3) values and (n,) scores, got (4, 2) and (4,)"),
        (np.zeros((4, 3)), np.zeros(3), "expected (n, 3) values and (n,) scores, got (4, 3) and (3,)"),
        (np.zeros(3), np.zeros(3), "expected (n, 3) values and (n,) scores, got (3,) and (3,)"),
    ],
)
def test_rows_of_another_shape_are_refused_with_both_shapes(
    values: NDArray[np.float64], scores: NDArray[np.float64], complaint: str
) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        tally(values, scores)

    assert str(refused.value) == complaint


def test_arrays_of_other_features_and_no_rows_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"bins \(4, 13\) and counts \(4, 14\) are not those of 1 features"):
        Reference.from_arrays(("x",), REFERENCE.arrays)
    with pytest.raises(ValueError, match="a reference needs at least one training row"):
        Reference.from_rows(("x",), np.empty((0, 1)), np.empty(0))
