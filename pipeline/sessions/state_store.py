"""The state of a partition's sessions in its changelog: written row by row, restored thousands of rows at once.

Rows of other versions are restored by the names of their fields. The names are in layout records, which lie in the
same changelog under keys that no session can have: a version writes the record of its layout before its first row, and
deletes records of layouts that no row has any more. A version that wrote no records is known by its digest
(:func:`models.state.layout.earlier_layouts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from models.events.text_hashing import PART_SEPARATOR
from models.state.codec import LAYOUT_IN_HEAD, DecodedRows, decode_all, encode, is_whole, put
from models.state.layout import Layout, earlier_layouts, layout_of, read_record
from models.state.table import ENDED, HAS_RISK_STATE, REVOKED, SessionTable, UnreadableRow, gather, join, split
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.decisions.step_up_budget import StepUpBudget
from pipeline.detections import ORDER
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.processing.processor import ChangelogRow, Outcome, unpack_key

NAME_END: Final = PART_SEPARATOR.encode("utf-8", "surrogateescape")
"""Separates the packed names of a row."""
LAYOUT_RECORD: Final = NAME_END + b"layout" + NAME_END
"""The key of a layout record begins so, and ends with the digest in hexadecimal. A session's key has one separator."""


TENANT_RECORD: Final = NAME_END + b"tenant" + NAME_END
"""The key of a tenant's threshold begins so, and ends with its name."""


