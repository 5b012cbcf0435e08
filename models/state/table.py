"""The sessions of one partition as a table: a numpy row each, their names beside it, and an index to find them.

A row is also what the changelog stores (:mod:`models.state.codec`). Its columns are read back by name
(:mod:`models.state.layout`), so columns may be added at any place; a new one is 0 in rows that were stored without it.
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

HAS_RISK_STATE, REVOKED, ENDED, GUESSED = 1, 2, 4, 8
"""Bits of a row's ``flags``. *GUESSED*: so far there were only failed sign-ins, so nobody got into the session."""

Rows = NDArray[Any]
"""A structured array of a :func:`row_type`."""

SEEN: Final = ("operation", "address", "resource", "tool")
"""What is counted as distinct, in the order of ``buckets``."""
SOURCES: Final = ("auth-events", "api-calls", "session-context")
"""Topics whose applied offsets a row stores, in the order of ``applied``."""

ROLES: Final = 8
"""Roles of a kind of principal for which a row stores a score, at most; a power of two."""
RECENT: Final = 2
"""Event ids that a row stores, for producers that send an event twice in a row."""
PADDING: Final = "padding"
"""Column of unused bytes, where there is one: a row is a whole number of 8-byte words."""


def whole_words(row: np.dtype[Any]) -> np.dtype[Any]:
    """*row* with padding up to whole words of 8 bytes: rows are moved as words."""
    missing = -row.itemsize % 8
    return np.dtype([*row.descr, (PADDING, "u1", (missing,))]) if missing else row


def row_type(mask_words: int = 1) -> np.dtype[Any]:
    """The type of a row, with *mask_words* words of 64 bits for the detections that hold.

    Times are in ms of event time or, where the name ends in ``_s``, in seconds; 0 is never.
    """
    columns: list[Any] = [
        ("long_sums", "<f8", (LONG,)),
        ("seen_at", "<i8"),  # largest event time
        ("started_at", "<i8"),  # time of the event that began the row; set once, by `models.updates.arrivals.locate`
        ("client_at", "<i8"),  # newest event with facts of the client
        ("place_at", "<i8"),
        ("heard_at", "<i8"),  # newest telemetry of the device
        ("attested_s", "<u4"),
        ("strong_s", "<u4"),  # a factor was last proved
        ("refreshed_s", "<u4"),  # a refresh token was last used as it should be
        ("woken_s", "<u4"),  # the session was used again after it and its device had slept
        ("wake_at", "<i8"),  # when the decision must be made again
        ("applied", "<i8", (len(SOURCES),)),  # offset + 1
        ("recent_ids", "<u8", (RECENT,)),  # newest first
        ("buckets", "<u8", (len(SEEN), 2)),  # this hour's and the last hour's
        ("signals", "<u8"),  # bits of `models.events.context_signals`
        ("mask", "<u8", (mask_words,)),  # detections that held after the last event
        ("short_sums", "<f4", (SHORT,)),
        ("client", "<u4", (len(CLIENT),)),
        ("place", "<f4", (2,)),
        ("place_near_km", "<f4"),  # how far that place may be wrong
        ("place_country", "<u4"),
        ("posture", "<u4"),
        ("interval_ms", "<u4"),
        ("role_scores", "<f4", (ROLES,)),  # log-likelihood of the calls, for the roles that the tag names
        ("roles_tag", "<u4"),
        ("last_operation", "<u4"),
        ("novelty", "<u2"),  # in thousandths
        ("elsewhere_kmh", "<u2"),
        ("sessions_seen", "<u2"),
        ("concurrent", "<u2"),
        ("peaks", "u1", (len(VOLUMES),)),  # largest since the last summary, in steps of `models.features.volumes`
        ("usual", "u1", (len(VOLUMES),)),  # usual for the principal, in the same steps
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
        ("former_network", "<u4", (2,)),  # AS and prefix that the session used before those of today; 0 is none
        ("own_client", "<u4", (3,)),  # AS, prefix and software of the person, not of their servers; 0 is none
        ("network_principals", "<u2"),  # other principals on which the network context's signals rest
    ]
    return whole_words(np.dtype(columns))


ROW: Final = row_type()
_INITIAL_ROWS: Final = 1024
_TENANTS: Final = 2**16
"""Tenants of a partition with a number of their own; 0 stands for all others, who are looked up by name."""


