"""A session scorer's state, read back from its changelog: thousands of rows in a few array operations.

A row costs about 2 µs; one by one, as it is made, it cost 22.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models import state
from models.readback import Told, decode_all, put
from models.state import SessionTable
from pipeline.case import Case
from pipeline.overload import ENDED, HAS_CASE, REVOKED
from pipeline.rules import ORDER
from pipeline.stage import ChangelogRow


def read_back(table: SessionTable, cases: dict[int, Case], rows: Iterable[ChangelogRow]) -> None:
    """Take changelog *rows*, oldest first; the last of a key counts.

    Raises `models.state.UnreadableRow` for one that this version cannot read.
    """
    latest = dict(rows)
    _forget(table, cases, [key for key, value in latest.items() if value is None])
    kept = {key: value for key, value in latest.items() if value is not None}
    if not kept:
        return
    told = decode_all(list(kept.values()))
    _ask_anew(told)
    places = put(table, list(kept), told.rows, told.names)
    for place, side in zip(places.tolist(), told.sides, strict=True):
        if side:
            cases[place] = Case.decode(side)
        elif cases:
            cases.pop(place, None)


def _forget(table: SessionTable, cases: dict[int, Case], keys: Iterable[bytes]) -> None:
    for key in keys:
        row = table.find(*state.split(key))
        if row >= 0:
            cases.pop(row, None)
            table.remove(row)


def _ask_anew(told: Told) -> None:
    """Where it is not known any more which bits mean what, what holds is asked anew, at the next look."""
    other = (told.orders != np.frombuffer(ORDER, np.uint8)).any(axis=1)
    if other.any():
        rows = told.rows
        rows["mask"][other] = 0
        open_case = rows["flags"] & (HAS_CASE | REVOKED | ENDED) == HAS_CASE
        rows["wake_at"][other & open_case] = 1