class SessionState:
    """The sessions of one partition, as they are restored from its changelog and written to it.

    *row_type* is that of a row of this version (:func:`models.state.table.row_type`).
    """

    def __init__(self, row_type: np.dtype[Any]) -> None:
        self.table = SessionTable(row_type)
        self.risk_states: dict[int, SessionRiskState] = {}
        self.budget = StepUpBudget()
        self._row_type = row_type
        self._own = layout_of(row_type)
        self._layouts: dict[bytes, Layout] = {}
        self._recorded: set[bytes] = set()
        self._restored: set[bytes] = set()
        """Digests of the layouts that restored rows had."""
        self._waiting: dict[bytes, bytes] = {}
        """Rows whose layout record is still to come, by key."""

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        """Apply changelog *rows*, oldest first; the last of a key counts.

        Raises:
            UnreadableRow: this version cannot read one of them; then no session was restored from any of them.
        """
        latest = dict(rows)
        tenants = [key for key in latest if key and key.startswith(TENANT_RECORD)]
        self.budget.restore((split(key[len(TENANT_RECORD) :])[0], latest.pop(key)) for key in tenants)
        for key in [key for key in latest if key and key.startswith(LAYOUT_RECORD)]:
            self._restore_layout(key, latest.pop(key))
        for key in latest if self._waiting else ():
            self._waiting.pop(key, None)
        self._forget([key for key, value in latest.items() if value is None])
        present = {key: value for key, value in latest.items() if value is not None}
        for digest in {value[LAYOUT_IN_HEAD] for value in present.values()} - self._restored:
            if digest != self._own.digest and digest not in self._layouts:
                self._wait(digest, present)
        self._restore_sessions(present)

    def _restore_layout(self, key: bytes, record: bytes | None) -> None:
        """Learn a layout, and restore the sessions that waited for it."""
        try:
            digest = bytes.fromhex(key[len(LAYOUT_RECORD) :].decode("ascii"))
        except ValueError as error:
            raise UnreadableRow("a layout record under a key that is none") from error
        if record is None:
            self._recorded.discard(digest)
            return
        self._layouts[digest] = read_record(record, digest)
        self._recorded.add(digest)
        waited = {key: value for key, value in self._waiting.items() if value[LAYOUT_IN_HEAD] == digest}
        for waiting in waited:
            del self._waiting[waiting]
        self._restore_sessions(waited)

    def _wait(self, digest: bytes, present: dict[bytes, bytes]) -> None:
        """Learn a layout that this version knows by its digest, or set its rows aside until its record comes."""
        if earlier := earlier_layouts().get(digest):
            self._layouts[digest] = earlier
            return
        for key in [key for key, value in present.items() if value[LAYOUT_IN_HEAD] == digest and is_whole(value)]:
            self._waiting[key] = present.pop(key)

    def _restore_sessions(self, present: dict[bytes, bytes]) -> None:
        if not present:
            return
        values = list(present.values())
        decoded = decode_all(values, self._layouts, self._row_type)
        _check_keys(present, decoded.names)
        risk_states = [SessionRiskState.decode(side) if side else None for side in decoded.sides]
        _reevaluate(decoded)
        self._restored.update({value[LAYOUT_IN_HEAD] for value in values})
        places = put(self.table, list(present), decoded.rows, decoded.names)
        for place, risk_state in zip(places.tolist(), risk_states, strict=True):
            if risk_state is not None:
                self.risk_states[place] = risk_state
            elif self.risk_states:
                self.risk_states.pop(place, None)

    def _forget(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            row = self.table.find(*unpack_key(key))
            if row >= 0:
                self.risk_states.pop(row, None)
                self.table.remove(row)

    def on_restored(self) -> None:
        """The changelog is restored.

        Raises:
            UnreadableRow: rows are left whose layout no record describes.
        """
        if self._waiting:
            missing = Counter(value[LAYOUT_IN_HEAD].hex() for value in self._waiting.values())
            rows = ", ".join(f"{count} of layout {digest}" for digest, count in sorted(missing.items()))
            raise UnreadableRow(f"rows whose layout record is missing: {rows}")

    def layout_records(self) -> list[ChangelogRow]:
        """What is to be written before the next rows: the record of the own layout, if the changelog has none.

        With it records are deleted of layouts that no row had when the changelog was restored.
        """
        if self._own.digest in self._recorded:
            return []
        unused = self._recorded - self._restored
        self._recorded = self._recorded - unused | {self._own.digest}
        return [
            *((_layout_key(digest), None) for digest in sorted(unused)),
            (_layout_key(self._own.digest), self._own.record),
        ]

    def forget(self, row: int) -> ChangelogRow:
        """Free the row of a session that is over; returns its tombstone."""
        names = self.table.names[row]
        self.risk_states.pop(row, None)
        self.table.remove(row)
        return row_key(names), None

    def encode(self, rows: Iterable[int]) -> list[ChangelogRow]:
        """Changelog rows of the sessions in *rows*, in ascending order."""
        touched = sorted(rows)
        names = [self.table.names[row] for row in touched]
        sides = [self.risk_states[row].encode() if row in self.risk_states else b"" for row in touched]
        encoded = encode(gather(self.table.rows, np.array(touched, np.int64)), names, sides, ORDER)
        return [*self.layout_records(), *encoded] if encoded else []

    def encode_budget(self) -> list[ChangelogRow]:
        """Changelog rows of the tenants whose threshold has changed."""
        return [(TENANT_RECORD + join(tenant), row) for tenant, row in self.budget.rows()]


class SessionOutcome(OutcomeBuilder):
    """The messages of one chunk of a session processor and the changelog rows of the sessions it touched."""

    def __init__(self, now_ms: int, topic: str = "") -> None:
        super().__init__(now_ms, topic)
        self.dirty: set[int] = set()
        self.tombstones: list[ChangelogRow] = []

    def forget(self, row: int, state: SessionState) -> None:
        """Write a tombstone for a session that is over, and free its row."""
        self.dirty.discard(row)
        self.tombstones.append(state.forget(row))

    def outcome(self, state: SessionState | None) -> Outcome:
        """Everything, with the changelog rows of all sessions that were touched; without rows if *state* is `None`."""
        rows = [*self.tombstones, *state.encode(self.dirty), *state.encode_budget()] if state else []
        return Outcome(self.messages, rows, self.events, dict(self.dead_letters), dict(self.counts), self.times)


def row_key(names: bytes) -> bytes:
    """The changelog key of a session: tenant and session id, which its packed names begin with."""
    return names[: names.index(NAME_END, names.index(NAME_END) + 1)]


def _layout_key(digest: bytes) -> bytes:
    return LAYOUT_RECORD + digest.hex().encode()


def _check_keys(keys: Iterable[bytes], names: Iterable[bytes]) -> None:
    for key, packed in zip(keys, names, strict=True):
        if not key or key.count(NAME_END) != 1:
            unpack_key(key)  # raises
        if not packed.startswith(key + NAME_END) or packed.count(NAME_END) != 3:
            raise UnreadableRow("a row of another session than its key's: it was spoilt")


def _reevaluate(decoded: DecodedRows) -> None:
    """Drop bits of detections that are numbered in another order; open sessions are decided anew on the next sweep."""
    other = (decoded.orders != np.frombuffer(ORDER, np.uint8)).any(axis=1)
    if other.any():
        rows = decoded.rows
        rows["mask"][other] = 0
        open_case = rows["flags"] & (HAS_RISK_STATE | REVOKED | ENDED) == HAS_RISK_STATE
        rows["wake_at"][other & open_case] = 1
