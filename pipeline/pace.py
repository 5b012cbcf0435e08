"""How long brokers collect records for a fetch: briefly while a worker has time to spare, else longer.

A fetch, and the small chunks that it brings, cost much the same whatever is in them. So more fetches make
commands come sooner as long as there is time for them, and later when there is not.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, process_time
from typing import Final

BUSY: Final = 0.75
"""Share of a processor's time, which is all that Python uses, from which fetches are spared."""
MOST: Final = 5.0
"""How many times as long is collected when no time is left."""
LOOK_SECONDS: Final = 0.25
"""Between two looks at how busy the process is."""


def stretch(share: float) -> float:
    """Return how many times as long to collect when a worker uses *share* of a processor."""
    return 1.0 + (MOST - 1.0) * min(1.0, max(0.0, (share - BUSY) / (1.0 - BUSY)))


class Pace:
    """How many times as long to collect now, by the processor time that the process has *used* lately."""

    def __init__(
        self, clock: Callable[[], float] = monotonic, used: Callable[[], float] = process_time
    ) -> None:
        self._clock, self._used = clock, used
        self._looked_at, self._had_used = clock(), used()
        self._stretch = 1.0

    def stretch(self) -> float:
        """Return it; looks again after a while."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            used = self._used()
            self._stretch = stretch((used - self._had_used) / (now - self._looked_at))
            self._looked_at, self._had_used = now, used
        return self._stretch
