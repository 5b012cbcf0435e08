"""A session scorer's state, read back from its changelog: thousands of rows in a few array operations.

A row costs about 3 µs; one by one, as it is made, it cost 22.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from models.events.text_hashing import PART_SEPARATOR
from models.state.codec import DecodedRows, decode_all, encode, put
from models.state.table import ENDED, HAS_CASE, REVOKED, SessionTable, UnreadableRow, gather
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import ORDER
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.processing.processor import ChangelogRow, Outcome, unpack_key

NAME_END: Final = PART_SEPARATOR.encode("utf-8", "surrogateescape")
"""Separates the packed names of a row."""


class SessionOutcome(OutcomeBuilder):
    """The messages of one chunk of a session processor and the changelog rows of the sessions it touched."""

    def __init__(self, now_ms: int, topic: str = "") -> None:
        super().__init__(now_ms, topic)
        self.dirty: set[int] = set()
        self.tombstones: list[ChangelogRow] = []

    def forget(self, row: int, table: SessionTable, cases: dict[int, SessionRiskState]) -> None:
        """Write a tombstone for a session that is over, and free its row."""
        names = table.names[row]
        self.tombstones.append((row_key(names), None))
        self.dirty.discard(row)
        cases.pop(row, None)
        table.remove(row)

    def outcome(self, table: SessionTable, cases: dict[int, SessionRiskState]) -> Outcome:
        """Everything, with the changelog rows of all sessions that were touched."""
        touched = sorted(self.dirty)
        names = [table.names[row] for row in touched]
        sides = [cases[row].encode() if row in cases else b"" for row in touched]
        packed = encode(gather(table.rows, np.array(touched, np.int64)), names, sides, ORDER)
        rows: list[ChangelogRow] = [*self.tombstones, *packed]
        return Outcome(self.messages, rows, self.events, dict(self.dead_letters), dict(self.counts), self.times)


def row_key(names: bytes) -> bytes:
    """The changelog key of a session: tenant and session id, as they begin its packed names."""
    return names[: names.index(NAME_END, names.index(NAME_END) + 1)]


def restore_sessions(table: SessionTable, cases: dict[int, SessionRiskState], rows: Iterable[ChangelogRow]) -> None:
    """Take changelog *rows*, oldest first; the last of a key counts.

    Raises `UnreadableRow` for one that this version cannot read; then it has taken none of those to keep.
    """
    latest = dict(rows)
    _forget(table, cases, [key for key, value in latest.items() if value is None])
    kept = {key: value for key, value in latest.items() if value is not None}
    if not kept:
        return
    decoded_rows = decode_all(list(kept.values()))
    _check_keys(kept, decoded_rows.names)
    found = [SessionRiskState.decode(side) if side else None for side in decoded_rows.sides]
    _reevaluate(decoded_rows)
    places = put(table, list(kept), decoded_rows.rows, decoded_rows.names)
    for place, case in zip(places.tolist(), found, strict=True):
        if case is not None:
            cases[place] = case
        elif cases:
            cases.pop(place, None)


def _check_keys(keys: Iterable[bytes], names: Iterable[bytes]) -> None:
    for key, payload in zip(keys, names, strict=True):
        if not key or key.count(NAME_END) != 1:
            unpack_key(key)  # says so
        if not payload.startswith(key + NAME_END) or payload.count(NAME_END) != 3:
            raise UnreadableRow("a row of another session than its key's: it was spoilt")


def _forget(table: SessionTable, cases: dict[int, SessionRiskState], keys: Iterable[bytes]) -> None:
    for key in keys:
        row = table.find(*unpack_key(key))
        if row >= 0:
            cases.pop(row, None)
            table.remove(row)


def _reevaluate(decoded: DecodedRows) -> None:
    """Where it is not known any more which bits mean what, what holds is asked anew, at the next look."""
    other = (decoded.orders != np.frombuffer(ORDER, np.uint8)).any(axis=1)
    if other.any():
        rows = decoded.rows
        rows["mask"][other] = 0
        open_case = rows["flags"] & (HAS_CASE | REVOKED | ENDED) == HAS_CASE
        rows["wake_at"][other & open_case] = 1
