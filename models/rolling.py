"""Arithmetic on events sorted by session: what was last known, the largest time so far, sums that fade.

A *segment* is the run of one session's events in a chunk, in order of arrival. Everything here gives the
value after every single event, and gives the same bits however the stream was cut into chunks: each step does
the arithmetic that one event alone would do, only for many sessions at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Real = TypeVar("Real", np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class Segments:
    """How a chunk of *n* events falls into *u* sessions; every array is in sorted order.

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

    @property
    def first(self) -> Ints:
        """The first event of each event's segment, ``(n,)``."""
        return self.starts[self.of]


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


def largest_so_far(values: Ints, before: Ints, seg: Segments) -> Ints:
    """Running maximum within each segment, starting from *before* ``(u,)``; shape ``(n,)``."""
    raised = values.copy()
    raised[seg.starts] = np.maximum(raised[seg.starts], before)
    low = int(raised.min())
    span = int(raised.max()) - low + 1
    steps = raised - low + seg.of * span
    return np.maximum.accumulate(steps) - seg.of * span + low


def last_where(valid: NDArray[np.bool_], seg: Segments) -> Ints:
    """Position of the newest valid event up to and including each event, -1 where none in its segment.

    *valid* is ``(n,)`` or ``(n, k)`` (k columns looked at on their own); the answer has the same shape.
    """
    at = np.arange(valid.shape[0])
    first = seg.first
    if valid.ndim == 2:
        at, first = at[:, None], first[:, None]
    newest = np.maximum.accumulate(np.where(valid, at, -1), axis=0)
    newest[newest < first] = -1
    return newest


def before_each(newest: Ints, seg: Segments) -> Ints:
    """The same positions one event earlier: what was known *before* each event; -1 at a segment's start."""
    earlier = np.empty_like(newest)
    earlier[0] = -1
    earlier[1:] = newest[:-1]
    earlier[seg.starts] = -1
    return earlier


def fading_sums(
    weights: NDArray[Real], keep: NDArray[Real], start: NDArray[Real], seg: Segments
) -> NDArray[Real]:
    """``sum = sum · keep + weight``, event by event within each session.

    Args:
        weights: what each event adds, shape ``(n, k)``.
        keep: what is left of the older sum when this event arrives, ``(n, k)`` or ``(n, 1)``, in [0, 1].
        start: the sums before the chunk, ``(u, k)``.
        seg: the chunk's segments.

    Returns:
        The sums after every event, ``(n, k)``. One pass per rank: the first events of all sessions, then the
        second events, and so on; no prefix is ever subtracted, so nothing cancels and nothing overflows.
    """
    sums = weights.copy()
    sums[seg.starts] += start * keep[seg.starts]
    lengths = seg.lasts - seg.starts + 1
    for rank in range(1, int(lengths.max())):
        at = seg.starts[lengths > rank] + rank
        if at.size == 1:
            _run_of_one(sums, keep, int(at[0]), int(seg.lasts[seg.of[at[0]]]))
            break
        sums[at] += sums[at - 1] * keep[at]
    return sums


def _run_of_one(sums: NDArray[Real], keep: NDArray[Real], first: int, last: int) -> None:
    """The rest of the longest segment, when no other session has as many events."""
    for at in range(first, last + 1):
        sums[at] += sums[at - 1] * keep[at]
