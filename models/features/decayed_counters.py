"""Exponentially decayed counters: half of everything that events added is left after the counter's half-life.

A row stores them in single precision, which is what models see, except those with a half-life of an hour: what these
lose in a millisecond is the size of a single's last bit, and rounding would swallow it under a flood of events.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.features.table import COUNTER_NAMES, DECAYED_COUNTERS, HALF_LIVES, HOUR, INCREMENT
from models.features.volumes import STEPS, VOLUMES
from models.jit import compiled

_PER_MS: Final = -1.0 / np.array(HALF_LIVES)
_BY_HALF_LIFE: Final = np.argsort([HALF_LIVES.index(counter.half_life) for counter in DECAYED_COUNTERS], kind="stable")
"""Order in which a row stores the counters: those with ``HALF_LIVES[i]`` are adjacent and end before ``_ENDS[i]``."""
COUNTERS_IN_ROW: Final = tuple(COUNTER_NAMES[index] for index in _BY_HALF_LIFE)
"""Names of the counters in that order."""
_ENDS: Final = np.cumsum([sum(counter.half_life == life for counter in DECAYED_COUNTERS) for life in HALF_LIVES])
_INCREMENT_OF: Final = np.array([INCREMENT[counter.increment] for counter in DECAYED_COUNTERS])
LONG: Final = sum(counter.half_life == HOUR for counter in DECAYED_COUNTERS)
SHORT: Final = len(DECAYED_COUNTERS) - LONG
"""How many counters a row stores in double (LONG) and in single precision (SHORT); the short-lived come first."""
_VOLUMES: Final = np.array([COUNTER_NAMES.index(name) for name in VOLUMES])
_MAX_STEP: Final = STEPS.size - 1


@compiled
def add(row: Any, before: int, at: int, event_at: int, increments: Any, counters: Any) -> None:
    """``counter = counter · 2^(-elapsed / half-life) + increment`` for every counter of *row*.

    Args:
        row: the session's row.
        before: the session's largest event time before this event, ms.
        at: the same after this event, ms.
        event_at: the event's own time, ms; a late event adds what would be left of it by now.
        increments: what the event adds, in the order of :data:`models.features.table.INCREMENTS`.
        counters: receives the new values, in the order of :data:`models.features.table.DECAYED_COUNTERS`.
    """
    start = 0
    for life in range(_ENDS.size):
        decay = np.exp2((at - before) * _PER_MS[life]) if at > before else 1.0
        late_decay = np.exp2((at - event_at) * _PER_MS[life]) if at > event_at else 1.0
        for place in range(start, _ENDS[life]):
            index = _BY_HALF_LIFE[place]
            added = increments[_INCREMENT_OF[index]] * late_decay
            if place < SHORT:
                row.short_sums[place] = np.float64(row.short_sums[place]) * decay + added
                counters[index] = row.short_sums[place]
            else:
                row.long_sums[place - SHORT] = row.long_sums[place - SHORT] * decay + added
                counters[index] = row.long_sums[place - SHORT]
        start = _ENDS[life]


@compiled
def update_peaks(row: Any, counters: Any) -> None:
    """Raise the peak of each of :data:`models.features.volumes.VOLUMES`, which counts since the last summary."""
    for volume in range(_VOLUMES.size):
        value = counters[_VOLUMES[volume]]
        if value > STEPS[row.peaks[volume]]:
            row.peaks[volume] = min(np.searchsorted(STEPS, value), _MAX_STEP)
