"""The table of scoring methods. To add one, add its file and its row; the tests check what every method must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.detectors import distance, forest, half_space

Arrays = dict[str, NDArray[Any]]


class Scorer(Protocol):
    """A fitted method: it gives each vector a raw score on its own scale, higher is more anomalous."""

    @property
    def arrays(self) -> Arrays:
        """Everything learned, by name."""
        ...

    def raw(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """``(n, f)`` vectors as models see them → ``(n,)`` finite numbers."""
        ...


def fitted(method: Method, seen: NDArray[np.float32], seed: int) -> Scorer:
    """*method* fitted to ``(n, f)`` vectors, in one thread: sums over several threads differ in their last bits."""
    with threadpool_limits(limits=1):
        return method.fit(seen, seed)


class Method(NamedTuple):
    """A method of scoring.

    Attributes:
        name: also the kind on a model's card.
        text: what it finds anomalous.
        fit: vectors ``(n, f)``, seed → scorer.
        from_arrays: the inverse of :attr:`Scorer.arrays`.
    """

    name: str
    text: str
    fit: Callable[[NDArray[np.float32], int], Scorer]
    from_arrays: Callable[[Arrays], Scorer]


METHODS: Final = {
    method.name: method
    for method in (
        Method(
            name="forest",
            text="set apart by few random cuts",
            fit=forest.fit,
            from_arrays=forest.Forest.from_arrays,
        ),
        Method(
            name="half_space_trees",
            text="where little of normal traffic lies",
            fit=half_space.fit,
            from_arrays=half_space.HalfSpaceTrees.from_arrays,
        ),
        Method(
            name="components",
            text="not explained by the principal components",
            fit=distance.fit_components,
            from_arrays=distance.Distance.from_arrays,
        ),
        Method(
            name="covariance",
            text="far from the core of normal traffic (Mahalanobis)",
            fit=distance.fit_covariance,
            from_arrays=distance.Distance.from_arrays,
        ),
    )
}
"""By name."""
