"""Two worlds that share nothing an attack is made of: one to train in, one to be tested in.

A table that attackers choose from is dealt out row by row, a range of numbers in bands a fifth apart; so
a model that learned the attacks of one world by heart knows none of the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from random import Random
from typing import Final, Literal, TypeVar

WorldName = Literal["train", "test"]
Item = TypeVar("Item")

_BAND: Final = log(1.2)
_TRIES: Final = 1_000


@dataclass(frozen=True, slots=True)
class World:
    """One of the two: *half* is 0 or 1, the rows and the bands that are its own."""

    name: WorldName
    half: int

    def share(self, table: Sequence[Item]) -> tuple[Item, ...]:
        """Return this world's rows of *table*; the other world has the others."""
        return tuple(table[self.half :: 2])

    def holds(self, value: float) -> bool:
        """Whether the positive number *value* may be drawn in this world."""
        return int(log(value) / _BAND + 1_000) % 2 == self.half

    def whole(self, rng: Random, least: int, most: int) -> int:
        """Draw a whole number of this world from *least* to *most*; `ValueError` if there is none."""
        found = [value for value in range(least, most + 1) if self.holds(value)]
        if not found:
            raise ValueError(f"no number from {least} to {most} is of the world {self.name}: widen the range")
        return rng.choice(found)

    def real(self, rng: Random, least: float, most: float) -> float:
        """Draw a number of this world between *least* and *most*; `ValueError` if there is none."""
        for _ in range(_TRIES):
            value = round(rng.uniform(least, most), 3)
            if value > 0 and self.holds(value):
                return value
        raise ValueError(f"no number from {least} to {most} is of the world {self.name}: widen the range")


WORLDS: Final[dict[WorldName, World]] = {"train": World("train", 0), "test": World("test", 1)}
"""Both, by name."""
