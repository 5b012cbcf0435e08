"""Explanation of a score: which features made a vector anomalous, compared with the usual of its kind of principal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Moved
from models.features.table import FEATURE_NAMES, as_seen_by_models

Floats = NDArray[np.float64]
Way = Literal["removed", "put_in", "both"]

NORMS: Final = (0.01, 0.5, 0.99)
"""Quantiles of each feature: lower bound, median and upper bound of the usual."""


def shares(
    score: Callable[[NDArray[np.float32]], Floats],
    seen: NDArray[np.float32],
    usual: NDArray[np.float32],
    way: Way = "both",
) -> Floats:
    """How much of its score the vector *seen* ``(f,)`` owes to each feature, ``(f,)``.

    Args:
        score: vectors ``(n, f)`` → scores ``(n,)``.
        seen: the vector.
        usual: the median vector of its kind.
        way: ``removed``: how far the score falls if one feature is reset to the usual; redundant features hide each
            other. ``put_in``: how far the usual vector's score rises if one feature is changed; features that are
            anomalous only in combination are hidden. ``both``: the mean, as of a Shapley value's first and last
            position.
    """
    count = len(seen)
    trials = np.vstack([seen, np.repeat(seen[None], count, 0), usual, np.repeat(usual[None], count, 0)])
    each = np.arange(count)
    trials[1 + each, each] = usual
    trials[2 + count + each, each] = seen
    scores = score(trials)
    removed, put_in = scores[0] - scores[1 : count + 1], scores[count + 2 :] - scores[count + 1]
    by_way: dict[Way, Floats] = {"removed": removed, "put_in": put_in, "both": (removed + put_in) / 2.0}
    return by_way[way]


def moved(score: Callable[[NDArray[np.float32]], Floats], values: Floats, norms: Floats, limit: int) -> list[Moved]:
    """At most *limit* features that made *values* ``(f,)`` anomalous, strongest first.

    *norms* are the usual values at :data:`NORMS`, ``(3, f)`` in own units.
    """
    both = as_seen_by_models(np.stack([values, norms[1]], axis=1))
    gain = shares(score, both[0], both[1])
    order = [int(index) for index in np.argsort(-gain, kind="stable") if gain[index] > 0][:limit]
    return [Moved(FEATURE_NAMES[index], float(values[index]), *norms[:, index].tolist()) for index in order]
