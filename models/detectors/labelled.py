"""The second stage: a supervised model of the sessions that people labelled, on top of the anomaly score.

It is a regression on the first stage's surprise and the features: boosted trees (Friedman 2001) where many attacks in
several companies are labelled, a logistic one where people labelled those of their own. With one labelled vector in a
hundred it finds more than any detector without labels; without labels there is no second stage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from models.detectors.calibration import calibrated, knots_of, surprise
from models.detectors.distance import spread, standardised
from models.detectors.trees import Trees, joined

Floats = NDArray[np.float64]

MIN_ATTACKED: Final = 5
"""Sessions that must be labelled as attacked: with fewer, the regression memorises single attacks."""
MIN_HONEST: Final = 20
MIN_COMPANIES: Final = 5
"""Companies whose sessions must be labelled for boosted trees: they replace the first stage, also elsewhere."""
MIN_BOOSTED: Final = 100
"""Sessions that must be labelled as attacked for boosted trees."""
TREES: Final = 120
LEAVES: Final = 12
LEARNING_RATE: Final = 0.1
MIN_LEAF_SHARE: Final = 0.0005
"""Share of the labelled vectors' weight that a leaf needs: else it describes a single session."""
REGULARISATION: Final = 0.1
"""Inverse strength of the L2 penalty: labels are few, so weights must be small."""
CLIP: Final = 8.0
"""Standard deviations at which a feature is clipped."""


class TooFewLabels(ValueError):
    """There are too few labels to learn from; the message says how many are needed."""


@dataclass(frozen=True)
class Labels:
    """Labelled vectors.

    Attributes:
        seen: the vectors, ``(n, f)``.
        kinds: kinds of their principals, ``(n,)``.
        attack: whether people labelled them as attack, ``(n,)``.
        sessions: the session of each, ``(n,)``.
        companies: in how many companies they were observed.
    """

    seen: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    attack: NDArray[np.bool_]
    sessions: NDArray[np.int64]
    companies: int = 1

    def check(self) -> None:
        """Raise :class:`TooFewLabels` unless enough sessions of both classes are labelled."""
        attacked = len(np.unique(self.sessions[self.attack]))
        honest = len(np.unique(self.sessions[~self.attack]))
        if attacked < MIN_ATTACKED or honest < MIN_HONEST:
            raise TooFewLabels(
                f"{attacked} attacked and {honest} honest sessions are labelled; the second stage needs "
                f"{MIN_ATTACKED} and {MIN_HONEST}, so the model is trained without it"
            )

    @property
    def suffice_for_trees(self) -> bool:
        """Whether there are attacks enough, in companies enough, for boosted trees."""
        return self.companies >= MIN_COMPANIES and np.unique(self.sessions[self.attack]).size >= MIN_BOOSTED


@dataclass(frozen=True)
class LogisticStage:
    """A fitted logistic regression, combined with the first stage's score.

    Attributes:
        centre: of each feature, ``(f,)``.
        scale: standard deviation of each feature, ``(f,)``.
        weights: log-odds per scale of each feature, and per bit of surprise, ``(f + 1,)``.
        knots: the regression's log-odds at the calibration's quantiles of normal traffic.
    """

    centre: Floats
    scale: Floats
    weights: Floats
    knots: Floats

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :meth:`from_arrays` is the inverse."""
        return {"centre": self.centre, "scale": self.scale, "weights": self.weights, "knots": self.knots}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> LogisticStage:
        """The inverse of :attr:`arrays`."""
        return cls(arrays["centre"], arrays["scale"], arrays["weights"], arrays["knots"])

    def log_odds(self, seen: NDArray[np.float32], first: Floats) -> Floats:
        """Log-odds of the regression alone, without intercept, ``(n,)``; *first* are the first stage's scores."""
        total: Floats = self.weights[-1] * surprise(first)
        spreads = np.clip(standardised(seen, self.centre, self.scale), -CLIP, CLIP)
        for weight, feature in zip(self.weights[:-1], spreads, strict=True):
            total += weight * feature
        return total

    def raw(self, seen: NDArray[np.float32], first: Floats) -> Floats:
        """The larger surprise of the two stages, ``(n,)``: labels cannot lower the score of what nobody labelled."""
        return np.maximum(surprise(first), surprise(calibrated(self.log_odds(seen, first), self.knots)))


