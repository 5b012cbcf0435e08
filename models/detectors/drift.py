"""Drift: how far the vectors that a model scores have moved from those it was trained on. It is reported only.

A `Reference` is made once, in training, and stored beside the model. A `Tally` counts live vectors in the reference's
bins, a chunk at a time; tallies of partitions or days add up. The result is a population stability index (PSI) for each
feature and for the score: Σ (p − q) ln(p / q) over the bins, p the share of live values in a bin and q that of the
reference (Siddiqi, Credit Risk Scorecards, 2006, whose limits of 0.1 and 0.25 are the usual ones).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

SCORE: Final = "score"
"""The name of the last column: the model's score of the vector."""
QUANTILES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Of the reference: where bins end. The tail has bins of its own, because it is what a detector is for."""
MIN_SHARE: Final = 1e-4
"""Share that an empty bin counts as, because PSI is undefined for 0. A bin that is empty in both adds nothing."""
MODERATE: Final = 0.1
LARGE: Final = 0.25

Verdict = Literal["stable", "moderate", "large", "too few rows"]


@dataclass(frozen=True, eq=False)
class Reference:
    """The training rows as bins.

    Attributes:
        names: of the columns, `SCORE` last: ``(c,)``.
        edges: ends of the bins of each column in its own unit, ascending, ``(c, e)``; a bin includes its end, the last
            one has none, and columns with few values have ``inf`` for the ends that they do not need.
        counts: training rows in each bin, ``(c, e + 1)``.
    """

    names: tuple[str, ...]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def from_rows(cls, names: tuple[str, ...], values: NDArray[np.float64], scores: NDArray[np.float64]) -> Self:
        """The reference made from training rows: *values* ``(n, f)`` in own units, *scores* ``(n,)``.

        Raises:
            ValueError: there are no rows, or the shapes do not match the *names* of the features.
        """
        columns = _columns(len(names), values, scores)
        if not columns.shape[1]:
            raise ValueError("a reference needs at least one training row")
        edges = [_edges(column) for column in columns]
        padded = np.full((len(edges), max(map(len, edges))), np.inf)
        for row, found in zip(padded, edges, strict=True):
            row[: len(found)] = found
        return cls((*names, SCORE), padded, _count(padded, columns))

    @property
    def rows(self) -> int:
        """How many training rows were counted."""
        return int(self.counts[0].sum())

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the names, for a file; `from_arrays` is the inverse."""
        return {"edges": self.edges, "counts": self.counts}

    @classmethod
    def from_arrays(cls, names: tuple[str, ...], arrays: dict[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`, over the features *names*.

        Raises:
            ValueError: the arrays do not match each other, or the number of features.
            KeyError: one is missing.
        """
        edges, counts = arrays["edges"], arrays["counts"]
        if edges.ndim != 2 or counts.shape != (len(names) + 1, edges.shape[1] + 1) or len(edges) != len(counts):
            raise ValueError(f"bins {edges.shape} and counts {counts.shape} are not those of {len(names)} features")
        return cls((*names, SCORE), edges.astype(np.float64), counts.astype(np.int64))


class Drift(NamedTuple):
    """How far one column has moved; *noise* is about the PSI that chance alone would give."""

    name: str
    psi: float
    noise: float

    @property
    def verdict(self) -> Verdict:
        """PSI in words; with so few rows that chance alone looks like change, ``too few rows``."""
        if self.noise >= MODERATE / 2:
            return "too few rows"
        if self.psi < MODERATE:
            return "stable"
        return "moderate" if self.psi < LARGE else "large"


class Tally:
    """Live rows counted in a reference's bins; the order of rows and chunks does not matter."""

    __slots__ = ("counts", "reference")

    def __init__(self, reference: Reference, counts: NDArray[np.int64] | None = None) -> None:
        self.reference = reference
        self.counts = np.zeros_like(reference.counts) if counts is None else counts

    @property
    def rows(self) -> int:
        """How many live rows were counted."""
        return int(self.counts[0].sum())

    def add(self, values: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        """Count a chunk: *values* ``(n, f)`` in own units, *scores* ``(n,)``.

        Raises:
            ValueError: the number of features or of scores is wrong.
        """
        columns = _columns(len(self.reference.names) - 1, values, scores)
        self.counts += _count(self.reference.edges, columns)

    def __add__(self, other: Tally) -> Tally:
        """One tally of the rows of both; they must have the same reference."""
        if other.reference is not self.reference:
            raise ValueError("tallies of different references do not add up")
        return Tally(self.reference, self.counts + other.counts)

    def drift(self) -> list[Drift]:
        """The drift of every column, in the reference's order; none while nothing was counted."""
        if not self.rows:
            return []
        psi = stability(self.reference.counts, self.counts)
        noise = _noise(self.reference.counts, self.counts)
        rows = zip(self.reference.names, psi.tolist(), noise.tolist(), strict=True)
        return [Drift(*row) for row in rows]


def stability(reference: NDArray[np.int64], live: NDArray[np.int64]) -> NDArray[np.float64]:
    """The population stability index of each row of counts, ``(c, bins)`` twice → ``(c,)``.

    A share below `MIN_SHARE` counts as that.
    """
    q, p = (np.maximum(c / c.sum(axis=1, keepdims=True), MIN_SHARE) for c in (reference, live))
    return ((p - q) * np.log(p / q)).sum(axis=1)


def _noise(reference: NDArray[np.int64], live: NDArray[np.int64]) -> NDArray[np.float64]:
    """Expected PSI of two samples of one population, ``(c,)``: (bins − 1)(1/n + 1/m).

    Without a change, PSI is distributed about as (1/n + 1/m) times a χ² of bins − 1 degrees of freedom (Yurdakul,
    Statistical Properties of Population Stability Index, 2018). Bins that are empty in both do not count.
    """
    used = ((reference > 0) | (live > 0)).sum(axis=1)
    return (used - 1) * (1 / reference.sum(axis=1) + 1 / live.sum(axis=1))


def _columns(features: int, values: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """All columns as rows, ``(features + 1, n)``."""
    if values.ndim != 2 or values.shape[1] != features or scores.shape != (len(values),):
        raise ValueError(f"expected (n, {features}) values and (n,) scores, got {values.shape} and {scores.shape}")
    return np.vstack([values.T, scores[None, :]])


def _edges(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distinct quantiles of *column*, with bins of their own for values below the smallest and above the largest."""
    # Quantiles are values of the column, so that bins of a feature with few values hold whole values.
    inner = np.quantile(column, QUANTILES, method="inverted_cdf")
    below = np.nextafter(column.min(), -np.inf)
    return np.unique(np.concatenate([[below], inner, [column.max()]]))


def _count(edges: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows in each bin, ``(c, e + 1)``: bin *i* holds values above edge *i* − 1 and not above edge *i*."""
    bins = edges.shape[1] + 1
    counts = np.empty((len(edges), bins), np.int64)
    for row, (ends, column) in enumerate(zip(edges, columns, strict=True)):
        counts[row] = np.bincount(np.searchsorted(ends, column, side="left"), minlength=bins)
    return counts
