"""Binary trees in flat arrays, walked over whole chunks by compiled code.

A tree is a sequence of scikit-learn's node records; its score of a vector is the value of the leaf it ends in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree._tree import NODE_DTYPE

from models.jit import compiled

LEAF = -1
"""In place of a child that does not exist."""


@dataclass(frozen=True)
class Trees:
    """Several trees.

    Attributes:
        nodes: node records of all trees, one after another; child indices are relative to the tree's first node.
        starts: first node of each tree, and the end: ``(trees + 1,)``.
        value: of each node, ``(nodes,)``.
        features: number of features of a vector.
    """

    nodes: NDArray[Any]
    starts: NDArray[np.int64]
    value: NDArray[np.float64]
    features: int

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that makes these trees; :meth:`from_arrays` is the inverse."""
        features = np.array(self.features)
        return {"nodes": self.nodes, "starts": self.starts, "value": self.value, "features": features}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Trees:
        """The inverse of :attr:`arrays`.

        Raises:
            ValueError: the arrays are no trees: the compiled walk checks no bounds.
        """
        trees = cls(arrays["nodes"], arrays["starts"], arrays["value"], int(arrays["features"]))
        trees.check()
        return trees

    def check(self) -> None:
        """Raise ``ValueError`` unless every walk ends in a leaf of its tree and reads features that exist."""
        nodes, starts = self.nodes, self.starts
        count = len(nodes)
        bounded = starts.size > 1 and starts[0] == 0 and starts[-1] == count and bool((np.diff(starts) > 0).all())
        if not bounded or self.value.shape != (count,):
            raise ValueError("trees whose nodes, starts and values do not fit")
        tree = np.searchsorted(starts, np.arange(count), side="right") - 1
        place, size = np.arange(count) - starts[tree], np.diff(starts)[tree]
        inner = nodes["left_child"] != LEAF
        for name in ("left_child", "right_child"):
            child = nodes[name][inner]
            if ((child <= place[inner]) | (child >= size[inner])).any():  # a child after its parent: no circles
                raise ValueError("a tree whose nodes are not in order")
        feature = nodes["feature"][inner]
        if ((feature < 0) | (feature >= self.features)).any():
            raise ValueError("a tree that reads a feature that does not exist")

    def __len__(self) -> int:
        return len(self.starts) - 1

    def total(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum over all trees of the value of the leaf that each vector ends in, ``(n,)``."""
        total = np.zeros(len(seen))
        _walk(*self._columns, self.value, self.starts, np.ascontiguousarray(seen), total)
        return total

    @cached_property
    def _columns(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        left, right, feature, threshold = (
            np.ascontiguousarray(self.nodes[name]) for name in ("left_child", "right_child", "feature", "threshold")
        )
        return left, right, feature, threshold


@compiled
def _walk(  # noqa: PLR0913, PLR0917 - compiled: no objects, so everything one by one
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    feature: NDArray[np.int64],
    threshold: NDArray[np.float64],
    value: NDArray[np.float64],
    starts: NDArray[np.int64],
    seen: NDArray[np.float32],
    total: NDArray[np.float64],
) -> None:
    """Each vector down each tree: a value ``<= threshold`` goes left.

    A tree at a time, as its nodes stay in the processor's cache.
    """
    for tree in range(starts.size - 1):
        first = starts[tree]
        for index in range(total.size):
            node = first
            while left[node] != LEAF:
                node = first + (left[node] if seen[index, feature[node]] <= threshold[node] else right[node])
            total[index] += value[node]


def joined(trees: list[tuple[NDArray[Any], NDArray[np.float64]]], features: int) -> Trees:
    """The trees given as pairs of node records and values."""
    starts = np.concatenate([[0], np.cumsum([len(nodes) for nodes, _ in trees])]).astype(np.int64)
    nodes, values = zip(*trees, strict=True)
    return Trees(np.concatenate(nodes), starts, np.concatenate(values), features)


def records(left: list[int], right: list[int], feature: list[int], threshold: list[float]) -> NDArray[Any]:
    """Node records of a tree that scikit-learn did not grow: a value ``<= threshold`` goes left."""
    nodes = np.zeros(len(left), NODE_DTYPE)
    nodes["left_child"], nodes["right_child"] = left, right
    nodes["feature"], nodes["threshold"] = feature, threshold
    return nodes