@dataclass(frozen=True)
class BoostedStage:
    """Fitted boosted trees.

    Attributes:
        trees: over the features and the first stage's surprise; a leaf's value is log-odds.
    """

    trees: Trees

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :meth:`from_arrays` is the inverse."""
        return self.trees.arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> BoostedStage:
        """The inverse of :attr:`arrays`."""
        return cls(Trees.from_arrays(arrays))

    def raw(self, seen: NDArray[np.float32], first: Floats) -> Floats:
        """Log-odds of the trees, without intercept, ``(n,)``; *first* are the first stage's scores.

        Unlike the logistic regression, trees of many attacks may lower what the first stage says: in a company that
        the first stage does not know, everything is anomalous.
        """
        return self.trees.total(_with_surprise(seen, first))


SecondStage = LogisticStage | BoostedStage


def second_stage(arrays: dict[str, NDArray[Any]]) -> SecondStage:
    """The second stage that has these arrays."""
    return BoostedStage.from_arrays(arrays) if "nodes" in arrays else LogisticStage.from_arrays(arrays)


def _with_surprise(seen: NDArray[np.float32], first: Floats) -> NDArray[np.float32]:
    return np.column_stack([seen, surprise(first).astype(np.float32)])


def fit_second(labels: Labels, first: Floats, normal: NDArray[np.float32], normal_first: Floats) -> SecondStage:
    """Fit the second stage to *labels*.

    Args:
        labels: labelled vectors.
        first: the first stage's scores of the labelled vectors.
        normal: the vectors of normal traffic that calibrate it, ``(m, f)``.
        normal_first: their scores, ``(m,)``.

    Raises:
        TooFewLabels: fewer labelled sessions than a regression needs.
    """
    labels.check()
    if labels.suffice_for_trees:
        return boosted(labels, first)
    stage = _logistic(labels, first, normal)
    return replace(stage, knots=knots_of(stage.log_odds(normal, normal_first)))


def _logistic(labels: Labels, first: Floats, normal: NDArray[np.float32]) -> LogisticStage:
    centre, scale = spread(normal)
    spreads = np.clip(standardised(labels.seen, centre, scale), -CLIP, CLIP)
    values = np.vstack([spreads, surprise(first)]).T
    weight = _balanced_weights(labels)
    regression = LogisticRegression(C=REGULARISATION, max_iter=1_000).fit(values, labels.attack, weight)
    weights = regression.coef_[0].astype(np.float64)
    weights[-1] = max(weights[-1], 0.0)  # a higher anomaly score never lowers the log-odds
    return LogisticStage(centre, scale, weights, np.zeros(0))


def boosted(labels: Labels, first: Floats) -> BoostedStage:
    """Boosted trees that learned from *labels*; *first* are the first stage's scores of their vectors.

    Raises:
        TooFewLabels: fewer labelled sessions than a regression needs.
    """
    labels.check()
    values = _with_surprise(labels.seen, first)
    boosting = GradientBoostingClassifier(
        n_estimators=TREES,
        learning_rate=LEARNING_RATE,
        max_leaf_nodes=LEAVES,
        max_depth=None,
        min_weight_fraction_leaf=MIN_LEAF_SHARE,
        max_features=0.3,
        subsample=0.5,
        random_state=0,
    )
    boosting.fit(values, labels.attack, _balanced_weights(labels))
    grown = [estimator.tree_ for estimator in boosting.estimators_[:, 0]]
    pairs = [(tree.__getstate__()["nodes"], LEARNING_RATE * tree.value[:, 0, 0]) for tree in grown]
    return BoostedStage(joined(pairs, values.shape[1]))


def _balanced_weights(labels: Labels) -> Floats:
    """Sample weights with which both classes count the same, and within a class all sessions."""
    _, session, count = np.unique(labels.sessions, return_inverse=True, return_counts=True)
    weight = 1.0 / count[session]
    for chosen in (labels.attack, ~labels.attack):
        weight[chosen] *= len(weight) / 2.0 / weight[chosen].sum()
    return weight
