"""Simulated days of three companies: seeded and labelled events of all three topics, with attacks among them.

The same seed makes the same bytes, and no clock is read. `attacks.py` and `oddities.py` are the tables to
look at first.
"""

from pipeline.simulate.attacks import ATTACKS
from pipeline.simulate.oddities import ODDITIES
from pipeline.simulate.plan import ORDINARY
from pipeline.simulate.run import MONDAY_MS, Simulation, simulate
from pipeline.simulate.strike import Family

EXPECTED: dict[str, tuple[str, ...]] = {
    **{family.name: family.detections for family in (*ATTACKS, *ODDITIES)},
    "ancestor_revoked": ("ancestor_revoked",),
    ORDINARY: (),
}
"""Every family that `truth.jsonl` can name, with the detections that answer it; none for what is honest."""

__all__ = ["ATTACKS", "EXPECTED", "MONDAY_MS", "ODDITIES", "ORDINARY", "Family", "Simulation", "simulate"]
