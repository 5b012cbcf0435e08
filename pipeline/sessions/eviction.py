"""Who must go where more sessions live than may be held: the longest idle of the tenants that hold most.

Room is dealt out evenly among tenants: what one does not need, others may have. So a flood of sessions costs
nobody but the tenant it comes from.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.state.table import REVOKED, Rows, SessionTable

Ints = NDArray[np.int64]
_LAST: Final = 2**62


def used_at(rows: Rows) -> Ints:
    """When each session was last used, ms; of one that never was, when anything was last heard of it.

    Whoever leaves a session behind leaves a phone that goes on reporting, for months: that is no use.
    """
    used: Ints = np.where(rows["client_at"] > 0, rows["client_at"], rows["seen_at"])
    return used


def surplus(table: SessionTable, live: NDArray[np.bool_], most: int) -> Ints:
    """The rows above the *most* that may be held, of those that *live*; ascending by how long they are idle.

    Revocations that were not acknowledged yet go last.
    """
    rows = np.flatnonzero(live)
    count = rows.size - most
    if count <= 0:
        return np.empty(0, np.int64)
    values = table.rows[rows]
    waiting = (values["flags"] & REVOKED != 0) & (values["wake_at"] > 0)
    seen = np.where(waiting, _LAST, used_at(values))
    _, tenants, held = np.unique(table.tenants(rows), return_inverse=True, return_counts=True)
    order = np.lexsort((seen, tenants))
    place = np.arange(rows.size) - (np.cumsum(held) - held)[tenants[order]]
    above = (held - _share(held, most))[tenants[order]]
    going = order[place < above - 1]
    # What does not divide evenly some tenant keeps: of each that is above its share one more may have to go.
    last = order[place == above - 1]
    more = np.lexsort((last, seen[last]))[: count - going.size]
    going = np.concatenate([going, last[more]])
    answer: Ints = rows[going[np.lexsort((going, seen[going]))]]
    return answer


def _share(held: Ints, most: int) -> int:
    """The largest number that all tenants may hold without there being more than *most* in all."""
    ascending = np.sort(held)
    before = np.concatenate([[0], np.cumsum(ascending)[:-1]])
    each = (most - before) // np.arange(held.size, 0, -1)
    over: Ints = np.flatnonzero(ascending > each)
    return int(each[over[0]])
