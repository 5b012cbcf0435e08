"""Binary trees in flat arrays, walked over whole chunks by scikit-learn's compiled code.

A tree is a sequence of scikit-learn's node records; its score of a vector is the value of the leaf it ends in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree._tree import NODE_DTYPE, Tree

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
        """The inverse of :attr:`arrays`."""
        return cls(arrays["nodes"], arrays["starts"], arrays["value"], int(arrays["features"]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def _walks(self) -> list[tuple[Tree, NDArray[np.float64]]]:
        return [
            (_tree(self.nodes[start:end], self.features), self.value[start:end])
            for start, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        ]

    def total(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum over all trees of the value of the leaf that each vector ends in, ``(n,)``."""
        total = np.zeros(len(seen))
        for tree, value in self._walks:
            total += value[tree.apply(seen)]
        return total


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


def _tree(nodes: NDArray[Any], features: int) -> Tree:
    """scikit-learn's tree with the given nodes: its compiled walk, without its estimators."""
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
