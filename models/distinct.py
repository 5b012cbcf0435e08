"""What a session had not done before: a bit of 64 for each operation, address, resource, tool of an hour.

Two hours are kept, this one and the last, so "not before" means not in the last one to two hours; two values
that share a bit count as one, so a count of distinct things is a lower bound that fills up near 64 an hour.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.rolling import Bools, Ints, Segments
from models.state import SEEN, Rows

HOUR_MS: Final = 3_600_000
_BITS: Final = np.uint64(63)


def first_seen(
    call: dict[str, NDArray[Any]], seg: Segments, at: Ints, before: Rows, after: Rows
) -> dict[str, Bools]:
    """Which events show something new, by :data:`models.state.SEEN`; ``{}`` for a chunk without calls.

    Args:
        call: 64-bit fingerprint columns in sorted order, ``(n,)``, 0 for none; empty in a chunk without
        calls. seg: the chunk's segments. at: largest event time so far, ms; hours are counted by it, so they
        never run back. before: rows before the chunk; *after* gets the new bits.
    """
    hour = at // HOUR_MS
    then = before["seen_at"] // HOUR_MS
    _turn(after, before, hour[seg.lasts], then)
    if not call:
        return {}
    prints = np.stack([call[name] for name in SEEN], axis=1)
    event, column = np.nonzero(prints)
    bit = prints[event, column] & _BITS
    novel = np.zeros(prints.shape, np.bool_)
    novel[event, column] = _is_new(event, column, bit, hour, then, seg, before)
    _set(after, event, column, bit, hour, seg)
    return dict(zip(SEEN, novel.T, strict=True))


def _is_new(
    event: Ints, column: Ints, bit: NDArray[np.uint64], hour: Ints, then: Ints, seg: Segments, before: Rows
) -> Bools:
    """Not seen in this hour nor in the one before it, by the chunk's own earlier events or by the row."""
    key = (seg.of[event] * len(SEEN) + column) * 64 + bit.astype(np.int64)
    order = np.argsort(key, kind="stable")
    repeats = np.zeros(event.size, np.bool_)
    repeats[order[1:]] = key[order[1:]] == key[order[:-1]]
    last = np.empty(event.size, np.int64)
    last[order[1:]] = hour[event[order[:-1]]]
    one = np.uint64(1) << bit
    owner = seg.of[event]
    held = before["buckets"][owner, column]
    kept = np.where(held[:, 0] & one != 0, then[owner], np.where(held[:, 1] & one != 0, then[owner] - 1, -2))
    last = np.where(repeats, last, kept)
    return hour[event] - last > 1


def _turn(after: Rows, before: Rows, hour: Ints, then: Ints) -> None:
    """Move last hour's bits along as time went on."""
    passed = (hour - then)[:, None]
    now, last = before["buckets"][:, :, 0], before["buckets"][:, :, 1]
    zero = np.uint64(0)
    after["buckets"][:, :, 0] = np.where(passed == 0, now, zero)
    after["buckets"][:, :, 1] = np.where(passed == 0, last, np.where(passed == 1, now, zero))


def _set(after: Rows, event: Ints, column: Ints, bit: NDArray[np.uint64], hour: Ints, seg: Segments) -> None:
    owner = seg.of[event]
    ago = hour[seg.lasts][owner] - hour[event]
    fresh = ago <= 1
    one = np.uint64(1) << bit[fresh]
    buckets = after["buckets"].copy()
    np.bitwise_or.at(buckets, (owner[fresh], column[fresh], ago[fresh]), one)
    after["buckets"] = buckets
