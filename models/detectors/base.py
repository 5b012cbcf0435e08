"""What every anomaly detector is to the rest of the house, and the one that knows nothing."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BANDS = (0.99, 0.999, 0.9999)
"""Shares of normal traffic that are less odd than a score in band 1, 2 or 3."""


class Moved(NamedTuple):
    """One feature that moved a score, in its own unit.

    *observed* is what was seen, *usual* the median of the principal's kind; one vector in a hundred lies
    below *lower*, one in a hundred above *upper*.
    """

    feature: str
    observed: float
    lower: float
    usual: float
    upper: float


class Detector(Protocol):
    """Scores how unlike normal traffic a vector is; never learns while it serves."""

    @property
    def id(self) -> str:
        """``name@hash`` of what was learned: stands in every decision."""
        ...

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How odd each vector is, ``(n,)`` in [0, 1), 1 is odd.

        *seen*: ``(n, f)`` of :func:`models.features.table.as_seen_by_models`; *kinds*: ``(n,)`` places in
        :data:`models.events.columns.KINDS`.
        """
        ...

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        """``(n,)`` scores → how many of :data:`BANDS` each is above."""
        ...

    def explain(self, values: NDArray[np.float64], kind: int, most: int) -> list[Moved]:
        """The features that made one vector ``(f,)``, in own units, odd: strongest first, *most* at most."""
        ...


class NoDetector:
    """Nothing is unusual: what runs before a model was trained, and while one is being trained."""

    id = "none"

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Zeros."""
        return np.zeros(len(seen))

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Zeros."""
        return np.zeros(len(scores), np.uint8)

    def explain(self, values: NDArray[np.float64], kind: int, most: int) -> list[Moved]:
        """Nothing."""
        return []
