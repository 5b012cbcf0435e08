"""Session eviction: above the limit, the tenants with the most sessions lose their longest idle ones.

Every tenant gets an equal share; what one does not need, others may use. So a flood of sessions costs only the tenant
that causes it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.state.table import REVOKED, Rows, SessionTable

Ints = NDArray[np.int64]
_LAST: Final = 2**62


def used_at(rows: Rows) -> Ints:
    """When each session was last used, ms, ``(n,)``; if it never was, the time of its last event.

    Telemetry is no use: the phone of an abandoned session may go on reporting for months.
    """
    used: Ints = np.where(rows["client_at"] > 0, rows["client_at"], rows["seen_at"])
    return used


def surplus(table: SessionTable, live: NDArray[np.bool_], limit: int) -> Ints:
    """The *live* rows above *limit*, longest idle first. Sessions with an unacknowledged revocation come last."""
    rows = np.flatnonzero(live)
    count = rows.size - limit
    if count <= 0:
        return np.empty(0, np.int64)
    values = table.rows[rows]
    waiting = (values["flags"] & REVOKED != 0) & (values["wake_at"] > 0)
    seen = np.where(waiting, _LAST, used_at(values))
    _, tenants, held = np.unique(table.tenants(rows), return_inverse=True, return_counts=True)
    order = np.lexsort((seen, tenants))
    place = np.arange(rows.size) - (np.cumsum(held) - held)[tenants[order]]
    above = (held - _share(held, limit))[tenants[order]]
    going = order[place < above - 1]
    # The remainder of an uneven division: each tenant above its share may lose one more.
    last = order[place == above - 1]
    more = np.lexsort((last, seen[last]))[: count - going.size]
    going = np.concatenate([going, last[more]])
    answer: Ints = rows[going[np.lexsort((going, seen[going]))]]
    return answer


def _share(held: Ints, limit: int) -> int:
    """The largest number that all tenants may hold without there being more than *limit* in all."""
    ascending = np.sort(held)
    before = np.concatenate([[0], np.cumsum(ascending)[:-1]])
    each = (limit - before) // np.arange(held.size, 0, -1)
    over: Ints = np.flatnonzero(ascending > each)
    return int(each[over[0]])
