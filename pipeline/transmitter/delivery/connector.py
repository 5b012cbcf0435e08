"""Connections to receivers: what comes on one is taken for no more than it is, and not much of it is read.

These are parts of aiohttp that its users may not count on; `test_push_wire` says whether they still hold.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

MOST_HINTS: Final = 16
"""Interim answers (RFC 9110 §15.2) before the final one, or answers unasked: servers send one, if any."""
PIECE: Final = 16_384
"""Bytes that are taken apart at once: all else waits meanwhile."""


class Connector(aiohttp.TCPConnector):
    """Takes a connection again only if nothing came on it meanwhile.

    What a receiver says unasked would be read as its answer to the next token, which it may never have got.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        made: type[ResponseHandler] = _Wary
        self._factory = partial(made, loop=self._loop)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (found := await super()._get(key, traces)) is not None:
            if found.protocol is not None and not found.protocol.should_close:
                break
            found.close()
        return found


class _Wary(ResponseHandler):
    """Reads answers, and breaks off with who sends more than one asked for: they cost others their time."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(loop)
        self._hints = 0

    def data_received(self, data: bytes) -> None:
        for start in range(0, max(1, len(data)), PIECE):
            super().data_received(data[start : start + PIECE])
            if max(self._hints, len(self)) > MOST_HINTS:
                if self.transport is not None:
                    self.set_exception(HttpProcessingError(message="answers without end"))
                    self.transport.abort()
                return

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        super().feed_data(data, size)
        self._hints = self._hints + 1 if data[0].code < 200 else 0
