"""An isolation forest (Liu, Ting, Zhou 2008) fitted by scikit-learn, kept as flat arrays, walked in chunks.

``IsolationForest.score_samples`` costs milliseconds a call whatever the size; walking the fitted trees gives
the same score in microseconds a row. Nothing here is pickled: a forest is a handful of arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.tree._tree import Tree

from models.detector import BANDS, Moved
from models.features import FEATURE_NAMES, as_seen_by_models

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
    """A fitted, calibrated forest.

    Attributes:
        name: what the model is called.
        nodes: scikit-learn's own node records of all trees, one after another.
        starts: first node of each tree, and the end: ``(trees + 1,)``.
        depth: path length that ends in each node, its leaf's correction included, ``(nodes,)``.
        sample: points each tree was grown from (psi in the paper).
        usual: median of each feature in training, in its own unit, ``(f,)``.
        thresholds: scores at the quantiles :data:`models.detector.BANDS` of normal traffic.
    """

    name: str
    nodes: NDArray[Any]
    starts: NDArray[np.int64]
    depth: NDArray[np.float64]
    sample: int
    usual: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :func:`from_arrays` is the inverse."""
        return {
            "nodes": self.nodes, "starts": self.starts, "depth": self.depth, "sample": np.array(self.sample),
            "usual": self.usual, "thresholds": self.thresholds,
        }  # fmt: skip

    @cached_property
    def id(self) -> str:
        """``name@hash``; the hash covers every array."""
        digest = blake2b(digest_size=4)
        for name, array in sorted(self.arrays.items()):
            digest.update(name.encode() + array.tobytes())
        return f"{self.name}@{digest.hexdigest()}"

    @cached_property
    def _trees(self) -> list[tuple[Tree, NDArray[np.float64]]]:
        return [
            (_tree(self.nodes[a:b], len(self.usual)), self.depth[a:b])
            for a, b in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        ]

    def score(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """``2^(-E[h(x)] / c(psi))`` (paper, equation 2): minus scikit-learn's ``score_samples``, ``(n,)``."""
        path = np.zeros(len(seen))
        for tree, depth in self._trees:
            path += depth[tree.apply(seen)]
        usual = len(self._trees) * float(average_path(np.array(self.sample)))
        return np.exp2(-path / usual)

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        """How many of the thresholds each score is above, ``(n,)``."""
        return np.searchsorted(self.thresholds, scores, side="left").astype(np.uint8)

    def explain(self, values: NDArray[np.float64], seen: NDArray[np.float32], most: int) -> list[Moved]:
        """Ablation: each feature in turn is put back to what is usual; what lowers the score most is first.

        *values* is one vector ``(f,)`` in own units, *seen* the same ``(f,)`` as the model sees it.
        """
        usual = as_seen_by_models(self.usual[:, None])[0]
        trials = np.repeat(seen[None, :], len(seen) + 1, axis=0)
        np.fill_diagonal(trials[1:], usual)
        scores = self.score(trials)
        gain = scores[0] - scores[1:]
        order = np.argsort(-gain, kind="stable")[:most]
        return [Moved(FEATURE_NAMES[i], float(values[i]), float(self.usual[i])) for i in order if gain[i] > 0]


def _tree(nodes: NDArray[Any], features: int) -> Tree:
    """scikit-learn's own tree around our nodes: its compiled walk, without its estimators."""
    tree = Tree(features, np.array([1], np.intp), 1)
    tree.__setstate__(
        {
            "max_depth": 0,
            "node_count": len(nodes),
            "nodes": np.ascontiguousarray(nodes),
            "values": np.zeros((len(nodes), 1, 1)),
        }
    )
    return tree


def from_arrays(name: str, arrays: dict[str, NDArray[Any]]) -> Forest:
    """The inverse of :attr:`Forest.arrays`."""
    return Forest(
        name, arrays["nodes"], arrays["starts"], arrays["depth"], int(arrays["sample"]), arrays["usual"],
        arrays["thresholds"],
    )  # fmt: skip


def fit(
    values: NDArray[np.float64], *, name: str, seed: int, trees: int = TREES, sample: int = SAMPLE
) -> Forest:
    """Fit and calibrate a forest on normal traffic.

    Args:
        values: feature vectors in own units, ``(n, f)`` in the order of ``FEATURES``.
        name: what to call the model.
        seed: the same data and seed give the same bytes.
        trees: how many trees.
        sample: points per tree.

    Raises:
        ValueError: fewer than 1,000 vectors, or another number of features.
    """
    if values.ndim != 2 or values.shape[1] != len(FEATURE_NAMES):
        raise ValueError(f"training needs (n, {len(FEATURE_NAMES)}) values, got {values.shape}")
    if len(values) < 1_000:
        raise ValueError(f"training needs at least 1,000 scored vectors, the recording gave {len(values)}")
    seen = as_seen_by_models(np.ascontiguousarray(values.T))
    fitted = IsolationForest(n_estimators=trees, max_samples=sample, random_state=seed, n_jobs=1).fit(seen)
    forest = from_fitted(name, fitted, np.median(values, axis=0))
    thresholds = np.quantile(forest.score(seen), BANDS)
    return Forest(name, forest.nodes, forest.starts, forest.depth, forest.sample, forest.usual, thresholds)


def from_fitted(name: str, fitted: IsolationForest, usual: NDArray[np.float64]) -> Forest:
    """Flatten a fitted forest; its thresholds are left at 1, above every score."""
    states = [estimator.tree_.__getstate__() for estimator in fitted.estimators_]
    nodes = [state["nodes"][: state["node_count"]] for state in states]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in nodes])]).astype(np.int64)
    depth = np.concatenate([_path_lengths(one) for one in nodes])
    return Forest(
        name, np.concatenate(nodes), starts, depth, int(fitted.max_samples_), usual, np.ones(len(BANDS))
    )


def _path_lengths(nodes: NDArray[Any]) -> NDArray[np.float64]:
    """Edges from the root to each node, plus the correction for the points that end there."""
    edges = np.zeros(len(nodes))
    for parent in range(len(nodes)):  # scikit-learn stores parents before their children
        for child in (nodes["left_child"][parent], nodes["right_child"][parent]):
            if child >= 0:
                edges[child] = edges[parent] + 1
    return edges + average_path(nodes["n_node_samples"])
