"""The measuring itself: the held-out worlds under every variant, pooled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from models.detector import BANDS
from pipeline.evaluation.evidence import Evidence, Sessions
from pipeline.evaluation.outcome import Met, Outcomes, Spared
from pipeline.evaluation.play import Model, Variant, play
from pipeline.policy import Policy
from pipeline.recording import Truth
from pipeline.rules import RULES

INTENSITIES = ("low", "medium", "high")


def of(family: str, intensity: str | None) -> Callable[[Truth], bool]:
    """Which sessions are of one *family* at one *intensity*."""
    return lambda row: row.family == family and row.intensity == intensity


@dataclass(frozen=True)
class Trial:
    """What came of one variant in several worlds; sessions of all of them count alike."""

    variant: Variant
    evidence: Sequence[Evidence]

    @cached_property
    def outcomes(self) -> Outcomes:
        """Of all worlds as one."""
        return _pooled(one.outcomes for one in self.evidence)

    def met(self, fits: Callable[[Truth], bool] = lambda _: True) -> Met:
        """What attacked sessions met, in all worlds."""
        return self.outcomes.met(fits)

    def spared(self, fits: Callable[[Truth], bool] = lambda _: True) -> Spared:
        """What honest sessions had to bear, in all worlds."""
        return self.outcomes.spared(fits)

    def families(self, label: str) -> list[str]:
        """The families of *label* in the truth, by name."""
        return sorted({row.family for row in self.outcomes.truth.values() if row.label == label})

    def table(self) -> Sessions:
        """The evidence of all sessions."""
        parts = [one.table(len(RULES), len(BANDS)) for one in self.evidence]
        return Sessions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def delays(self, intensity: str) -> list[float]:
        """Seconds from the beginning of each attack of *intensity* to its revocation, where there was one."""
        return self.outcomes.delays(lambda row: row.intensity == intensity)


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
