"""Sums that fade: of everything an event adds, half is left after the sum's half-life."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.compiled import compiled
from models.features import HALF_LIVES, MARK, SUMS

_PER_MS: Final = -1.0 / np.array(HALF_LIVES)
_BY_HALF_LIFE: Final = np.array(
    sorted(range(len(SUMS)), key=lambda one: HALF_LIVES.index(SUMS[one].half_life))
)
"""Sums with the same half-life lie side by side here; those of ``HALF_LIVES[i]`` end before ``_ENDS[i]``."""
_ENDS: Final = np.cumsum([sum(one.half_life == life for one in SUMS) for life in HALF_LIVES])
_MARK_OF: Final = np.array([MARK[one.mark] for one in SUMS])


@compiled
def add(row: Any, before: int, at: int, told_at: int, marks: Any) -> None:
    """``sum = sum · what is left of it + mark`` for every sum of *row*.

    Args:
        row: of the session. before, at: the session's largest event time before and after the event, ms.
        told_at: the event's own time; of a late event is added what would be left of it by now.
        marks: what the event adds, by :data:`models.features.MARK`.
    """
    start = 0
    for life in range(_ENDS.size):
        keep = np.exp2((at - before) * _PER_MS[life]) if at > before else 1.0
        left = np.exp2((at - told_at) * _PER_MS[life]) if at > told_at else 1.0
        for place in range(start, _ENDS[life]):
            one = _BY_HALF_LIFE[place]
            row.sums[one] = row.sums[one] * keep + marks[_MARK_OF[one]] * left
        start = _ENDS[life]
