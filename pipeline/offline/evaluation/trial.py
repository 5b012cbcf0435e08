"""Trials: every variant replayed in all held-out worlds, with the results pooled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np

from models.detectors.base import BANDS
from pipeline.console import tracked
from pipeline.decisions.policy import Policy
from pipeline.detections import DETECTIONS
from pipeline.offline.evaluation.evidence import Evidence, Sessions
from pipeline.offline.evaluation.outcome import AttackResults, HonestCosts, Outcomes
from pipeline.offline.evaluation.play import Model, Variant, play
from pipeline.offline.simulation import simulate, write_world
from pipeline.sources.ground_truth import Truth

INTENSITIES = ("low", "medium", "high")


def of(family: str, intensity: str | None) -> Callable[[Truth], bool]:
    """Return a test for sessions of one *family* and *intensity*."""
    return lambda row: row.family == family and row.intensity == intensity


@dataclass(frozen=True)
class Trial:
    """Results of one variant in several worlds, all sessions pooled."""

    variant: Variant
    evidence: Sequence[Evidence]

    @cached_property
    def outcomes(self) -> Outcomes:
        """The outcomes of all worlds."""
        return _pooled(evidence.outcomes for evidence in self.evidence)

    def attack_results(self, fits: Callable[[Truth], bool] = lambda _: True) -> AttackResults:
        """Results for attacked sessions, in all worlds."""
        return self.outcomes.attack_results(fits)

    def honest_costs(self, fits: Callable[[Truth], bool] = lambda _: True) -> HonestCosts:
        """False interventions for honest sessions, in all worlds."""
        return self.outcomes.honest_costs(fits)

    def families(self, label: str) -> list[str]:
        """The families with this *label* in the ground truth, sorted."""
        return sorted({row.family for row in self.outcomes.truth.values() if row.label == label})

    def table(self) -> Sessions:
        """The evidence of all sessions."""
        parts = [evidence.table(len(DETECTIONS), len(BANDS)) for evidence in self.evidence]
        return Sessions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def delays(self, intensity: str) -> list[float]:
        """Seconds from the beginning of each attack of *intensity* to its revocation, if it was revoked."""
        return self.outcomes.delays(lambda row: row.intensity == intensity)


def _pooled(parts: Iterable[Outcomes]) -> Outcomes:
    """Combine the outcomes of all worlds, which have no session in common as their seeds differ."""
    pooled = Outcomes({})
    for part in parts:
        pooled.truth |= part.truth
        pooled.begun |= part.begun
        pooled.revoked |= part.revoked
        pooled.challenged |= part.challenged
        pooled.causes |= part.causes
    return pooled


def trials(tasks: Sequence[tuple[Variant, Sequence[Path]]], policy: Policy, model: Model) -> list[Trial]:
    """Replay the recordings of each variant, with as many processes as there are processors."""
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        submitted = [
            (variant, [pool.submit(play, recording, policy, model, variant) for recording in recordings])
            for variant, recordings in tasks
        ]
        return [Trial(variant, [future.result() for future in futures]) for variant, futures in submitted]


Purpose = Literal["train", "test"]


class World(NamedTuple):
    """One simulation: seed, duration, number of principals, and attacks per day and principal."""

    purpose: Purpose
    seed: int
    hours: float
    principals: int
    attacks: float


TRAIN: Final = (World("train", 101, 30.0, 300, 0.2), World("train", 102, 144.0, 50, 0.1))
TEST: Final = (World("test", 201, 30.0, 300, 0.2), World("test", 202, 144.0, 50, 0.1))
"""One world of many principals without history, and a longer one in which baselines develop."""
PARTS: Final = World("test", 203, 12.0, 300, 0.4)
"""The world in which topics are left out: short, as it is replayed once per topic."""


def simulated(world: World, folder: Path) -> Path:
    """Return the recording of *world* below *folder*; simulate it unless it exists."""
    target = folder / f"{world.purpose}-{world.seed}-{world.hours:g}h-{world.principals}"
    if target.exists():
        return target
    simulation = simulate(world.seed, world.hours, world.principals, world=world.purpose, attack_share=world.attacks)
    write_world(simulation, target, tracked(simulation, f"simulating {target.name}", None))
    return target
