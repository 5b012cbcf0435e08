"""The interface of an anomaly detector, and a detector that finds nothing."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BANDS = (0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
"""Quantiles of normal traffic that a score in band 1, 2 … is above."""

FORMER_BANDS = (0.99, 0.999, 0.9999)
"""The bands of earlier versions, whose models and policies are still read."""


class Moved(NamedTuple):
    """One feature that raised a score, with its values in its own unit.

    Attributes:
        feature: its name.
        observed: the value that was scored.
        lower: one vector in a hundred of the principal's kind is below it.
        usual: the median of the principal's kind.
        upper: one vector in a hundred is above it.
    """

    feature: str
    observed: float
    lower: float
    usual: float
    upper: float


class Detector(Protocol):
    """Scores how unlike normal traffic a vector is; it never learns while it serves."""

    @property
    def id(self) -> str:
        """``name@hash`` of what was learned; part of every decision."""
        ...

    @property
    def is_general(self) -> bool:
        """Whether it was trained in many companies, so that calls it does not know are nothing special to it."""
        ...

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How anomalous each vector is, ``(n,)`` in [0, 1); 1 is most anomalous.

        Args:
            seen: ``(n, f)`` of :func:`models.features.table.as_seen_by_models`.
            kinds: kind of each principal, ``(n,)`` indices of :data:`models.events.columns.KINDS`.
        """
        ...

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        """How many of :data:`BANDS` each score is above, ``(n,)``."""
        ...

    def explain(self, values: NDArray[np.float64], kind: int, limit: int) -> list[Moved]:
        """The features that made one vector ``(f,)``, in own units, anomalous: strongest first, at most *limit*."""
        ...


class NoDetector:
    """The detector before any model was trained, and during training: nothing is anomalous."""

    id = "none"
    is_general = False

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Zeros."""
        return np.zeros(len(seen))

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Zeros."""
        return np.zeros(len(scores), np.uint8)

    def explain(self, values: NDArray[np.float64], kind: int, limit: int) -> list[Moved]:
        """Nothing."""
        return []
