"""When people work: a table of shifts, and one drawn for somebody."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

_WEEK: Final = frozenset(range(5))
"""Monday to Friday."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Hours are local, of a clock that goes on past 24. *turns*: when somebody's day gives way to the next.

    Work begins at *starts*, in two blocks of about *first* and *second* hours, on *weekdays* (0 is Monday).
    """

    name: str
    starts: float
    turns: int = 3
    first: tuple[float, float] = (3.2, 4.2)
    second: tuple[float, float] = (3.6, 5.0)
    weekdays: frozenset[int] = _WEEK


SHIFTS: Final[tuple[tuple[int, Shift], ...]] = (
    (74, Shift("day", 8.5)),
    (6, Shift("late", 12.5)),
    (6, Shift("night", 21.5, turns=14)),
    (8, Shift("part_time", 9.0, second=(0.8, 1.6), weekdays=frozenset({0, 1, 3}))),
    (6, Shift("weekend", 9.0, weekdays=frozenset({2, 3, 4, 5, 6}))),
)
"""Of a hundred people so many work such a shift."""


def draw_shift(rng: Random) -> Shift:
    """Return somebody's shift, which begins up to an hour earlier or later than that of others."""
    drawn = rng.choices([shift for _, shift in SHIFTS], [share for share, _ in SHIFTS])[0]
    return Shift(
        drawn.name, drawn.starts + rng.uniform(-1, 1), drawn.turns, drawn.first, drawn.second, drawn.weekdays
    )
