"""Calibration: a method's raw score is mapped to the share of normal traffic that is less anomalous."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import BANDS, FORMER_BANDS
from models.jit import compiled

Floats = NDArray[np.float64]

_BELOW_BANDS: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95)
QUANTILES: Final = np.array([*_BELOW_BANDS, *BANDS])
"""Where the scale has its knots."""
_FORMER_QUANTILES: Final = np.array([*_BELOW_BANDS, *FORMER_BANDS])


def knots_of(raw: Floats) -> Floats:
    """The raw scores ``(n,)`` of normal traffic at :data:`QUANTILES`."""
    return np.maximum.accumulate(np.quantile(raw, QUANTILES))


def with_all_knots(knots: Floats) -> Floats:
    """The *knots* ``(kinds, q)`` of a model, at :data:`QUANTILES` even if an earlier version wrote it.

    A scale is linear between its knots, so more of them on the same lines change no score.
    """
    if knots.shape[-1] != len(_FORMER_QUANTILES):
        return knots
    return np.vstack([np.interp(QUANTILES, _FORMER_QUANTILES, scale) for scale in knots])


def calibrated(raw: Floats, knots: Floats, kinds: NDArray[np.uint8] | None = None) -> Floats:
    """Raw scores ``(n,)`` → scores in [0, 1), monotonically; a raw score at a knot gets the knot's quantile.

    Above the last knot, where there is no traffic to count, the distance to 1 shrinks as 1 / distance from the knot.
    Of equal knots the lowest quantile counts: what much of normal traffic reaches is not anomalous.

    Args:
        raw: scores on a method's own scale.
        knots: of one scale for all principals, ``(q,)``, or of one for each kind, ``(kinds, q)``.
        kinds: of each score's principal, ``(n,)``; given with one scale for each kind.
    """
    scores = np.empty(len(raw))
    scale_of = np.zeros(len(raw), np.uint8) if kinds is None else kinds
    _calibrate(np.ascontiguousarray(raw), np.atleast_2d(knots), scale_of, scores)
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
        # The last knots may be so close that the distance is infinite.
        return min(1.0 - (1.0 - QUANTILES[last]) / (1.0 + (raw - knots[last]) / step), MAX_SCORE)
    if raw == knots[above]:
        return min(QUANTILES[above], MAX_SCORE)
    fraction = min((raw - knots[above - 1]) / (knots[above] - knots[above - 1]), 1.0)
    between = QUANTILES[above - 1] + fraction * (QUANTILES[above] - QUANTILES[above - 1])
    return min(between, QUANTILES[above], MAX_SCORE)


MAX_SCORE: Final = float(np.nextafter(1.0, 0.0))
"""Scores are below 1."""


def bands_of(scores: Floats) -> NDArray[np.uint8]:
    """How many of :data:`models.detectors.base.BANDS` each score is above, ``(n,)``."""
    return np.searchsorted(BANDS, scores, side="left").astype(np.uint8)


def surprise(scores: Floats) -> Floats:
    """A score in bits, ``-log2(1 - score)``: 1 for half of normal traffic, 10 for one in a thousand."""
    return -np.log2(1.0 - scores)
