"""Boosted trees as the second stage: from how many attacks they learn, what they find, and that they stay the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier

from models.artefacts import load, save
from models.detectors.base import NoDetector
from models.detectors.labelled import MIN_BOOSTED, MIN_COMPANIES, BoostedStage, Labels, LogisticStage
from models.detectors.trained import Trained
from models.detectors.trees import LEAF, joined, records
from models.features.table import FEATURE_NAMES
from models.updates.fold import Folded
from pipeline.sessions.fast_path import bands_of
from tests.support.toy_detectors import TRAINED
from tests.support.toy_traffic import kinds_of, seen_of, traffic

HONEST = 200


def between(attacked: int, seed: int = 5, companies: int = MIN_COMPANIES) -> Labels:
    """A feature of an attack lies in the middle; in honest sessions it is low or high."""
    values = traffic(4 * (attacked + HONEST), seed)
    attack = np.arange(len(values)) < 4 * attacked
    values[:, 1] = np.where(attack, 30.0, np.where(np.arange(len(values)) % 2, 300.0, 3.0))
    return Labels(seen_of(values), kinds_of(len(values)), attack, np.arange(len(values)) // 4, companies)


def taught(attacked: int, companies: int = MIN_COMPANIES) -> Trained:
    normal = traffic(2_400, 1)
    return TRAINED["components", "calibrated"].with_labels(
        between(attacked, companies=companies), seen_of(normal), kinds_of(2_400)
    )


BOOSTED = taught(MIN_BOOSTED)


def test_trees_learn_from_a_hundred_attacks_in_five_companies_and_a_regression_from_less() -> None:
    assert isinstance(BOOSTED.second, BoostedStage)
    assert isinstance(taught(MIN_BOOSTED - 1).second, LogisticStage)
    assert isinstance(taught(MIN_BOOSTED, MIN_COMPANIES - 1).second, LogisticStage)


def test_labels_of_the_own_company_teach_nothing_about_calls_that_it_does_not_know() -> None:
    assert not taught(2 * MIN_BOOSTED, companies=1).is_general


def test_trees_find_what_is_neither_high_nor_low() -> None:
    tried = between(MIN_BOOSTED, seed=9)

    def separated(detector: Trained) -> float:
        raw = detector.unsaturated(tried.seen, 1)
        honest = np.sort(raw[~tried.attack])
        return float((raw[tried.attack] > honest[int(0.99 * honest.size)]).mean())

    assert separated(BOOSTED) > 0.95
    assert separated(taught(MIN_BOOSTED - 1)) < 0.5


def test_the_same_labels_give_the_same_model() -> None:
    assert taught(MIN_BOOSTED).id == BOOSTED.id


def test_a_model_with_trees_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    save(BOOSTED, tmp_path, {})
    tried = between(20, seed=11)

    again = load(tmp_path)

    assert (again.id, again.is_general) == (BOOSTED.id, True)
    assert again.score(tried.seen, tried.kinds).tolist() == BOOSTED.score(tried.seen, tried.kinds).tolist()


SPLIT = np.float64(0.1)
"""Between two float32: the nearest one is above it."""


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, np.nextafter(np.float32(0.1), np.float32(0)), np.nan]), max_size=11))
def test_each_of_any_number_of_vectors_ends_in_the_leaf_that_its_values_lead_to(values: list[float]) -> None:
    """Left while a value is at most the threshold, which no rounding of either may change; NaN never is."""
    deep = records([1, LEAF, 3, LEAF, LEAF], [2, LEAF, 4, LEAF, LEAF], [0] * 5, [float(SPLIT), 0.0, 0.15, 0.0, 0.0])
    flat = records([LEAF], [LEAF], [0], [0.0])
    trees = joined([(deep, np.array([0.0, 1.0, 0.0, 10.0, 100.0])), (flat, np.array([1_000.0]))], 1)
    seen = np.array(values, np.float32).reshape(-1, 1)

    expected = [1_001.0 if value <= SPLIT else 1_010.0 if value <= 0.15 else 1_100.0 for value in seen[:, 0].tolist()]
    assert trees.total(seen).tolist() == expected


def test_the_sum_of_the_trees_is_that_of_the_boosting_they_are_taken_from() -> None:
    labels = between(30)
    boosting = GradientBoostingClassifier(n_estimators=7, max_depth=3, init="zero", random_state=1)
    boosting.fit(labels.seen, labels.attack)
    grown = [estimator.tree_ for estimator in boosting.estimators_[:, 0]]

    trees = joined([(tree.__getstate__()["nodes"], 0.1 * tree.value[:, 0, 0]) for tree in grown], labels.seen.shape[1])

    np.testing.assert_allclose(trees.total(labels.seen), boosting.decision_function(labels.seen), atol=1e-12)


class General(NoDetector):
    """A detector that was trained in many companies, or not, and whose scores are bands."""

    def __init__(self, *, is_general: bool) -> None:
        self.is_general = is_general

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return scores.astype(np.uint8)


@pytest.mark.parametrize(("is_general", "expected"), [(True, [3, 2, 1]), (False, [1, 2, 1])])
def test_only_a_model_of_many_companies_may_alarm_at_a_call_that_it_does_not_know(
    is_general: bool, expected: list[int]
) -> None:
    facts: dict[str, Any] = {
        "familiar": np.array([False, True, True]),
        "surprise_10m": np.array([0.0, 0.0, 80.0]),
        "calls_10m": np.array([9.0, 9.0, 9.0]),
    }
    folded = cast("Folded", SimpleNamespace(facts=facts))

    assert bands_of(General(is_general=is_general), np.array([3.0, 2.0, 1.0]), folded).tolist() == expected


def test_explanations_name_features_that_exist() -> None:
    tried = between(1)
    values = traffic(1, 3)[0]
    values[1] = 30.0

    moved = BOOSTED.explain(values, int(tried.kinds[0]), 3)

    assert 0 < len(moved) <= 3
    assert {part.feature for part in moved} <= set(FEATURE_NAMES)
