"""How often somebody may ask, and how much may be sent: nobody takes more than a share of this process."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from threading import Lock
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.transmitter.api.problems import Problem, too_soon

MINUTE_MS: Final = 60_000
MOST_KNOWN: Final = 10_000
"""Of receivers and addresses whose requests are counted; of more, those longest silent are forgotten."""
BODY_S: Final = 15.0
"""Seconds within which a whole body must have come."""


_log = logging.getLogger(__name__)


class Rates:
    """A bucket for each name, refilled evenly with *per_minute* requests, full to begin with."""

    def __init__(self, per_minute: int, clock: Callable[[], int]) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._refused: set[str] = set()

    def spend(self, name: str) -> None:
        """Count a request of *name*.

        Raises:
            Problem: it was one too many; with the seconds until there is room (RFC 6585 §4).
        """
        with self._lock:
            left = self._left(name)
            if left >= 1:
                self._keep(name, left - 1)
                self._refused.discard(name)
                return
            first = name not in self._refused
            self._refused.add(name)
        if first:  # of many in a row, one line
            _log.warning("%s asks more than %.0f times a minute and is refused", name, self._most)
        raise too_soon(f"more than {self._most:.0f} requests a minute", ceil((1 - left) * 60 / self._most))

    def _left(self, name: str) -> float:
        left, at = self._buckets.get(name, (self._most, self._clock()))
        return min(self._most, left + max(0, self._clock() - at) * self._most / MINUTE_MS)

    def _keep(self, name: str, left: float) -> None:
        self._buckets[name] = (left, self._clock())
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST_KNOWN:
            self._refused.discard(self._buckets.popitem(last=False)[0])


class Bodies:
    """Reads a body before anything is done with it, and refuses one that is too long or does not come."""

    def __init__(self, app: ASGIApp, longest: int) -> None:
        self.app = app
        self.longest = longest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_S):
                body = await self._read(scope, receive)
        except TimeoutError:
            await Problem(408, "the body did not come in time").response()(scope, receive, send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        else:
            if body is not None:
                await self.app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of the body; nothing if who sends it has gone."""
        told = dict(scope["headers"]).get(b"content-length", b"0")
        self._refuse_above(int(told[:16]) if told.isdigit() else 0)
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            self._refuse_above(len(body))
            if not message.get("more_body", False):
                return bytes(body)

    def _refuse_above(self, length: int) -> None:
        if length > self.longest:
            text = f"a body may have {self.longest} bytes"
            raise Problem(413, text, headers={"Connection": "close"})


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand out *body* once, then what else comes: that the other side has gone."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


class NoStore:
    """Says of every answer that it is not to be kept (SSF 1.0 §8), unless it says itself that it may be."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def said(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        await self.app(scope, receive, said)
