"""From a method's own scale to one for all: the share of normal traffic that is less odd."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detector import BANDS

Floats = NDArray[np.float64]

QUANTILES: Final = np.array([0.0, 0.25, 0.5, 0.75, 0.9, 0.95, *BANDS])
"""Where a scale is pinned."""


def knots_of(raw: Floats) -> Floats:
    """The raw scores ``(n,)`` of normal traffic at :data:`QUANTILES`."""
    return np.maximum.accumulate(np.quantile(raw, QUANTILES))


def calibrated(raw: Floats, knots: Floats) -> Floats:
    """Raw scores ``(n,)`` → scores in [0, 1), never falling; a raw score at a knot gets its quantile.

    Above the last knot there is nothing to count any more; there the rest to 1 shrinks as 1 / distance.
    Of equal knots the lowest quantile holds: what much of normal traffic reaches is not odd.
    """
    above = np.searchsorted(knots, raw, side="left")
    upper = np.minimum(above, len(knots) - 1)
    lower = np.maximum(upper - 1, 0)
    width = np.where(knots[upper] > knots[lower], knots[upper] - knots[lower], 1.0)
    with np.errstate(over="ignore"):  # knots may lie so close that all is infinitely far: that is the end
        way = np.minimum((raw - knots[lower]) / width, 1.0)
    between = QUANTILES[lower] + way * (QUANTILES[upper] - QUANTILES[lower])
    scores = np.where(raw == knots[upper], QUANTILES[upper], np.minimum(between, QUANTILES[upper]))
    beyond = above == len(knots)
    last = (knots[-1] - knots[-2]) or max(abs(float(knots[-1])), 1.0) / 1000.0
    with np.errstate(over="ignore"):
        scores[beyond] = 1.0 - (1.0 - QUANTILES[-1]) / (1.0 + (raw[beyond] - knots[-1]) / last)
    return np.where(above == 0, 0.0, np.minimum(scores, HIGHEST))


HIGHEST: Final = float(np.nextafter(1.0, 0.0))
"""No score is 1: nothing is odder than everything."""


def bands_of(scores: Floats) -> NDArray[np.uint8]:
    """How many of :data:`models.detector.BANDS` each score is above, ``(n,)``."""
    return np.searchsorted(BANDS, scores, side="left").astype(np.uint8)


def surprise(scores: Floats) -> Floats:
    """A score in bits, ``-log2(1 - score)``: 1 for half of normal traffic, 10 for one in a thousand."""
    return -np.log2(1.0 - scores)
