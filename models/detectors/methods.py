"""Every way of scoring there is: a table. To add one, add its file and its row; the tests ask it the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.detectors import distance, forest, half_space

Arrays = dict[str, NDArray[Any]]


class Scorer(Protocol):
    """Something fitted that gives each vector a number: higher is odder, on a scale of its own."""

    @property
    def arrays(self) -> Arrays:
        """Everything learned, by name."""
        ...

    def raw(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """``(n, f)`` vectors as models see them → ``(n,)`` finite numbers."""
        ...


def fitted(method: Method, seen: NDArray[np.float32], seed: int) -> Scorer:
    """What *method* makes of ``(n, f)`` vectors; one thread, as sums of several end in other bits."""
    with threadpool_limits(limits=1):
        return method.fit(seen, seed)


class Method(NamedTuple):
    """A way of scoring: *name*, what it finds odd, how it is fitted, and how arrays become a scorer again."""

    name: str
    text: str
    fit: Callable[[NDArray[np.float32], int], Scorer]
    of: Callable[[Arrays], Scorer]


METHODS: Final = {
    method.name: method
    for method in (
        Method("forest", "set apart by few random cuts", forest.fit, forest.Forest.of),
        Method(
            "half_space_trees",
            "where little of normal traffic lies",
            half_space.fit,
            half_space.HalfSpaceTrees.of,
        ),
        Method(
            "components",
            "not explained by the principal components",
            distance.fit_components,
            distance.Distance.of,
        ),
        Method(
            "covariance",
            "far from the core of normal traffic (Mahalanobis)",
            distance.fit_covariance,
            distance.Distance.of,
        ),
    )
}
"""By name, which is also the kind on a model's card."""
