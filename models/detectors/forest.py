"""Isolation forest (Liu, Ting, Zhou 2008): what few random cuts isolate is anomalous. Fitted by scikit-learn.

``IsolationForest.score_samples`` costs milliseconds for a call of any size; walking the fitted trees gives the same
score in microseconds a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from models.detectors.trees import Trees, joined

TREES: Final = 64
SAMPLE: Final = 256
_EULER: Final = 0.5772156649015329


def average_path(count: NDArray[Any]) -> NDArray[np.float64]:
    """Mean path length of an unsuccessful search in a binary tree of *count* points (paper, equation 1)."""
    n = np.asarray(count, np.float64)
    many = np.maximum(n, 3.0)
    long = 2.0 * (np.log(many - 1.0) + _EULER) - 2.0 * (many - 1.0) / many
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, long))


@dataclass(frozen=True)
class Forest:
    """A fitted forest: a node's value is its path length, with the correction for the points that end there.

    *sample* is the number of points each tree was grown from (psi in the paper).
    """

    trees: Trees
    sample: int

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :meth:`from_arrays` is the inverse."""
        return {**self.trees.arrays, "sample": np.array(self.sample)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Forest:
        """The inverse of :attr:`arrays`."""
        return cls(Trees.from_arrays(arrays), int(arrays["sample"]))

    def raw(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """``2^(-E[h(x)] / c(psi))`` (paper, equation 2), ``(n,)``: scikit-learn's ``score_samples``, negated."""
        usual = len(self.trees) * float(average_path(np.array(self.sample)))
        return np.exp2(-self.trees.total(seen) / usual)


def fit(seen: NDArray[np.float32], seed: int, *, trees: int = TREES, sample: int = SAMPLE) -> Forest:
    """Grow a forest from *seen* ``(n, f)``."""
    fitted = IsolationForest(n_estimators=trees, max_samples=sample, random_state=seed, n_jobs=1).fit(seen)
    return from_fitted(fitted)


def from_fitted(fitted: IsolationForest) -> Forest:
    """The arrays of a forest that scikit-learn fitted."""
    states = [estimator.tree_.__getstate__() for estimator in fitted.estimators_]
    nodes = [state["nodes"][: state["node_count"]] for state in states]
    trees = joined([(node, _path_lengths(node)) for node in nodes], fitted.n_features_in_)
    return Forest(trees, int(fitted.max_samples_))


def _path_lengths(nodes: NDArray[Any]) -> NDArray[np.float64]:
    """Number of edges from the root to each node, plus the correction for the points that end there."""
    edges = np.zeros(len(nodes))
    for parent in range(len(nodes)):  # scikit-learn stores parents before their children
        for child in (nodes["left_child"][parent], nodes["right_child"][parent]):
            if child >= 0:
                edges[child] = edges[parent] + 1
    return edges + average_path(nodes["n_node_samples"])
