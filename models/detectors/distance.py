"""Distance from the middle of normal traffic, along some directions: principal components or a covariance.

A vector is centred and scaled feature by feature, then projected on axes; the squares make its distance.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import MinCovDet
from sklearn.decomposition import PCA

from models.jit import compiled

FARTHEST: Final = 1e3
"""Spreads from the middle, beyond which further is not odder: squares stay finite."""
FLAT: Final = 0.05
"""The least spread of a feature: what never moved is odd when it moves, but not infinitely."""
KEPT: Final = 0.95
"""Share of the variance that the principal components explain; the rest is what surprises."""
SAMPLE: Final = 2_000
"""Vectors a covariance is estimated from."""
CORE: Final = 0.9
"""Share of these that counts as the core of normal traffic; more than half, as many features are mostly 0."""


@dataclass(frozen=True)
class Distance:
    """A fitted distance: *centre* and *scale* ``(f,)``, *axes* ``(f, k)``."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    axes: NDArray[np.float64]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :meth:`of` is the inverse."""
        return {"centre": self.centre, "scale": self.scale, "axes": self.axes}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Distance:
        """The inverse of :attr:`arrays`."""
        return cls(arrays["centre"], arrays["scale"], arrays["axes"])

    def raw(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """Root of the mean square along the axes, ``(n,)``.

        Feature by feature instead of by a matrix product, whose last bits depend on how many rows there are.
        """
        distances = np.empty(len(seen))
        _measure(seen, self.centre, self.scale, self.axes, distances)
        return distances


@compiled
def _measure(seen: Any, centre: Any, scale: Any, axes: Any, distances: Any) -> None:
    along = np.empty(axes.shape[1])
    for number in range(seen.shape[0]):
        along[:] = 0.0
        for feature in range(seen.shape[1]):
            far = (np.float64(seen[number, feature]) - centre[feature]) / scale[feature]
            far = min(max(far, -FARTHEST), FARTHEST)
            for axis in range(along.size):
                along[axis] += axes[feature, axis] * far
        squares = 0.0
        for axis in range(along.size):
            squares += along[axis] * along[axis]
        distances[number] = np.sqrt(squares / along.size)


def standardised(
    seen: NDArray[np.float32], centre: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Vectors ``(n, f)`` in spreads from the centre, ``(f, n)``, at most :data:`FARTHEST`."""
    return np.clip((seen.T.astype(np.float64) - centre[:, None]) / scale[:, None], -FARTHEST, FARTHEST)


def spread(seen: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and scale of each feature, ``(f,)`` each."""
    exact = seen.astype(np.float64)
    return exact.mean(axis=0), np.maximum(exact.std(axis=0), FLAT)


def fit_components(seen: NDArray[np.float32], _seed: int) -> Distance:
    """What principal components leave unexplained: directions in which normal traffic hardly varies."""
    centre, scale = spread(seen)
    components = PCA(svd_solver="covariance_eigh").fit(standardised(seen, centre, scale).T)
    known = np.cumsum(components.explained_variance_ratio_) <= KEPT
    known[-1] = False  # one direction at least is left to be surprised by
    return Distance(centre, scale, np.ascontiguousarray(components.components_[~known].T))


def fit_covariance(seen: NDArray[np.float32], seed: int) -> Distance:
    """Mahalanobis distance by the minimum covariance determinant (Rousseeuw, Van Driessen 1999)."""
    centre, scale = spread(seen)
    random = np.random.default_rng(seed)
    drawn = seen[random.choice(len(seen), min(SAMPLE, len(seen)), replace=False)]
    # Features that are sums of each other, or never move, have no inverse: a little noise gives them one.
    noisy = standardised(drawn, centre, scale).T + random.normal(0.0, FLAT, drawn.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of determinants that grew in a step: the best of all steps is kept
        fitted = MinCovDet(support_fraction=CORE, random_state=seed).fit(noisy)
    axes = np.linalg.cholesky(np.linalg.inv(fitted.covariance_))
    return Distance(centre + fitted.location_ * scale, scale, axes)
