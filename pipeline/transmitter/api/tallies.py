"""What is written of calls that were refused: some one by one, of the rest how many there were.

Each row of the audit log is a durable write, which tokens wait for, and stays for weeks: who asks only to be
refused must not decide how many there are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final

from sqlalchemy import Connection

from pipeline.transmitter.api.limits import MINUTE_MS
from pipeline.transmitter.store import audit
from pipeline.transmitter.store.audit import Noted
from pipeline.transmitter.store.database import Store

SINGLY: Final = 10
"""Refused calls of one caller that are written one by one in a minute."""
IN_ALL: Final = 100
"""The same of all strangers together."""
AGAIN_MS: Final = 1000
"""Least time between two writes of how many more there were."""


@dataclass(slots=True)
class _Rest:
    """Calls of a minute that were not written one by one: the *last*, how many, what the log says."""

    last: Noted
    count: int = 0
    told: int = 0
    told_at: int | None = None
    seq: int | None = None

    def add(self, call: Noted) -> bool:
        """Count *call*; return whether it is time to say so."""
        same = call.address == self.last.address
        self.last = call if same else replace(call, address=None)
        self.count += 1
        return self.told_at is None or call.at - self.told_at >= AGAIN_MS


class Tallies:
    """Writes calls down; those that are *bounded* within `SINGLY` and `IN_ALL`, and their rest as one row.

    That row is brought up to date once in `AGAIN_MS`, and for the last time when the first call after its
    minute is written. There is one for all strangers, and one for each receiver that asks too often.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._telling = Lock()
        self._minute = 0
        self._singly: Counter[str] = Counter()
        self._strangers = 0
        self._rests: dict[str | None, _Rest] = {}

    def whole(self, call: Noted) -> None:
        """Write *call* down, whatever was written before. Raises `StoreError`."""
        with self._lock:
            ended = self._turned(call.at)
        self._tell(ended)
        with self._store.begin() as conn:
            audit.note(conn, call)

    def bounded(self, call: Noted, caller: str, receiver_id: str | None = None) -> None:
        """Write *call* down, or count it: of *caller*, a stranger if no receiver is named."""
        with self._lock:
            due = self._turned(call.at)
            alone = self._is_written(caller, stranger=receiver_id is None)
            if not alone:
                rest = self._rests.setdefault(receiver_id, _Rest(replace(call, receiver_id=receiver_id)))
                if rest.add(replace(call, receiver_id=receiver_id, stream_id=None)):
                    rest.told_at = call.at
                    due.append(rest)
        self._tell(due)
        if alone:
            with self._store.begin() as conn:
                audit.note(conn, call)

    def _turned(self, now_ms: int) -> list[_Rest]:
        """Begin a new minute if it is time; return of the last one what is not in the log."""
        if now_ms // MINUTE_MS == self._minute:
            return []
        ended = [rest for rest in self._rests.values() if rest.told != rest.count]
        self._minute, self._strangers = now_ms // MINUTE_MS, 0
        self._singly.clear()
        self._rests = {}
        return ended

    def _is_written(self, caller: str, *, stranger: bool) -> bool:
        if self._singly[caller] >= SINGLY or (stranger and self._strangers >= IN_ALL):
            return False
        self._singly[caller] += 1
        self._strangers += stranger
        return True

    def _tell(self, rests: list[_Rest]) -> None:
        if not rests:
            return
        with self._telling:
            with self._store.begin() as conn:
                written = [(rest, rest.count, _written(conn, rest)) for rest in rests]
            for rest, count, seq in written:
                rest.told, rest.seq = count, seq


def _written(conn: Connection, rest: _Rest) -> int:
    action = f"{rest.count} more refused calls" if rest.count > 1 else "1 more refused call"
    said = replace(rest.last, action=action)
    if rest.seq is None:
        return audit.note(conn, said)
    audit.amend(conn, rest.seq, said)
    return rest.seq
