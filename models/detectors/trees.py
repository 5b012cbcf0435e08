"""Binary trees kept as flat arrays and walked in chunks by scikit-learn's own compiled walk.

A tree is a run of scikit-learn's node records; a vector gets from it the value of the leaf it ends in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree._tree import NODE_DTYPE, Tree

LEAF = -1
"""In place of a child: there is none."""


@dataclass(frozen=True)
class Trees:
    """Several trees.

    Attributes:
        nodes: node records of all trees, one after another; children count from their tree's first node.
        starts: first node of each tree, and the end: ``(trees + 1,)``.
        value: what ends in each node is worth, ``(nodes,)``.
        features: how many features a vector has.
    """

    nodes: NDArray[Any]
    starts: NDArray[np.int64]
    value: NDArray[np.float64]
    features: int

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that makes these trees; :meth:`of` is the inverse."""
        features = np.array(self.features)
        return {"nodes": self.nodes, "starts": self.starts, "value": self.value, "features": features}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Trees:
        """The inverse of :attr:`arrays`."""
        return cls(arrays["nodes"], arrays["starts"], arrays["value"], int(arrays["features"]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def _walks(self) -> list[tuple[Tree, NDArray[np.float64]]]:
        return [
            (_tree(self.nodes[a:b], self.features), self.value[a:b])
            for a, b in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        ]

    def total(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """The sum over all trees of the value of the leaf each vector ends in, ``(n,)``."""
        total = np.zeros(len(seen))
        for tree, value in self._walks:
            total += value[tree.apply(seen)]
        return total


def joined(trees: list[tuple[NDArray[Any], NDArray[np.float64]]], features: int) -> Trees:
    """Trees of (node records, value of each node) pairs."""
    starts = np.concatenate([[0], np.cumsum([len(nodes) for nodes, _ in trees])]).astype(np.int64)
    nodes, values = zip(*trees, strict=True)
    return Trees(np.concatenate(nodes), starts, np.concatenate(values), features)


def records(left: list[int], right: list[int], feature: list[int], threshold: list[float]) -> NDArray[Any]:
    """Node records of one tree that we grew ourselves: ``value <= threshold`` goes left."""
    nodes = np.zeros(len(left), NODE_DTYPE)
    nodes["left_child"], nodes["right_child"] = left, right
    nodes["feature"], nodes["threshold"] = feature, threshold
    return nodes


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
