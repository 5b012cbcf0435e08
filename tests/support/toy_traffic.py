"""Vectors as traffic has them, of people and of agents, for detectors to learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KINDS
from models.features.table import FEATURE_NAMES, as_seen_by_models

COUNT = len(FEATURE_NAMES)
HUMAN, AGENT = KINDS.index("human"), KINDS.index("agent")


def traffic(count: int, seed: int) -> NDArray[np.float64]:
    """Vectors as heavy-tailed as traffic is, and as many-valued as some features are not."""
    random = np.random.default_rng(seed)
    values = random.lognormal(2.0, 1.5, (count, COUNT))
    values[:, ::7] = random.integers(0, 2, (count, len(range(0, COUNT, 7))))
    values[:, ::5] = 0.0
    return values


def kinds_of(count: int) -> NDArray[np.uint8]:
    """Half of them people, half agents."""
    return np.where(np.arange(count) % 2, HUMAN, AGENT).astype(np.uint8)


def seen_of(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return as_seen_by_models(np.ascontiguousarray(values.T))
