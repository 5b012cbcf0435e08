"""Drift of a running worker: the feature vectors of the last day compared with those that its model was trained on.

A sample of the vectors is counted, drawn by event id as the training rows were, for each hour of event time, so that
the day is a sliding window. No decision depends on it.
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
"""A whole day: a difference between night and noon is no drift."""
SHARE: Final = 1 / 16
"""The share of the vectors that is counted."""
BATCH_ROWS: Final = 1_024
"""Rows that are counted at once: counting costs the same for one row as for many."""
_THRESHOLD: Final = np.uint64(SHARE * 2.0**64)


class LiveDrift:
    """Counts the vectors that a worker's champion scores, over all of its partitions."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.rows = 0
        """Rows drawn so far, those of former days too: a change shows that there is something new."""
        self._hours: dict[int, Tally] = {}
        self._values: list[NDArray[np.float64]] = []
        self._scores: list[NDArray[np.float64]] = []
        self._uncounted = 0
        self._newest = 0

    def take(self, folded: Folded, scores: NDArray[np.float64], scored: Bools | None = None) -> None:
        """Draw a sample of a chunk with its *scores* ``(n,)``, sorted alike.

        Timers have no vectors, nor have events that were not *scored*; ``None``: all were.
        """
        if folded.batch.kind is Kind.TICK:
            return
        drawn = np.flatnonzero((folded.batch.ids[folded.seg.order] < _THRESHOLD) & (True if scored is None else scored))
        if not drawn.size:
            return
        hour = int(folded.at.max()) // HOUR_MS
        if hour > self._newest:
            self._count()
            self._newest = hour
            self._hours = {number: tally for number, tally in self._hours.items() if number > hour - HOURS}
        self._values.append(folded.values[:, drawn].T)
        self._scores.append(scores[drawn])
        self._uncounted += drawn.size
        self.rows += drawn.size
        if self._uncounted >= BATCH_ROWS:
            self._count()

    def drift(self) -> list[Drift]:
        """Return how far each feature and the score have moved in the last day; nothing before the first vector."""
        self._count()
        total = Tally(self.reference)
        for tally in self._hours.values():
            total += tally
        return total.drift()

    def _count(self) -> None:
        if not self._uncounted:
            return
        tally = self._hours.setdefault(self._newest, Tally(self.reference))
        tally.add(np.concatenate(self._values), np.concatenate(self._scores))
        self._values, self._scores, self._uncounted = [], [], 0
