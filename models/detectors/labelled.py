"""The second stage: what people said of a few sessions, learned on top of what is unlike normal traffic.

A logistic regression on the first stage's surprise and the features. With one labelled vector in a hundred it
finds more than any detector without labels; without labels it does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.detectors.calibration import calibrated, knots_of, surprise
from models.detectors.distance import spread, standardised

Floats = NDArray[np.float64]

LEAST_ATTACKED: Final = 5
"""Sessions that must be labelled as attacked: fewer teach one story by heart."""
LEAST_HONEST: Final = 20
REGULARISATION: Final = 0.1
"""Inverse strength of the L2 penalty: labels are few, so weights are held small."""
CLIP: Final = 8.0
"""Spreads beyond which a feature weighs no more."""


class TooFewLabels(ValueError):
    """Not enough was said by people to learn from; the message says how much is missing."""


@dataclass(frozen=True)
class Labels:
    """What is known of some vectors.

    Attributes:
        seen: the vectors, ``(n, f)``.
        kinds: of their principals, ``(n,)``.
        attack: what people said, ``(n,)``.
        sessions: which session each is of, ``(n,)``.
    """

    seen: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    attack: NDArray[np.bool_]
    sessions: NDArray[np.int64]

    def check(self) -> None:
        """Raise :class:`TooFewLabels` unless enough sessions of both sorts are labelled."""
        attacked = len(np.unique(self.sessions[self.attack]))
        honest = len(np.unique(self.sessions[~self.attack]))
        if attacked < LEAST_ATTACKED or honest < LEAST_HONEST:
            raise TooFewLabels(
                f"{attacked} attacked and {honest} honest sessions are labelled; the second stage needs "
                f"{LEAST_ATTACKED} and {LEAST_HONEST}, so the model is trained without it"
            )


@dataclass(frozen=True)
class SecondStage:
    """A fitted regression, in sum with the first stage's word.

    Attributes:
        centre, scale: of each feature, ``(f,)``.
        weights: log-odds a spread of each feature, then a bit of surprise, ``(f + 1,)``.
        knots: the regression's log-odds at the calibration's quantiles of normal traffic.
    """

    centre: Floats
    scale: Floats
    weights: Floats
    knots: Floats

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :meth:`of` is the inverse."""
        return {"centre": self.centre, "scale": self.scale, "weights": self.weights, "knots": self.knots}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> SecondStage:
        """The inverse of :attr:`arrays`."""
        return cls(arrays["centre"], arrays["scale"], arrays["weights"], arrays["knots"])

    def log_odds(self, seen: NDArray[np.float32], first: Floats) -> Floats:
        """The regression alone, ``(n,)``, without its constant; *first* are the first stage's scores."""
        total: Floats = self.weights[-1] * surprise(first)
        spreads = np.clip(standardised(seen, self.centre, self.scale), -CLIP, CLIP)
        for weight, feature in zip(self.weights[:-1], spreads, strict=True):
            total += weight * feature
        return total

    def raw(self, seen: NDArray[np.float32], first: Floats) -> Floats:
        """The larger surprise of the two stages, ``(n,)``: what nobody labelled yet is not talked away."""
        second = calibrated(self.log_odds(seen, first), self.knots)
        return np.maximum(surprise(first), surprise(second))


def fit_second(labels: Labels, first: Floats, normal: NDArray[np.float32], normal_first: Floats) -> SecondStage:
    """Learn from *labels*.

    Args:
        labels: what people said.
        first: the first stage's scores of the labelled vectors.
        normal: the vectors of normal traffic that calibrate it, ``(m, f)``.
        normal_first: their scores, ``(m,)``.

    Raises:
        TooFewLabels: fewer labelled sessions than a regression needs.
    """
    labels.check()
    centre, scale = spread(normal)
    spreads = np.clip(standardised(labels.seen, centre, scale), -CLIP, CLIP)
    values = np.vstack([spreads, surprise(first)]).T
    weight = _one_vote_each(labels)
    regression = LogisticRegression(C=REGULARISATION, max_iter=1_000).fit(values, labels.attack, weight)
    weights = regression.coef_[0].astype(np.float64)
    weights[-1] = max(weights[-1], 0.0)  # what is odder is never less suspect for it
    stage = SecondStage(centre, scale, weights, np.zeros(0))
    return SecondStage(centre, scale, weights, knots_of(stage.log_odds(normal, normal_first)))


def _one_vote_each(labels: Labels) -> Floats:
    """Weights with which attacks and honest traffic count alike, and within them each session alike."""
    _, session, count = np.unique(labels.sessions, return_inverse=True, return_counts=True)
    weight = 1.0 / count[session]
    for values in (labels.attack, ~labels.attack):
        weight[values] *= len(weight) / 2.0 / weight[values].sum()
    return weight
