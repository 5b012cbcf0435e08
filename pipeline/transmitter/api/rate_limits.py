"""Rate limits and size limits of the API, and the audit log's bounds: no caller takes more than its share.

The library `limits` (5.8, in memory) does not replace `RateLimiter`: it has no token bucket, cannot undo a
count, as a verified client secret needs, and reads the wall clock itself. It also stored all of 50,000 names
asked once, where `test_of_too_many_names_the_longest_silent_is_forgotten` demands a bound: a flood from many
addresses would fill the memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from threading import Lock
from typing import Final

from sqlalchemy import Connection
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.transmitter.api.errors import Problem, too_soon
from pipeline.transmitter.store import audit
from pipeline.transmitter.store.audit import AuditEntry
from pipeline.transmitter.store.database import Store

MINUTE_MS: Final = 60_000
MAX_TRACKED: Final = 10_000
"""Receivers or addresses whose requests are counted; beyond that, the least recently active are forgotten."""
BODY_TIMEOUT_S: Final = 15.0
"""Seconds within which a whole body must arrive."""
UNAUTHENTICATED_BODY: Final = 16_384
"""Longest body of a caller without a token, in bytes: enough for a token request."""

CLOSE: Final = {"Connection": "close"}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bucket:
    """The tokens *left* in a bucket as of *at*, ms, and when its exhaustion was last logged."""

    left: float
    at: int
    logged_at: int | None = None


class RateLimiter:
    """Token buckets by name: each starts full with *per_minute* requests and is refilled evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], int]) -> None:
        self._capacity = float(per_minute)
        self._clock = clock
        self._lock = Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def count(self, name: str) -> None:
        """Count a request of *name*.

        Raises:
            Problem: it exceeds the limit; carries the seconds until the next is allowed (RFC 6585 §4).
        """
        with self._lock:
            bucket = self._refilled(name)
            left = bucket.left
            if left >= 1:
                bucket.left -= 1
                return
            logs = bucket.logged_at is None or bucket.at - bucket.logged_at >= MINUTE_MS
            if logs:
                bucket.logged_at = bucket.at
        if logs:
            _log.warning("%s exceeds %.0f requests a minute and is refused", name, self._capacity)
        raise too_soon(f"more than {self._capacity:.0f} requests a minute", ceil((1 - left) * 60 / self._capacity))

    def uncount(self, name: str) -> None:
        """Undo the count of one request of *name*."""
        with self._lock:
            bucket = self._refilled(name)
            bucket.left = min(self._capacity, bucket.left + 1)

    def _refilled(self, name: str) -> _Bucket:
        """The bucket of *name*, refilled until now."""
        now_ms = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(self._capacity, now_ms))
        bucket.left = min(self._capacity, bucket.left + max(0, now_ms - bucket.at) * self._capacity / MINUTE_MS)
        bucket.at = now_ms
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_TRACKED:
            self._buckets.popitem(last=False)
        return bucket


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The rate limits, each kind separate, so that strangers use up nothing of a receiver's.

    *receivers* counts by receiver all its requests. By address: *clients* counts wrong client secrets, *tokens*
    invalid tokens, and *pages* open paths. The address does not matter for a request with a valid token, or
    with a secret that was verified before.
    """

    receivers: RateLimiter
    clients: RateLimiter
    tokens: RateLimiter
    pages: RateLimiter

    @classmethod
    def of(cls, per_minute: int, clock: Callable[[], int]) -> RateLimits:
        """Return full limiters, each of *per_minute* requests."""
        return cls(*(RateLimiter(per_minute, clock) for _ in range(4)))


class BodyLimitMiddleware:
    """Reads the whole body before anything is done with it, and refuses one that is too long or too slow.

    An authenticated caller may send *max_bytes* bytes, others `UNAUTHENTICATED_BODY`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        authenticated = "caller" in scope.get("state", {})
        max_bytes = self.max_bytes if authenticated else min(self.max_bytes, UNAUTHENTICATED_BODY)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read(scope, receive, max_bytes)
        except TimeoutError:
            late = Problem(408, "the body did not arrive in time", headers=CLOSE)
            await late.response()(scope, receive, send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        else:
            if body is not None:
                await self.app(scope, _replay(body, receive), send)


async def _read(scope: Scope, receive: Receive, max_bytes: int) -> bytes | None:
    """The whole body; `None` if the client disconnected. Raises `Problem` above *max_bytes* bytes."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    _refuse_above(max_bytes, int(declared[:16]) if declared.isdigit() else 0)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        _refuse_above(max_bytes, len(body))
        if not message.get("more_body", False):
            return bytes(body)


def _refuse_above(max_bytes: int, length: int) -> None:
    if length > max_bytes:
        raise Problem(413, f"a body may have {max_bytes} bytes", headers=CLOSE)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that gives *body* once, and then further messages such as the disconnect."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


class NoStoreMiddleware:
    """Marks every response as not cacheable (SSF 1.0 §8), unless it sets `Cache-Control` itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_uncached(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        await self.app(scope, receive, send_uncached)


MAX_SINGLE_ROWS: Final = 10
"""Refused calls of one caller that are written to the audit log individually in a minute."""
MAX_STRANGER_ROWS: Final = 100
"""The same limit for all unauthenticated callers together."""
UPDATE_MS: Final = 1000
"""Shortest time between two updates of the row that counts the others."""


@dataclass(slots=True)
class _Unlogged:
    """Calls of a minute that were not written individually.

    *last* is the latest of them, *count* their number, and *logged* the number that the row in the log shows.
    """

    last: AuditEntry
    count: int = 0
    logged: int = 0
    logged_at: int | None = None
    seq: int | None = None

    def add(self, entry: AuditEntry) -> bool:
        """Count *entry*; return whether the row should be updated now."""
        same = entry.address == self.last.address
        self.last = entry if same else replace(entry, address=None)
        self.count += 1
        return self.logged_at is None or entry.at - self.logged_at >= UPDATE_MS


class AuditWriter:
    """Writes audit entries; bounded ones up to `MAX_SINGLE_ROWS` and `MAX_STRANGER_ROWS`, the rest as one row.

    That row has the number of the remaining calls. It is updated at most once in `UPDATE_MS`, and for the last
    time when the first call after its minute is written. There is one row for all unauthenticated callers, and
    one for each receiver over its limit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._write_lock = Lock()
        self._minute = 0
        self._single_rows: Counter[str] = Counter()
        self._stranger_rows = 0
        self._unlogged: dict[str | None, _Unlogged] = {}

    def write(self, entry: AuditEntry) -> None:
        """Write *entry* unconditionally. Raises `StoreError`."""
        with self._lock:
            outdated = self._start_minute(entry.at)
        self._write_rows(outdated)
        with self._store.begin() as conn:
            audit.insert_entry(conn, entry)

    def write_bounded(self, entry: AuditEntry, caller: str, receiver_id: str | None = None) -> None:
        """Write or count *entry* of *caller*, who is unauthenticated if *receiver_id* is `None`."""
        with self._lock:
            outdated = self._start_minute(entry.at)
            single = self._may_write(caller, unauthenticated=receiver_id is None)
            if not single:
                unlogged = self._unlogged.setdefault(receiver_id, _Unlogged(replace(entry, receiver_id=receiver_id)))
                if unlogged.add(replace(entry, receiver_id=receiver_id, stream_id=None)):
                    unlogged.logged_at = entry.at
                    outdated.append(unlogged)
        self._write_rows(outdated)
        if single:
            with self._store.begin() as conn:
                audit.insert_entry(conn, entry)

    def _start_minute(self, now_ms: int) -> list[_Unlogged]:
        """Start a new minute if it is time; return the last minute's rows that are not up to date."""
        if now_ms // MINUTE_MS == self._minute:
            return []
        outdated = [unlogged for unlogged in self._unlogged.values() if unlogged.logged != unlogged.count]
        self._minute, self._stranger_rows = now_ms // MINUTE_MS, 0
        self._single_rows.clear()
        self._unlogged = {}
        return outdated

    def _may_write(self, caller: str, *, unauthenticated: bool) -> bool:
        if self._single_rows[caller] >= MAX_SINGLE_ROWS or (
            unauthenticated and self._stranger_rows >= MAX_STRANGER_ROWS
        ):
            return False
        self._single_rows[caller] += 1
        self._stranger_rows += unauthenticated
        return True

    def _write_rows(self, rows: list[_Unlogged]) -> None:
        if not rows:
            return
        with self._write_lock:
            with self._store.begin() as conn:
                written = [(unlogged, unlogged.count, _upsert(conn, unlogged)) for unlogged in rows]
            for unlogged, count, seq in written:
                unlogged.logged, unlogged.seq = count, seq


def _upsert(conn: Connection, unlogged: _Unlogged) -> int:
    action = f"{unlogged.count} more refused calls" if unlogged.count > 1 else "1 more refused call"
    entry = replace(unlogged.last, action=action)
    if unlogged.seq is None:
        return audit.insert_entry(conn, entry)
    audit.update_entry(conn, unlogged.seq, entry)
    return unlogged.seq
