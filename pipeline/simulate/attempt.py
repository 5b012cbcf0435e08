"""One attempt of a family: how hard, in which world, and every parameter that was drawn for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar

from pipeline.recording import Intensity
from pipeline.simulate.world import World

Item = TypeVar("Item")
Whole = tuple[int, int]
Real = tuple[float, float]

INTENSITIES: Final[tuple[Intensity, ...]] = ("low", "medium", "high")
"""`low` is stealthy, slow and small; `high` is loud."""


@dataclass(slots=True)
class Attempt:
    """Draws the parameters of an attack or oddity and remembers them in *drawn*.

    Where a method takes three ranges, they are those of the intensities from low to high; a single one holds
    for all. *intensity* is `None` for what is honest.
    """

    family: str
    world: World
    rng: Random
    intensity: Intensity | None = None
    drawn: dict[str, float | str] = field(default_factory=dict)

    def whole(self, name: str, *ranges: Whole) -> int:
        """Draw a whole number, the parameter *name*."""
        value = self.world.whole(self.rng, *self._own(ranges))
        self.drawn[name] = value
        return value

    def real(self, name: str, *ranges: Real) -> float:
        """Draw a number, the parameter *name*."""
        value = self.world.real(self.rng, *self._own(ranges))
        self.drawn[name] = value
        return value

    def pick(self, name: str, table: Sequence[Item]) -> Item:
        """Choose one of this world's rows of *table*, the parameter *name*."""
        row = self.rng.choice(self.world.share(table))
        self.drawn[name] = str(row)
        return row

    def at_least(self, intensity: Intensity) -> bool:
        """Whether the attempt is of this intensity or a higher one."""
        return self.intensity is not None and INTENSITIES.index(self.intensity) >= INTENSITIES.index(
            intensity
        )

    def _own(self, ranges: tuple[Item, ...]) -> Item:
        if len(ranges) == 1 or self.intensity is None:
            return ranges[0]
        return ranges[INTENSITIES.index(self.intensity)]
