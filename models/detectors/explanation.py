"""Which features made a vector odd, held against what is usual for its kind of principal."""

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
"""Quantiles of each feature that say what is usual: lower, median, upper."""


def shares(
    odd: Callable[[NDArray[np.float32]], Floats],
    seen: NDArray[np.float32],
    usual: NDArray[np.float32],
    way: Way = "both",
) -> Floats:
    """How much of its oddness a vector ``(f,)`` owes to each feature, ``(f,)``.

    *removed*: how far it falls when the feature alone is put back to what is usual; two odd features that say
    the same hide each other. *put_in*: how far the usual vector rises when the feature alone is put in; two
    features that are odd only together hide. *both*: the mean, as of a Shapley value's first and last place.
    """
    count = len(seen)
    trials = np.vstack([seen, np.repeat(seen[None], count, 0), usual, np.repeat(usual[None], count, 0)])
    at = np.arange(count)
    trials[1 + at, at] = usual
    trials[2 + count + at, at] = seen
    scores = odd(trials)
    removed, put_in = scores[0] - scores[1 : count + 1], scores[count + 2 :] - scores[count + 1]
    by_key: dict[Way, Floats] = {"removed": removed, "put_in": put_in, "both": (removed + put_in) / 2.0}
    return by_key[way]


def moved(odd: Callable[[NDArray[np.float32]], Floats], values: Floats, norms: Floats, most: int) -> list[Moved]:
    """The features that made *values* ``(f,)`` odd, strongest first.

    *norms*: ``(3, f)`` at :data:`NORMS`, own units.
    """
    both = as_seen_by_models(np.stack([values, norms[1]], axis=1))
    gain = shares(odd, both[0], both[1])
    order = [int(item) for item in np.argsort(-gain, kind="stable") if gain[item] > 0][:most]
    return [Moved(FEATURE_NAMES[i], float(values[i]), *(float(norm) for norm in norms[:, i])) for i in order]
