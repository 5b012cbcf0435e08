"""Worlds: one for training and one for testing, whose attacks have no parameters in common.

The worlds get alternate rows of each table that attackers choose from, and alternate bands of each range of numbers,
each band a fifth above the one before. So a model that memorised the attacks of one world knows none of the other.
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
    """One of the two worlds: *half* is 0 or 1, for even or odd rows and bands."""

    name: WorldName
    half: int

    def share(self, table: Sequence[Item]) -> tuple[Item, ...]:
        """Return this world's rows of *table*; the other world has the remaining ones."""
        return tuple(table[self.half :: 2])

    def holds(self, value: float) -> bool:
        """Whether the positive number *value* is in a band of this world."""
        return int(log(value) / _BAND + 1_000) % 2 == self.half

    def whole(self, rng: Random, lowest: int, highest: int) -> int:
        """Draw a whole number of this world from *lowest* to *highest*; `ValueError` if there is none."""
        found = [value for value in range(lowest, highest + 1) if self.holds(value)]
        if not found:
            raise ValueError(f"no number from {lowest} to {highest} is in the world {self.name}: widen the range")
        return rng.choice(found)

    def real(self, rng: Random, lowest: float, highest: float) -> float:
        """Draw a number of this world between *lowest* and *highest*; `ValueError` if there is none."""
        for _ in range(_TRIES):
            value = round(rng.uniform(lowest, highest), 3)
            if value > 0 and self.holds(value):
                return value
        raise ValueError(f"no number from {lowest} to {highest} is in the world {self.name}: widen the range")


WORLDS: Final[dict[WorldName, World]] = {"train": World("train", 0), "test": World("test", 1)}
"""Both worlds, by name."""
