"""The measuring itself: the held-out worlds under every variant, pooled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.detector import BANDS
from pipeline.evaluation.evidence import Evidence
from pipeline.evaluation.outcome import Met, Outcomes, Spared
from pipeline.evaluation.play import Model, Variant, play
from pipeline.policy import Policy
from pipeline.recording import Truth
from pipeline.rules import RULES

INTENSITIES = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one variant in several worlds; sessions of all of them count alike."""

    variant: Variant
    evidence: Sequence[Evidence]

    @property
    def outcomes(self) -> list[Outcomes]:
        """Of each world."""
        return [one.outcomes for one in self.evidence]

    def met(self, fits: Callable[[Truth], bool] = lambda _: True) -> Met:
        """What attacked sessions met, in all worlds."""
        pooled = _pooled(self.outcomes)
        return pooled.met(fits)

    def spared(self, fits: Callable[[Truth], bool] = lambda _: True) -> Spared:
        """What honest sessions had to bear, in all worlds."""
        return _pooled(self.outcomes).spared(fits)

    def families(self, label: str) -> list[str]:
        """The families of *label* in the truth, by name."""
        found = {row.family for one in self.outcomes for row in one.truth.values() if row.label == label}
        return sorted(found)

    def table(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The evidence of all sessions, as :meth:`Evidence.table` has it."""
        parts = [one.table(len(RULES), len(BANDS)) for one in self.evidence]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([attack for _, attack in parts])

    def delays(self, intensity: str) -> list[float]:
        """Seconds from the beginning of each attack of *intensity* to its revocation, where there was one."""
        pooled = _pooled(self.outcomes)
        return [
            (pooled.revoked[key] - row.started_at) / 1000
            for key, row in pooled.truth.items()
            if row.label == "attack"
            and row.intensity == intensity
            and pooled.revoked.get(key, -1) >= row.started_at
        ]


def _pooled(parts: Iterable[Outcomes]) -> Outcomes:
    """All worlds as one: no session is in two of them, as each has a seed of its own."""
    pooled = Outcomes({})
    for part in parts:
        pooled.truth |= part.truth
        pooled.begun |= part.begun
        pooled.revoked |= part.revoked
        pooled.challenged |= part.challenged
        pooled.causes |= part.causes
    return pooled


def trials(tasks: Sequence[tuple[Variant, Sequence[Path]]], policy: Policy, model: Model) -> list[Trial]:
    """Play recordings under variants, each with its own; as many at once as there are processors."""
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        asked = [
            (variant, [pool.submit(play, one, policy, model, variant) for one in recordings])
            for variant, recordings in tasks
        ]
        return [Trial(variant, [one.result() for one in told]) for variant, told in asked]
