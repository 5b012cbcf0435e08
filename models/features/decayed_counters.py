"""Sums that fade: of everything an event adds, half is left after the sum's half-life.

A row keeps them in single precision, which is what models see, but for those of an hour: what these lose in a
millisecond is of the size of a single's last bit, and would be rounded away under a flood.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.features.table import COUNTER_NAMES, DECAYED_COUNTERS, HALF_LIVES, HOUR, INCREMENT
from models.features.volumes import STEPS, VOLUMES
from models.jit import compiled

_PER_MS: Final = -1.0 / np.array(HALF_LIVES)
_BY_HALF_LIFE: Final = np.argsort(
    [HALF_LIVES.index(decayed_counter.half_life) for decayed_counter in DECAYED_COUNTERS], kind="stable"
)
"""Sums with the same half-life lie side by side here; those of ``HALF_LIVES[i]`` end before ``_ENDS[i]``."""
_ENDS: Final = np.cumsum(
    [sum(decayed_counter.half_life == life for decayed_counter in DECAYED_COUNTERS) for life in HALF_LIVES]
)
_MARK_OF: Final = np.array([INCREMENT[decayed_counter.increment] for decayed_counter in DECAYED_COUNTERS])
LONG: Final = sum(decayed_counter.half_life == HOUR for decayed_counter in DECAYED_COUNTERS)
SHORT: Final = len(DECAYED_COUNTERS) - LONG
"""How many sums of a row are kept in double and in single precision; the short-lived come first."""
_VOLUMES: Final = np.array([COUNTER_NAMES.index(name) for name in VOLUMES])
_MOST: Final = STEPS.size - 1


@compiled
def add(row: Any, before: int, at: int, told_at: int, marks: Any, sums: Any) -> None:
    """``sum = sum · what is left of it + mark`` for every sum of *row*.

    Args:
        row: of the session. before, at: the session's largest event time before and after the event, ms.
        told_at: the event's own time; of a late event is added what would be left of it by now.
        marks: what the event adds, by :data:`models.features.table.MARK`. sums: get the new sums, in the order of
        :data:`models.features.table.SUMS`.
    """
    start = 0
    for life in range(_ENDS.size):
        keep = np.exp2((at - before) * _PER_MS[life]) if at > before else 1.0
        left = np.exp2((at - told_at) * _PER_MS[life]) if at > told_at else 1.0
        for place in range(start, _ENDS[life]):
            item = _BY_HALF_LIFE[place]
            fresh = marks[_MARK_OF[item]] * left
            if place < SHORT:
                row.short_sums[place] = np.float64(row.short_sums[place]) * keep + fresh
                sums[item] = row.short_sums[place]
            else:
                row.long_sums[place - SHORT] = row.long_sums[place - SHORT] * keep + fresh
                sums[item] = row.long_sums[place - SHORT]
        start = _ENDS[life]


@compiled
def keep_peaks(row: Any, sums: Any) -> None:
    """Remember the largest of each of :data:`models.features.volumes.VOLUMES` since the session's last summary."""
    for volume in range(_VOLUMES.size):
        value = sums[_VOLUMES[volume]]
        if value > STEPS[row.peaks[volume]]:
            row.peaks[volume] = min(np.searchsorted(STEPS, value), _MOST)
