"""The state of the sessions of one partition: a numpy row each, their names beside it, the wire form of both.

A row is what the changelog keeps; encoding and decoding give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.batch import CLIENT
from models.events.text_hashing import PART_SEPARATOR, fingerprint, short_fingerprint
from models.features.decayed_counters import LONG, SHORT
from models.features.volumes import VOLUMES
from models.hash_index import RowIndex

HAS_CASE, REVOKED, ENDED = 1, 2, 4
"""Bits of a row's ``flags``."""

Rows = NDArray[Any]
"""A structured array of :data:`ROW`."""

SEEN: Final = ("operation", "address", "resource", "tool")
"""What is counted as distinct, in the order of ``buckets``."""
SOURCES: Final = ("auth-events", "api-calls", "session-context")
"""Topics whose applied offsets a row remembers, in the order of ``applied``."""

ROLES: Final = 8
"""Roles of a kind of principal that a row keeps a score for, at most; a power of two."""
RECENT: Final = 2
"""Event ids a row remembers, for producers that send an event twice in a row."""


def whole_words(row: np.dtype[Any]) -> np.dtype[Any]:
    """*row* with as many bytes more as make it whole words of 8 bytes: rows are moved as words."""
    missing = -row.itemsize % 8
    return np.dtype([*row.descr, ("padding", "u1", (missing,))]) if missing else row


_FIELDS: Final = np.dtype(
    [
        ("long_sums", "<f8", (LONG,)),
        ("seen_at", "<i8"),  # largest event time, ms
        ("started_at", "<i8"),
        ("client_at", "<i8"),  # newest event that told of the client
        ("place_at", "<i8"),
        ("heard_at", "<i8"),  # newest telemetry of the device
        ("attested_s", "<u4"),
        ("strong_s", "<u4"),  # a factor was last proved, s
        ("refreshed_s", "<u4"),  # a refresh token was last used as it should be, s
        ("woken_s", "<u4"),  # the session was used again after it and its device had slept, s
        ("wake_at", "<i8"),  # when the decision must be looked at again; 0 is never
        ("applied", "<i8", (len(SOURCES),)),  # offset + 1
        ("recent_ids", "<u8", (RECENT,)),  # newest first
        ("buckets", "<u8", (len(SEEN), 2)),  # this hour's and the last hour's
        ("signals", "<u8"),  # what contexts say: bits of `models.events.context_signals`
        ("mask", "<u8"),  # detections that held after the last event
        ("short_sums", "<f4", (SHORT,)),
        ("client", "<u4", (len(CLIENT),)),
        ("place", "<f4", (2,)),
        ("place_near_km", "<f4"),  # how far that place may be wrong
        ("place_country", "<u4"),
        ("posture", "<u4"),
        ("interval_ms", "<u4"),
        ("role_scores", "<f4", (ROLES,)),  # log-likelihood of the calls, of the roles that the tag names
        ("roles_tag", "<u4"),
        ("last_operation", "<u4"),
        ("novelty", "<u2"),  # in thousandths
        ("elsewhere_kmh", "<u2"),
        ("sessions_seen", "<u2"),
        ("concurrent", "<u2"),
        (
            "peaks",
            "u1",
            (len(VOLUMES),),
        ),  # most since the last summary, in steps of `models.features.volumes`
        ("usual", "u1", (len(VOLUMES),)),  # what the principal context says is usual
        ("days_known", "u1"),
        ("hour_share", "u1"),
        ("strange_sessions", "u1"),
        ("strange_networks", "u1"),
        ("usual_concurrent", "u1"),
        ("kind", "u1"),
        ("known", "u1"),
        ("network_type", "u1"),
        ("attestation", "u1"),
        ("band", "u1"),  # how unusual the last score was
        ("level", "u1"),
        ("flags", "u1"),
        ("proved", "u1"),  # a factor was proved besides the sign-in
        ("began_as", "u1"),  # kind of program the session began with: `models.events.user_agents`
        ("network_principals", "<u2"),  # others that the network context's signals rest on
    ]
)
ROW: Final = whole_words(_FIELDS)
_SMALLEST: Final = 1024
_TENANTS: Final = 2**16
"""Tenants of a partition with a number of their own; 0 stands for all others, who are looked up by name."""


def join(*parts: str) -> bytes:
    """Several texts, whatever they hold, as one bytes object: between them 0xff, which UTF-8 never uses."""
    return PART_SEPARATOR.join(parts).encode("utf-8", "surrogateescape")


def split(joined: bytes) -> list[str]:
    """The inverse of :func:`join`."""
    return joined.decode("utf-8", "surrogateescape").split(PART_SEPARATOR)


class UnreadableRow(ValueError):
    """A changelog row that this version cannot read; the message says why, and not whose it is."""


