"""Simulation of days of three companies: seeded and labelled events of all three topics, with attacks among them.

The same seed gives the same bytes, and no clock is read. Start with the tables `attacks.catalogue` and
`benign.catalogue`; `world.world` explains how the worlds for training and test are kept apart.
"""

from pipeline.offline.simulation.attacks.catalogue import ATTACKS
from pipeline.offline.simulation.attacks.factors import GUESSED_WRONG
from pipeline.offline.simulation.attacks.family import Family
from pipeline.offline.simulation.benign.catalogue import ODDITIES
from pipeline.offline.simulation.benign.noise import MAX_NOISE
from pipeline.offline.simulation.labelled import SIMULATED, write_world
from pipeline.offline.simulation.plan import INTENSITIES, ORDINARY
from pipeline.offline.simulation.run import FAMILY_NAMES, MONDAY_MS, Simulation, simulate
from pipeline.offline.simulation.world.workdays import RUNS
from pipeline.offline.simulation.world.world import WORLDS

EXPECTED: dict[str, tuple[str, ...]] = {
    **{family.name: family.detections for family in (*ATTACKS, *ODDITIES)},
    "ancestor_revoked": ("ancestor_revoked",),
    **dict.fromkeys((ORDINARY, GUESSED_WRONG, *RUNS.values()), ()),
}
"""Every family in `truth.jsonl`, with the detections expected to find it; none for honest ones."""

__all__ = [
    "ATTACKS",
    "EXPECTED",
    "FAMILY_NAMES",
    "INTENSITIES",
    "MAX_NOISE",
    "MONDAY_MS",
    "ODDITIES",
    "ORDINARY",
    "RUNS",
    "SIMULATED",
    "WORLDS",
    "Family",
    "Simulation",
    "simulate",
    "write_world",
]
