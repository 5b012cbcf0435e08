"""The measuring itself: the held-out worlds under every variant, pooled."""

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
from pipeline.offline.evaluation.outcome import Met, Outcomes, Spared
from pipeline.offline.evaluation.play import Model, Variant, play
from pipeline.offline.replay.recording import write
from pipeline.offline.simulation import simulate
from pipeline.sources.ground_truth import Truth

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
        return _pooled(evidence.outcomes for evidence in self.evidence)

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
        parts = [evidence.table(len(DETECTIONS), len(BANDS)) for evidence in self.evidence]
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
            (variant, [pool.submit(play, recording, policy, model, variant) for recording in recordings])
            for variant, recordings in tasks
        ]
        return [Trial(variant, [future.result() for future in futures]) for variant, futures in asked]


Purpose = Literal["train", "test"]


class World(NamedTuple):
    """One simulation: its seed, how long, how many people and services, attacks a day for each of them."""

    purpose: Purpose
    seed: int
    hours: float
    principals: int
    attacks: float


TRAIN: Final = (World("train", 101, 30.0, 300, 0.2), World("train", 102, 144.0, 50, 0.1))
TEST: Final = (World("test", 201, 30.0, 300, 0.2), World("test", 202, 144.0, 50, 0.1))
"""One broad world, whose principals have no history, and one of people whose habits are known by and by."""
PARTS: Final = World("test", 203, 12.0, 300, 0.4)
"""Where what each part is worth is measured: short, as it is played once for every part."""


def recorded(world: World, folder: Path) -> Path:
    """Simulate *world* into a directory below *folder*, unless it is there; return the recording."""
    target = folder / f"{world.purpose}-{world.seed}-{world.hours:g}h-{world.principals}"
    if target.exists():
        return target
    simulation = simulate(world.seed, world.hours, world.principals, world=world.purpose, attack_share=world.attacks)
    with write(target) as writer:
        for topic, event in tracked(simulation, f"simulating {target.name}", None):
            writer.event(topic, event)
        for row in simulation.truth:
            writer.truth(row)
    return target
