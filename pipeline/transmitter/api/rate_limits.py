"""How often somebody may ask, and how much may be sent: nobody takes more than a share of this process."""

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
MOST_KNOWN: Final = 10_000
"""Receivers, or addresses, whose requests are counted; of more, those longest silent are forgotten."""
BODY_S: Final = 15.0
"""Seconds within which a whole body must have come."""
STRANGERS_BODY: Final = 16_384
"""Longest body, in bytes, of somebody who showed no token: a form for one."""

CLOSE: Final = {"Connection": "close"}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bucket:
    """Requests that are *left* as of *at*, ms; and when it was last logged that there were none."""

    left: float
    at: int
    told_at: int | None = None


class RateLimiter:
    """A bucket for each name, refilled evenly with *per_minute* requests, full to begin with."""

    def __init__(self, per_minute: int, clock: Callable[[], int]) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._lock = Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def spend(self, name: str) -> None:
        """Count a request of *name*.

        Raises:
            Problem: it was one too many; with the seconds until there is room (RFC 6585 §4).
        """
        with self._lock:
            bucket = self._filled(name)
            left = bucket.left
            if left >= 1:
                bucket.left -= 1
                return
            tells = bucket.told_at is None or bucket.at - bucket.told_at >= MINUTE_MS
            if tells:
                bucket.told_at = bucket.at
        if tells:
            _log.warning("%s asks more than %.0f times a minute and is refused", name, self._most)
        raise too_soon(f"more than {self._most:.0f} requests a minute", ceil((1 - left) * 60 / self._most))

    def give_back(self, name: str) -> None:
        """Take back that a request of *name* was counted."""
        with self._lock:
            bucket = self._filled(name)
            bucket.left = min(self._most, bucket.left + 1)

    def _filled(self, name: str) -> _Bucket:
        """The bucket of *name* as it is now."""
        now_ms = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(self._most, now_ms))
        bucket.left = min(self._most, bucket.left + max(0, now_ms - bucket.at) * self._most / MINUTE_MS)
        bucket.at = now_ms
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST_KNOWN:
            self._buckets.popitem(last=False)
        return bucket


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What is counted, each kind apart: what strangers do costs a receiver nothing, nor one kind another.

    *receivers* by name, each with all it asks for. By address: *clients* whose secret was not good, *tokens*
    that were not, and *pages* that are there for all. Who shows a good token, or a secret that was good
    before, is asked nothing of the address.
    """

    receivers: RateLimiter
    clients: RateLimiter
    tokens: RateLimiter
    pages: RateLimiter

    @classmethod
    def of(cls, per_minute: int, clock: Callable[[], int]) -> RateLimits:
        """Return full shares, each of *per_minute* requests."""
        return cls(*(RateLimiter(per_minute, clock) for _ in range(4)))


class BodyLimitMiddleware:
    """Reads a body before anything is done with it, and refuses one that is too long or does not come.

    Of a caller whom the gate let in by a token it takes *longest* bytes, of others `STRANGERS_BODY`.
    """

    def __init__(self, app: ASGIApp, longest: int) -> None:
        self.app = app
        self.longest = longest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        known = "caller" in scope.get("state", {})
        longest = self.longest if known else min(self.longest, STRANGERS_BODY)
        try:
            async with asyncio.timeout(BODY_S):
                body = await _read(scope, receive, longest)
        except TimeoutError:
            late = Problem(408, "the body did not come in time", headers=CLOSE)
            await late.response()(scope, receive, send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        else:
            if body is not None:
                await self.app(scope, _replay(body, receive), send)


async def _read(scope: Scope, receive: Receive, longest: int) -> bytes | None:
    """All of the body; nothing if who sends it has gone. Raises `Problem` above *longest* bytes."""
    details = dict(scope["headers"]).get(b"content-length", b"0")
    _refuse_above(longest, int(details[:16]) if details.isdigit() else 0)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        _refuse_above(longest, len(body))
        if not message.get("more_body", False):
            return bytes(body)


def _refuse_above(longest: int, length: int) -> None:
    if length > longest:
        raise Problem(413, f"a body may have {longest} bytes", headers=CLOSE)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand out *body* once, then what else comes: that the other side has gone."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


class NoStoreMiddleware:
    """Says of every answer that it is not to be kept (SSF 1.0 §8), unless it says itself that it may be."""

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


SINGLY: Final = 10
"""Refused calls of one caller that are written one by one in a minute."""
IN_ALL: Final = 100
"""The same of all strangers together."""
AGAIN_MS: Final = 1000
"""Least time between two writes of how many more there were."""


@dataclass(slots=True)
class _Unlogged:
    """Calls of a minute that were not written one by one: the *last*, how many, what the log says."""

    last: AuditEntry
    count: int = 0
    logged: int = 0
    logged_at: int | None = None
    seq: int | None = None

    def add(self, call: AuditEntry) -> bool:
        """Count *call*; return whether it is time to say so."""
        same = call.address == self.last.address
        self.last = call if same else replace(call, address=None)
        self.count += 1
        return self.logged_at is None or call.at - self.logged_at >= AGAIN_MS


class AuditWriter:
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
        self._rests: dict[str | None, _Unlogged] = {}

    def whole(self, call: AuditEntry) -> None:
        """Write *call* down, whatever was written before. Raises `StoreError`."""
        with self._lock:
            ended = self._turned(call.at)
        self._tell(ended)
        with self._store.begin() as conn:
            audit.note(conn, call)

    def bounded(self, call: AuditEntry, caller: str, receiver_id: str | None = None) -> None:
        """Write *call* down, or count it: of *caller*, a stranger if no receiver is named."""
        with self._lock:
            due = self._turned(call.at)
            alone = self._is_written(caller, stranger=receiver_id is None)
            if not alone:
                rest = self._rests.setdefault(receiver_id, _Unlogged(replace(call, receiver_id=receiver_id)))
                if rest.add(replace(call, receiver_id=receiver_id, stream_id=None)):
                    rest.logged_at = call.at
                    due.append(rest)
        self._tell(due)
        if alone:
            with self._store.begin() as conn:
                audit.note(conn, call)

    def _turned(self, now_ms: int) -> list[_Unlogged]:
        """Begin a new minute if it is time; return of the last one what is not in the log."""
        if now_ms // MINUTE_MS == self._minute:
            return []
        ended = [rest for rest in self._rests.values() if rest.logged != rest.count]
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

    def _tell(self, rests: list[_Unlogged]) -> None:
        if not rests:
            return
        with self._telling:
            with self._store.begin() as conn:
                written = [(rest, rest.count, _written(conn, rest)) for rest in rests]
            for rest, count, seq in written:
                rest.logged, rest.seq = count, seq


def _written(conn: Connection, rest: _Unlogged) -> int:
    action = f"{rest.count} more refused calls" if rest.count > 1 else "1 more refused call"
    noted = replace(rest.last, action=action)
    if rest.seq is None:
        return audit.note(conn, noted)
    audit.amend(conn, rest.seq, noted)
    return rest.seq
