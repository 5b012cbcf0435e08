"""Drift while a worker runs: its vectors of the last day, held against those its model was trained on.

A share of all vectors is counted, drawn by event id as the training rows were, and by the hour of event time,
so that the day moves on. Nothing is decided by it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.drift import Drift, Reference, Tally
from models.events.batch import Kind
from models.state.segments import Bools
from models.updates.fold import Folded
from pipeline.times import HOUR_MS

HOURS: Final = 24
"""A whole day: what people do at night is no drift of what they do at noon."""
SHARE: Final = 1 / 16
"""Of the vectors, to be counted."""
ENOUGH: Final = 1_024
"""Rows that are counted at once: counting costs the same for one as for many."""
_DRAWN: Final = np.uint64(SHARE * 2.0**64)


class LiveDrift:
    """Counts what a worker's champion scores, over all of its partitions."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.rows = 0
        """Rows drawn so far, those of former days too: it tells whether there is anything new."""
        self._hours: dict[int, Tally] = {}
        self._values: list[NDArray[np.float64]] = []
        self._scores: list[NDArray[np.float64]] = []
        self._waiting = 0
        self._newest = 0

    def take(self, folded: Folded, scores: NDArray[np.float64], scored: Bools | None = None) -> None:
        """Draw from a chunk, with its *scores* ``(n,)`` sorted alike; what only time brings is no vector.

        Nor is an event that was not *scored*; ``None``: all were.
        """
        if folded.batch.kind is Kind.TICK:
            return
        drawn = np.flatnonzero((folded.batch.ids[folded.seg.order] < _DRAWN) & (True if scored is None else scored))
        if not drawn.size:
            return
        hour = int(folded.at.max()) // HOUR_MS
        if hour > self._newest:
            self._count()
            self._newest = hour
            self._hours = {number: tally for number, tally in self._hours.items() if number > hour - HOURS}
        self._values.append(folded.values[:, drawn].T)
        self._scores.append(scores[drawn])
        self._waiting += drawn.size
        self.rows += drawn.size
        if self._waiting >= ENOUGH:
            self._count()

    def drift(self) -> list[Drift]:
        """Return how far each feature, and the score, has moved in the last day; nothing before a vector."""
        self._count()
        total = Tally(self.reference)
        for tally in self._hours.values():
            total += tally
        return total.drift()

    def _count(self) -> None:
        if not self._waiting:
            return
        tally = self._hours.setdefault(self._newest, Tally(self.reference))
        tally.add(np.concatenate(self._values), np.concatenate(self._scores))
        self._values, self._scores, self._waiting = [], [], 0
