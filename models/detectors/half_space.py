"""Half-space trees (Tan, Ting, Liu 2011): space is halved at random; a vector in a sparse cell is anomalous.

The cuts depend only on the ranges of the features; the data is counted in the cells afterwards. Unlike those of the
paper, these trees do not learn while they serve: a model that decides does not change by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.trees import LEAF, Trees, joined, records

TREES: Final = 64
DEPTH: Final = 12
SAMPLE: Final = 8_192
"""Vectors counted in a tree; each tree draws its own."""
MIN_SHARE: Final = 0.01
"""A cell with a smaller share of the vectors is not halved any more (the paper's size limit)."""


@dataclass(frozen=True)
class HalfSpaceTrees:
    """Fitted trees: a node's value is its density, the share of the vectors in it times 2^depth."""

    trees: Trees

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :meth:`from_arrays` is the inverse."""
        return self.trees.arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> HalfSpaceTrees:
        """The inverse of :attr:`arrays`."""
        return cls(Trees.from_arrays(arrays))

    def raw(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """Minus the logarithm of the mean density, ``(n,)``: sparser is higher."""
        return -np.log2(self.trees.total(seen) / len(self.trees) + 1e-6)


def fit(
    seen: NDArray[np.float32], seed: int, *, trees: int = TREES, depth: int = DEPTH, sample: int = SAMPLE
) -> HalfSpaceTrees:
    """Cut the range of *seen* ``(n, f)`` into cells, and count the vectors in them."""
    random = np.random.default_rng(seed)
    low, high = seen.min(axis=0).astype(np.float64), seen.max(axis=0).astype(np.float64)
    extent = np.where(high > low, high - low, 1.0)
    grown = []
    for _ in range(trees):
        counted = seen[random.choice(len(seen), min(sample, len(seen)), replace=False)]
        # Work range of the paper, section 3.1: centred on a random point, twice as wide as its distance to the far end.
        centre = random.random(seen.shape[1])
        half = 2.0 * np.maximum(centre, 1.0 - centre)
        bounds = low + extent * (centre - half), low + extent * (centre + half)
        grown.append(_Growth(random, counted, depth).tree(*bounds))
    return HalfSpaceTrees(joined(grown, seen.shape[1]))


class _Growth:
    """A tree under construction: its nodes in order, parents before their children."""

    def __init__(self, random: np.random.Generator, counted: NDArray[np.float32], depth: int) -> None:
        self.random = random
        self.counted = counted
        self.depth = depth
        self.left: list[int] = []
        self.right: list[int] = []
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.density: list[float] = []

    def tree(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Node records and densities of the tree over the box from *low* to *high*, ``(f,)`` each."""
        self._node(np.arange(len(self.counted)), low, high, 0)
        return records(self.left, self.right, self.feature, self.threshold), np.array(self.density)

    def _node(self, inside: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], depth: int) -> int:
        node = len(self.left)
        share = len(inside) / len(self.counted)
        ends = depth == self.depth or share < MIN_SHARE
        feature = LEAF if ends else int(self.random.integers(len(low)))
        middle = 0.0 if ends else (low[feature] + high[feature]) / 2.0
        self.left.append(LEAF)
        self.right.append(LEAF)
        self.feature.append(feature)
        self.threshold.append(middle)
        self.density.append(share * 2.0**depth)
        if not ends:
            below = self.counted[inside, feature] <= middle
            upper, lower = high.copy(), low.copy()
            upper[feature] = lower[feature] = middle
            self.left[node] = self._node(inside[below], low, upper, depth + 1)
            self.right[node] = self._node(inside[~below], lower, high, depth + 1)
        return node
