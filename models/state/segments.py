"""How a chunk of events falls into sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segments:
    """How a chunk of *n* events falls into *u* sessions; every array is in sorted order.

    A *segment* is the run of one session's events in a chunk, in order of arrival.

    Attributes:
        order: position in the chunk of each sorted event, shape ``(n,)``.
        keys: the sorted distinct row numbers, ``(u,)``.
        of: which segment an event is in, ``(n,)``.
        starts: first event of each segment, ``(u,)``.
        lasts: last event of each segment, ``(u,)``.
        rank: how many events of its segment came before, ``(n,)``.
    """

    order: Ints
    keys: Ints
    of: Ints
    starts: Ints
    lasts: Ints
    rank: Ints


def segments(rows: Ints) -> Segments:
    """Sort a chunk by *rows*, shape ``(n,)``, n ≥ 1, keeping arrival order inside each session."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    fresh = np.empty(rows.size, np.bool_)
    fresh[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    starts = np.flatnonzero(fresh)
    of = np.cumsum(fresh) - 1
    lasts = np.append(starts[1:], rows.size) - 1
    rank = np.arange(rows.size) - starts[of]
    return Segments(order, ordered[starts], of, starts, lasts, rank)
