"""From a method's own scale to one for all: the share of normal traffic that is less odd."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import BANDS
from models.jit import compiled

Floats = NDArray[np.float64]

QUANTILES: Final = np.array([0.0, 0.25, 0.5, 0.75, 0.9, 0.95, *BANDS])
"""Where a scale is pinned."""


def knots_of(raw: Floats) -> Floats:
    """The raw scores ``(n,)`` of normal traffic at :data:`QUANTILES`."""
    return np.maximum.accumulate(np.quantile(raw, QUANTILES))


def calibrated(raw: Floats, knots: Floats, kinds: NDArray[np.uint8] | None = None) -> Floats:
    """Raw scores ``(n,)`` → scores in [0, 1), never falling; a raw score at a knot gets its quantile.

    Above the last knot there is nothing to count any more; there the rest to 1 shrinks as 1 / distance.
    Of equal knots the lowest quantile holds: what much of normal traffic reaches is not odd.

    Args:
        raw: scores on a method's own scale. knots: of one scale for all, ``(q,)``, or of one for each kind
        of principal, ``(kinds, q)``. kinds: of each score's principal, ``(n,)``; with knots for each.
    """
    scores = np.empty(len(raw))
    of = np.zeros(len(raw), np.uint8) if kinds is None else kinds
    _calibrate(np.ascontiguousarray(raw), np.atleast_2d(knots), of, scores)
    return scores


@compiled
def _calibrate(raw: Floats, knots: Floats, kinds: NDArray[np.uint8], scores: Floats) -> None:
    for number in range(raw.size):
        scores[number] = _calibrated(raw[number], knots[kinds[number]])


@compiled
def _calibrated(raw: Any, knots: Any) -> Any:
    last = knots.size - 1
    above = np.searchsorted(knots, raw)
    if above == 0:
        return 0.0
    if above > last:
        step = knots[last] - knots[last - 1]
        if step == 0.0:
            step = max(abs(knots[last]), 1.0) / 1000.0
        # Knots may lie so close that all is infinitely far: that is the end.
        return min(1.0 - (1.0 - QUANTILES[last]) / (1.0 + (raw - knots[last]) / step), HIGHEST)
    if raw == knots[above]:
        return min(QUANTILES[above], HIGHEST)
    way = min((raw - knots[above - 1]) / (knots[above] - knots[above - 1]), 1.0)
    between = QUANTILES[above - 1] + way * (QUANTILES[above] - QUANTILES[above - 1])
    return min(between, QUANTILES[above], HIGHEST)


HIGHEST: Final = float(np.nextafter(1.0, 0.0))
"""No score is 1: nothing is odder than everything."""


def bands_of(scores: Floats) -> NDArray[np.uint8]:
    """How many of :data:`models.detectors.base.BANDS` each score is above, ``(n,)``."""
    return np.searchsorted(BANDS, scores, side="left").astype(np.uint8)


def surprise(scores: Floats) -> Floats:
    """A score in bits, ``-log2(1 - score)``: 1 for half of normal traffic, 10 for one in a thousand."""
    return -np.log2(1.0 - scores)
