"""The simulated worlds that weights are learned in and sessions are judged in; they share nothing.

No seed, no principal and no parameter of an attack is in both (`pipeline/simulate`): what is learned in one
must hold in the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NamedTuple

from pipeline.console import tracked
from pipeline.recording import write
from pipeline.simulate import simulate

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
    simulation = simulate(
        world.seed, world.hours, world.principals, world=world.purpose, attack_share=world.attacks
    )
    with write(target) as writer:
        for topic, event in tracked(simulation, f"simulating {target.name}", None):
            writer.event(topic, event)
        for row in simulation.truth:
            writer.truth(row)
    return target
