"""Binary trees in flat arrays, walked over whole chunks by compiled code.

A tree is a sequence of scikit-learn's node records; its score of a vector is the value of the leaf it ends in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

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
        _walk(self._steps, np.ascontiguousarray(seen).ravel(), np.uint64(seen.shape[1]), total)
        return total

    @cached_property
    def _steps(self) -> _Steps:
        """The trees for :func:`_walk`: absolute numbers of nodes, a leaf its own child, thresholds as narrow as values.

        A value is a float32, so it is ``<= threshold`` if it is at most the largest float32 that is.
        """
        nodes, here = self.nodes, np.arange(len(self.nodes))
        tree = np.searchsorted(self.starts, here, side="right") - 1
        leaf = nodes["left_child"] == LEAF
        children = np.empty(2 * len(nodes), np.uint32)
        for side, name in enumerate(("right_child", "left_child")):
            children[side::2] = np.where(leaf, here, self.starts[tree] + nodes[name])
        depth = np.zeros(len(nodes), np.int64)
        for node in np.flatnonzero(~leaf).tolist():  # a child stands after its parent
            depth[children[2 * node : 2 * node + 2]] = depth[node] + 1
        narrow = nodes["threshold"].astype(np.float32)
        narrow = np.where(narrow > nodes["threshold"], np.nextafter(narrow, np.float32(-np.inf)), narrow)
        feature = np.where(leaf, 0, nodes["feature"]).astype(np.uint32)
        deepest = np.maximum.reduceat(depth, self.starts[:-1])
        return _Steps(children, feature, narrow, self.value, self.starts.astype(np.uint64), deepest)


class _Steps(NamedTuple):
    children: NDArray[np.uint32]
    """Of each node the right child, then the left one, ``(2 * nodes,)``."""
    feature: NDArray[np.uint32]
    threshold: NDArray[np.float32]
    value: NDArray[np.float64]
    starts: NDArray[np.uint64]
    depth: NDArray[np.int64]
    """Steps to the deepest leaf of each tree, ``(trees,)``."""


@compiled
def _walk(trees: Any, seen: Any, width: Any, total: Any) -> None:
    """Each vector down each tree: a value ``<= threshold`` goes left.

    A tree at a time, as its nodes stay in the processor's cache. Four vectors at a time, always to the deepest leaf,
    and by arithmetic instead of branches: no step waits for another's memory, and none is guessed wrong. Unsigned
    numbers, because others cost a check whether they count from the end.
    """
    for tree in range(trees.starts.size - 1):
        root, depth, index = np.uint64(trees.starts[tree]), trees.depth[tree], 0
        while index + 4 <= total.size:
            a = b = c = d = root
            row_a = np.uint64(index) * width
            row_b, row_c, row_d = row_a + width, row_a + width + width, row_a + width + width + width
            for _ in range(depth):
                a, b = _step(trees, seen, a, row_a), _step(trees, seen, b, row_b)
                c, d = _step(trees, seen, c, row_c), _step(trees, seen, d, row_d)
            total[index] += trees.value[a]
            total[index + 1] += trees.value[b]
            total[index + 2] += trees.value[c]
            total[index + 3] += trees.value[d]
            index += 4
        while index < total.size:
            a, row_a = root, np.uint64(index) * width
            for _ in range(depth):
                a = _step(trees, seen, a, row_a)
            total[index] += trees.value[a]
            index += 1


@compiled
def _step(trees: Any, seen: Any, node: Any, row: Any) -> Any:
    left = seen[row + np.uint64(trees.feature[node])] <= trees.threshold[node]
    return np.uint64(trees.children[node + node + np.uint64(left)])


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
