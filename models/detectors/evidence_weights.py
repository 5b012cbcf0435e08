"""How much each piece of evidence weighs: logistic regression whose signs are fixed by meaning.

The estimate is the posterior mode under a normal prior around what the evidence's severity suggests (Gelman
et al. 2008, "A weakly informative default prior distribution for logistic and other regression models"):
where a recording says much it decides, where it says little the severity does. Without such a prior,
evidence that no honest session ever showed would weigh infinitely much.
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

    The intercept is for the share of attacks that was asked for.
    """

    intercept: float
    evidence: Floats


def fit(
    rows: Floats,
    attack: NDArray[np.bool_],
    expected: Floats,
    spread: float = SPREAD,
    share: float = 0.0,
    beside: Floats | None = None,
) -> Weights:
    """The weights of evidence, each with the sign of what is *expected* of it.

    Args:
        rows: ``(n, k)``: 1 where a session showed a piece of evidence, else 0.
        attack: ``(n,)`` which sessions were under attack.
        expected: ``(k,)`` the prior's means; a weight is never on the other side of 0.
        spread: the prior's standard deviation.
        share: of attacks among all sessions that the intercept is for; 0 is the share in *rows*.
        beside: ``(n,)`` log-odds of other evidence that was weighed before, nothing if not given.

    Raises:
        ValueError: there is no attack, or nothing else.
    """
    if not attack.any() or attack.all():
        raise ValueError("weights are learned from attacked and honest sessions: one of the two is missing")
    y = attack.astype(np.float64)
    given = np.zeros(len(y)) if beside is None else beside

    def loss(x: Floats) -> tuple[float, Floats]:
        odds = x[0] + rows @ x[1:] + given
        off = (x[1:] - expected) / spread
        value = float(np.logaddexp(0.0, odds).sum() - odds @ y + 0.5 * off @ off)
        slope = expit(odds) - y
        return value, np.concatenate([[slope.sum()], rows.T @ slope + off / spread])

    bounds = [(None, None), *((0.0, None) if item >= 0 else (None, 0.0) for item in expected)]
    start = np.concatenate([[_logit(float(y.mean()))], expected])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    shift = _logit(share) - _logit(float(y.mean())) if share else 0.0
    return Weights(float(found.x[0]) + shift, found.x[1:])


def _logit(share: float) -> float:
    return float(np.log(share / (1.0 - share)))
