"""The isolation forest has the scores of scikit-learn's, and of its paper."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from models.detectors import forest
from tests.support.toy_traffic import COUNT, seen_of, traffic


@pytest.mark.parametrize(("seed", "count", "sample"), [(1, 1_500, 256), (2, 3_000, 64), (3, 300, 300)])
def test_the_score_is_that_of_scikit_learn(seed: int, count: int, sample: int) -> None:
    seen = seen_of(traffic(count, seed))
    fitted = IsolationForest(n_estimators=20, max_samples=sample, random_state=seed).fit(seen)

    ours = forest.from_fitted(fitted)

    others = seen_of(traffic(500, seed + 100) * 3)
    for vectors in (seen, others):
        np.testing.assert_allclose(ours.raw(vectors), -fitted.score_samples(vectors), rtol=0, atol=1e-9)


def test_repeated_points_and_constant_features_are_scored_as_scikit_learn_does() -> None:
    seen = np.ones((400, COUNT), np.float32)
    seen[:5, 0] = [3, 3, 4, 5, 5]
    fitted = IsolationForest(n_estimators=10, max_samples=200, random_state=0).fit(seen)

    ours = forest.from_fitted(fitted)

    np.testing.assert_allclose(ours.raw(seen), -fitted.score_samples(seen), rtol=0, atol=1e-9)


def test_the_average_path_is_that_of_the_paper() -> None:
    harmonic = float(np.sum(1 / np.arange(1, 256)))

    assert forest.average_path(np.array([0, 1, 2])).tolist() == [0.0, 0.0, 1.0]
    assert float(forest.average_path(np.array(256))) == pytest.approx(2 * harmonic - 2 * 255 / 256, abs=0.01)
