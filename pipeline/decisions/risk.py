"""Risk score and level: log-odds add up to a score from 0 to 100, and levels have hysteresis.

The explanation of a decision is its computation: it shows the summands.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from pipeline.decisions.policy import Levels

Level = Literal["LOW", "MEDIUM", "HIGH"]
LEVELS: Final[tuple[Level, ...]] = ("LOW", "MEDIUM", "HIGH")
"""CAEP 1.0 §3.8, in rising order."""


def score(log_odds: float) -> float:
    """The logistic function of *log_odds*, 0 to 100, rounded to one decimal as in decision records."""
    return round(100.0 / (1.0 + math.exp(-max(-700.0, log_odds))), 1)


def log_odds(score: float) -> float:
    """The inverse of :func:`score`, without its rounding; *score* is above 0 and below 100."""
    return math.log(score / (100.0 - score))


def next_level(level: Level, value: float, since_s: float, levels: Levels) -> Level:
    """The level after a score of *value*, when *level* has been held for *since_s* seconds.

    A level is raised at once. It is lowered only below its clear threshold and after the dwell time.
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
