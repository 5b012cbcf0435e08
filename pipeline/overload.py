"""Whom the model passes over while a partition is far behind: sessions that no detection speaks about.

Everything is folded as ever, so the next score rests on all that happened meanwhile; until then a session's
row keeps the band of its last score. No decision is made without a score of its own event: whatever may take
the slow path is scored. What is passed over can therefore only be said later, not otherwise, and only where
the model's word alone would have said it.

How far behind a chunk is, is a matter of clocks. The same records at the same clock give the same bytes, as
ever; a replay is never behind, and scores what a worker may have passed over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.fold import Folded
from models.segments import Bools

HAS_CASE, REVOKED, ENDED = 1, 2, 4
"""Bits of a row's ``flags``."""


def is_behind(newest_ms: int, now_ms: int, bound_ms: int) -> bool:
    """Whether a chunk whose newest record is of *newest_ms* is older than *bound_ms*; never where that is 0.

    A record without a time (-1) tells nothing.
    """
    return 0 < bound_ms < now_ms - newest_ms and newest_ms >= 0


def in_question(folded: Folded, mask: NDArray[np.uint64], special: Bools) -> Bools:
    """Which events of a chunk are scored however late it is, ``(n,)``.

    All of a session that has a case; of another, those from the first on at which a detection holds or that
    is looked at anyway (*special*). *mask*: which detections hold after each event.
    """
    seg, before = folded.seg, folded.before
    known = (before["flags"] & HAS_CASE != 0) | (before["mask"] != 0)
    first = np.where(known, seg.starts, len(mask))
    speaking = np.flatnonzero(special | (mask != 0))
    np.minimum.at(first, seg.of[speaking], speaking)
    scored: Bools = np.arange(len(mask)) >= first[seg.of]
    return scored


def carried(band: NDArray[np.uint8], scored: Bools, folded: Folded) -> NDArray[np.uint8]:
    """*band* where an event was *scored*; elsewhere that of its session's last scored event."""
    seg = folded.seg
    last = np.maximum.accumulate(np.where(scored, np.arange(scored.size), -1))
    within = last >= seg.starts[seg.of]
    answer: NDArray[np.uint8] = np.where(within, band[last], folded.before["band"][seg.of])
    return answer
