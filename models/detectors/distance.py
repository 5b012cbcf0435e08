"""Distance from the centre of normal traffic, along the axes of principal components or of a robust covariance.

A vector is centred and scaled feature by feature, then projected on the axes; its score is the root mean square.
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

MAX_SPREADS: Final = 1e3
"""Standard deviations from the centre at which a feature is clipped, so that squares stay finite."""
MIN_SCALE: Final = 0.05
"""Smallest scale of a feature: one that never varied is anomalous when it does, but not infinitely."""
EXPLAINED: Final = 0.95
"""Share of the variance that counts as explained by principal components; distance is measured in the rest."""
SAMPLE: Final = 2_000
"""Vectors that a covariance is estimated from."""
SUPPORT: Final = 0.9
"""Share of these that counts as the core of normal traffic; above one half, because many features are mostly 0."""


@dataclass(frozen=True)
class Distance:
    """A fitted distance: *centre* and *scale* ``(f,)``, *axes* ``(f, k)``."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    axes: NDArray[np.float64]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned, by name; :meth:`from_arrays` is the inverse."""
        return {"centre": self.centre, "scale": self.scale, "axes": self.axes}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Distance:
        """The inverse of :attr:`arrays`."""
        return cls(arrays["centre"], arrays["scale"], arrays["axes"])

    def raw(self, seen: NDArray[np.float32]) -> NDArray[np.float64]:
        """Root mean square along the axes, ``(n,)``.

        Summed feature by feature: the last bits of a matrix product depend on the number of rows.
        """
        distances = np.empty(len(seen))
        _measure(seen, self.centre, self.scale, self.axes, distances)
        return distances


@compiled
def _measure(seen: Any, centre: Any, scale: Any, axes: Any, distances: Any) -> None:
    projected = np.empty(axes.shape[1])
    for number in range(seen.shape[0]):
        projected[:] = 0.0
        for feature in range(seen.shape[1]):
            offset = (np.float64(seen[number, feature]) - centre[feature]) / scale[feature]
            offset = min(max(offset, -MAX_SPREADS), MAX_SPREADS)
            for axis in range(projected.size):
                projected[axis] += axes[feature, axis] * offset
        squares = 0.0
        for axis in range(projected.size):
            squares += projected[axis] * projected[axis]
        distances[number] = np.sqrt(squares / projected.size)


def standardised(
    seen: NDArray[np.float32], centre: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Vectors ``(n, f)`` in scales from the centre, ``(f, n)``, clipped at :data:`MAX_SPREADS`."""
    return np.clip((seen.T.astype(np.float64) - centre[:, None]) / scale[:, None], -MAX_SPREADS, MAX_SPREADS)


def spread(seen: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and scale of each feature, ``(f,)`` each."""
    exact = seen.astype(np.float64)
    return exact.mean(axis=0), np.maximum(exact.std(axis=0), MIN_SCALE)


def fit_components(seen: NDArray[np.float32], _seed: int) -> Distance:
    """Distance in the directions that principal components leave unexplained: normal traffic hardly varies in them."""
    centre, scale = spread(seen)
    components = PCA(svd_solver="covariance_eigh").fit(standardised(seen, centre, scale).T)
    known = np.cumsum(components.explained_variance_ratio_) <= EXPLAINED
    known[-1] = False  # at least one direction is left to measure in
    return Distance(centre, scale, np.ascontiguousarray(components.components_[~known].T))


def fit_covariance(seen: NDArray[np.float32], seed: int) -> Distance:
    """Mahalanobis distance by the minimum covariance determinant (Rousseeuw, Van Driessen 1999)."""
    centre, scale = spread(seen)
    random = np.random.default_rng(seed)
    drawn = seen[random.choice(len(seen), min(SAMPLE, len(seen)), replace=False)]
    # The covariance of features that depend on each other, or are constant, is singular; a little noise prevents that.
    noisy = standardised(drawn, centre, scale).T + random.normal(0.0, MIN_SCALE, drawn.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about determinants that grew in a step: the best of all steps is used
        fitted = MinCovDet(support_fraction=SUPPORT, random_state=seed).fit(noisy)
    axes = np.linalg.cholesky(np.linalg.inv(fitted.covariance_))
    return Distance(centre + fitted.location_ * scale, scale, axes)