class Subject(NamedTuple):
    """Whose session it is; principal and device are empty strings until they are known."""

    tenant: str
    session_id: str
    principal_id: str = ""
    device_id: str = ""

    def pack(self) -> bytes:
        """One compact bytes object: most of what a session costs outside its row."""
        return join(self.tenant, self.session_id, self.principal_id, self.device_id)

    @classmethod
    def unpack(cls, packed: bytes) -> Subject:
        """The inverse of :meth:`pack`."""
        return cls(*split(packed))

    @property
    def key(self) -> int:
        """The fingerprint the index holds."""
        return fingerprint(f"{self.tenant}{PART_SEPARATOR}{self.session_id}")


def gather(rows: Rows, chosen: NDArray[np.int64]) -> Rows:
    """A copy of the *chosen* rows, moved as plain words: many times faster than field by field."""
    words = rows.view(np.uint64).reshape(rows.size, -1)
    return words[chosen].view(ROW).reshape(-1)


def scatter(rows: Rows, chosen: NDArray[np.int64], values: Rows) -> None:
    """Write *values* over the *chosen* rows."""
    words = rows.view(np.uint64).reshape(rows.size, -1)
    words[chosen] = values.view(np.uint64).reshape(values.size, words.shape[1])


class SessionTable:
    """The sessions of one partition: rows, names, the index to them, and the rows that are free.

    Beside the rows, as it follows from their names, two bytes tell each one's tenant.
    """

    def __init__(self) -> None:
        self.rows: Rows = np.zeros(_SMALLEST, ROW)
        self._tenants = np.zeros(_SMALLEST, np.uint16)
        self._numbers: dict[str, int] = {}
        self._prints = np.zeros(_TENANTS, np.uint32)
        self.names: list[bytes] = []
        self.index = RowIndex()
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.index)

    @property
    def used(self) -> int:
        """Rows ever used: the part of :attr:`rows` a sweep has to look at."""
        return len(self.names)

    @property
    def nbytes(self) -> int:
        """Bytes of rows in use, index, tenants and names (object headers included)."""
        names = sum(map(len, self.names)) + 41 * len(self.names)
        return self.used * (ROW.itemsize + self._tenants.itemsize) + self.index.nbytes + names

    def add(self, names: Subject, key: int | None = None) -> int:
        """Give the session a zeroed row; it must not have one."""
        packed = names.pack()
        if self._free:
            row = self._free.pop()
            self.names[row] = packed
        else:
            row = len(self.names)
            self.names.append(packed)
            if row >= self.rows.size:
                self._grow()
        self.rows[row] = 0
        self._tenants[row] = self._number(names.tenant)
        self.index.insert(names.key if key is None else key, row)
        return row

    def add_all(self, keys: NDArray[np.uint64], tenants: Sequence[str]) -> NDArray[np.int64]:
        """Give the sessions with these index *keys*, none of which has one, a row each, to be filled."""
        reused = [self._free.pop() for _ in range(min(len(self._free), len(tenants)))]
        begin, more = len(self.names), len(tenants) - len(reused)
        self.names.extend([b""] * more)
        while len(self.names) > self.rows.size:
            self._grow()
        rows = np.array([*reused, *range(begin, begin + more)], np.int64)
        self._tenants[rows] = [self._number(tenant) for tenant in tenants]
        self.index.insert_all(keys, rows)
        return rows

    def find(self, tenant: str, session_id: str) -> int:
        """The session's row, -1 where it has none."""
        key = Subject(tenant, session_id).key
        return int(self.index.find(np.array([key], np.uint64))[0])

    def tenants(self, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
        """:func:`models.events.text_hashing.short_fingerprint` of the tenant of each of *rows*, ``(n,)``."""
        values: NDArray[np.uint32] = self._prints[self._tenants[rows]]
        for at in np.flatnonzero(values == 0).tolist():
            values[at] = short_fingerprint(Subject.unpack(self.names[int(rows[at])]).tenant)
        return values

    def _number(self, tenant: str) -> int:
        number = self._numbers.get(tenant, 0)
        if number == 0 and len(self._numbers) + 1 < self._prints.size:
            number = self._numbers[tenant] = len(self._numbers) + 1
            self._prints[number] = short_fingerprint(tenant)
        return number

    def remove(self, row: int) -> None:
        """Forget the session in *row*."""
        self.index.remove(Subject.unpack(self.names[row]).key)
        self.names[row] = b""
        self.rows[row] = 0
        self._free.append(row)

    def live(self) -> NDArray[np.int64]:
        """Rows that hold a session, ascending."""
        return np.flatnonzero(self.rows["started_at"][: self.used] != 0)

    def _grow(self) -> None:
        rows = np.zeros(self.rows.size * 2, ROW)
        rows[: self.rows.size] = self.rows
        tenants = np.zeros(rows.size, np.uint16)
        tenants[: self._tenants.size] = self._tenants
        self.rows, self._tenants = rows, tenants
