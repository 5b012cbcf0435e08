"""From evidence to a score, from a score to a level: log-odds add up, levels have hysteresis.

The explanation is the computation: what is summed here is what a decision shows.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from pipeline.decisions.policy import Levels

Level = Literal["LOW", "MEDIUM", "HIGH"]
LEVELS: Final[tuple[Level, ...]] = ("LOW", "MEDIUM", "HIGH")
"""CAEP 1.0 §3.8, in rising order."""


def score(log_odds: float) -> float:
    """0 to 100: the logistic of *log_odds*, rounded to one decimal as it leaves in decisions."""
    return round(100.0 / (1.0 + math.exp(-max(-700.0, log_odds))), 1)


def next_level(level: Level, value: float, since_s: float, levels: Levels) -> Level:
    """The level after a score of *value*, held for *since_s* seconds so far.

    Rising is immediate. Falling needs the clear threshold and the dwell time, one level at a time as
    thresholds say.
    """
    if value >= levels.high_raise:
        return "HIGH"
    if level == "HIGH" and (value >= levels.high_clear or since_s < levels.dwell_s):
        return "HIGH"
    if value >= levels.medium_raise:
        return "MEDIUM"
    if level != "LOW" and (value >= levels.medium_clear or since_s < levels.dwell_s):
        return "MEDIUM"
    return "LOW"