_BETWEEN: Final = PART_SEPARATOR.encode("utf-8", "surrogateescape")


def join(*parts: str) -> bytes:
    """Several texts, whatever they contain, as one bytes object, separated by 0xff, which UTF-8 never uses."""
    return PART_SEPARATOR.join(parts).encode("utf-8", "surrogateescape")


def split(joined: bytes) -> list[str]:
    """The inverse of :func:`join`."""
    return joined.decode("utf-8", "surrogateescape").split(PART_SEPARATOR)


class UnreadableRow(ValueError):
    """A changelog row that this version cannot read; the message says why, and does not name the session."""


def tenant_of(packed: bytes) -> bytes:
    """The tenant in the packed names of a session, itself packed: cheaper than a :class:`Subject` where many count."""
    return packed.partition(_BETWEEN)[0]


class Subject(NamedTuple):
    """Whose session it is; principal and device are empty strings until they are known."""

    tenant: str
    session_id: str
    principal_id: str = ""
    device_id: str = ""

    def pack(self) -> bytes:
        """One compact bytes object, which is most of what a session costs outside its row."""
        return join(self.tenant, self.session_id, self.principal_id, self.device_id)

    @classmethod
    def unpack(cls, packed: bytes) -> Subject:
        """The inverse of :meth:`pack`."""
        return cls(*split(packed))

    @property
    def key(self) -> int:
        """The session's key in the index."""
        return fingerprint(f"{self.tenant}{PART_SEPARATOR}{self.session_id}")


def gather(rows: Rows, chosen: NDArray[np.int64]) -> Rows:
    """A copy of the *chosen* rows, moved as 64-bit words: many times faster than column by column."""
    words = rows.view(np.uint64).reshape(rows.size, -1)
    return words[chosen].view(rows.dtype).reshape(-1)


def scatter(rows: Rows, chosen: NDArray[np.int64], values: Rows) -> None:
    """Write *values* over the *chosen* rows."""
    words = rows.view(np.uint64).reshape(rows.size, -1)
    words[chosen] = values.view(np.uint64).reshape(values.size, words.shape[1])


class SessionTable:
    """The sessions of one partition: rows of *row_type*, names, the index to them, and the free rows.

    Beside each row two bytes number its tenant, so that sessions are compared by tenant without reading their names.
    """

    def __init__(self, row_type: np.dtype[Any] = ROW) -> None:
        self.rows: Rows = np.zeros(_INITIAL_ROWS, row_type)
        self._tenants = np.zeros(_INITIAL_ROWS, np.uint16)
        self._numbers: dict[str, int] = {}
        self._fingerprints = np.zeros(_TENANTS, np.uint32)
        self.names: list[bytes] = []
        self.index = RowIndex()
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.index)

    @property
    def used(self) -> int:
        """Rows that were ever used; those after them are empty."""
        return len(self.names)

    @property
    def nbytes(self) -> int:
        """Bytes of rows in use, index, tenants and names (object headers included)."""
        names = sum(map(len, self.names)) + 41 * len(self.names)
        return self.used * (self.rows.itemsize + self._tenants.itemsize) + self.index.nbytes + names

    def add(self, names: Subject, key: int | None = None) -> int:
        """The number of a new, zeroed row for the session, which must not have one yet."""
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
        """Numbers of new rows, to be filled, for the sessions with these index *keys*, none of which has one yet."""
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
        values: NDArray[np.uint32] = self._fingerprints[self._tenants[rows]]
        for place in np.flatnonzero(values == 0).tolist():
            values[place] = short_fingerprint(Subject.unpack(self.names[int(rows[place])]).tenant)
        return values

    def _number(self, tenant: str) -> int:
        number = self._numbers.get(tenant, 0)
        if number == 0 and len(self._numbers) + 1 < self._fingerprints.size:
            number = self._numbers[tenant] = len(self._numbers) + 1
            self._fingerprints[number] = short_fingerprint(tenant)
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
        rows = np.zeros(self.rows.size * 2, self.rows.dtype)
        rows[: self.rows.size] = self.rows
        tenants = np.zeros(rows.size, np.uint16)
        tenants[: self._tenants.size] = self._tenants
        self.rows, self._tenants = rows, tenants
