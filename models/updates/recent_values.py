"""Recent values: one bit of 64 for each operation, address, resource and tool that a session used within an hour.

Two hours are kept, this one and the last, so "not before" means not in the last one to two hours; two values
that share a bit count as one, so a count of distinct things is a lower bound that fills up near 64 an hour.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.jit import compiled
from models.state.table import SEEN

HOUR_MS: Final = 3_600_000
_BITS: Final = np.uint64(63)
_NONE: Final = np.uint64(0)
_COLUMNS: Final = len(SEEN)
OPERATION, ADDRESS, RESOURCE, TOOL = range(len(SEEN))


@compiled
def rotate(row: Any, at: int) -> None:
    """Move last hour's bits along as time goes on to *at*, ms; before ``seen_at`` is moved."""
    passed = at // HOUR_MS - row.seen_at // HOUR_MS
    if passed > 0:
        for column in range(_COLUMNS):
            row.buckets[column, 1] = row.buckets[column, 0] if passed == 1 else _NONE
            row.buckets[column, 0] = _NONE


@compiled
def is_new(row: Any, column: int, fingerprint: int) -> bool:
    """Whether *fingerprint* (0 for none) was not seen in this hour nor in the last; from now on it was."""
    if fingerprint == 0:
        return False
    bit = np.uint64(1) << (fingerprint & _BITS)
    held = row.buckets[column, 0] | row.buckets[column, 1]
    row.buckets[column, 0] |= bit
    return bool(held & bit == 0)
