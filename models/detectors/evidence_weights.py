"""Weights of evidence: logistic regression in which the sign of each weight is fixed by the meaning of its evidence.

The estimate is the posterior mode under a normal prior around the weight that the evidence's severity suggests (Gelman
et al. 2008, "A weakly informative default prior distribution for logistic and other regression models"): with much data
the data decides, with little the severity does. Without a prior, evidence that no honest session ever showed would have
infinite weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]
SPREAD: Final = 1.5
"""Standard deviation of the prior, in log-odds: a factor of 4.5 in the odds."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Log-odds: *intercept* of a session without evidence, and *evidence*, ``(k,)``, of each piece.

    The intercept is for the share of attacks that was requested.
    """

    intercept: float
    evidence: Floats


def fit(
    rows: Floats,
    attack: NDArray[np.bool_],
    expected: Floats,
    spread: float = SPREAD,
    share: float = 0.0,
    offset: Floats | None = None,
) -> Weights:
    """Weights of evidence, each with the sign of its *expected* weight.

    Args:
        rows: ``(n, k)``: 1 if a session showed a piece of evidence, else 0.
        attack: ``(n,)`` which sessions were under attack.
        expected: ``(k,)`` the prior's means; a weight never has the opposite sign.
        spread: the prior's standard deviation.
        share: of attacks among all sessions, for the intercept; 0 for the share in *rows*.
        offset: ``(n,)`` log-odds of other evidence with known weights; none if not given.

    Raises:
        ValueError: there is no attack, or no honest session.
    """
    if not attack.any() or attack.all():
        raise ValueError("weights are learned from attacked and honest sessions: one of the two is missing")
    y = attack.astype(np.float64)
    known = np.zeros(len(y)) if offset is None else offset

    def loss(x: Floats) -> tuple[float, Floats]:
        odds = x[0] + rows @ x[1:] + known
        deviation = (x[1:] - expected) / spread
        value = float(np.logaddexp(0.0, odds).sum() - odds @ y + 0.5 * deviation @ deviation)
        slope = expit(odds) - y
        return value, np.concatenate([[slope.sum()], rows.T @ slope + deviation / spread])

    bounds = [(None, None), *((0.0, None) if mean >= 0 else (None, 0.0) for mean in expected)]
    start = np.concatenate([[_logit(float(y.mean()))], expected])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    shift = _logit(share) - _logit(float(y.mean())) if share else 0.0
    return Weights(float(found.x[0]) + shift, found.x[1:])


def _logit(share: float) -> float:
    return float(np.log(share / (1.0 - share)))
