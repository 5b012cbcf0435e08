"""A proxy on loopback between workers and their broker: it cuts, slows, and refuses what is written.

To its clients it is the broker: where the broker tells its address it tells its own instead.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Self

from tests.faults.refusing import Answer, Refusal, answer, divided, is_write

HOST = "127.0.0.1"


class Proxy:
    """Stands before the broker at *broker*, ``127.0.0.1:PORT``; used in an ``async with`` block."""

    def __init__(self, broker: str) -> None:
        self.delay_s = 0.0
        """How long each request is held up."""
        self.delay_writes_s = 0.0
        """How long, besides, each request to write is."""
        self.refusal: Refusal | None = None
        """What of requests to write is refused; `None`: they are passed on."""
        self.refused = 0
        """How many were, or a part of them."""
        self._port = int(broker.rpartition(":")[2])
        self._open = True
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._link, HOST, 0)
        self._own_port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._links, return_exceptions=True)

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"{HOST}:{self._own_port}"

    def cut(self) -> int:
        """End every connection there is, and take no new one until `mend`; return how many there were."""
        self._open = False
        for link in self._links:
            link.cancel()
        return len(self._links)

    def mend(self) -> None:
        """Take connections again."""
        self._open = True

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            if self._open:
                await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one of them hung up, or it was cut
        finally:
            writer.close()
            self._links.discard(task)

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        broker, to_broker = await asyncio.open_connection(HOST, self._port)
        link = _Link(self, to_client, to_broker)
        both = [asyncio.ensure_future(link.requests(client)), asyncio.ensure_future(link.responses(broker))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            to_broker.close()

    def own(self, response: bytes) -> bytes:
        """Return *response* with the proxy's address where the broker told its own, which is as long."""
        payload, own = (HOST.encode() + struct.pack(">i", port) for port in (self._port, self._own_port))
        return response.replace(payload, own)


class _Link:
    """One connection of a client, and the one to the broker that belongs to it."""

    def __init__(self, proxy: Proxy, to_client: asyncio.StreamWriter, to_broker: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._to_client = to_client
        self._to_broker = to_broker
        self._refused: dict[int, Answer] = {}
        self._unanswered = 0
        self._answered = asyncio.Event()
        self._answered.set()

    async def requests(self, client: asyncio.StreamReader) -> None:
        while True:
            request = await _frame(client)
            await asyncio.sleep(self._proxy.delay_s)
            if not is_write(request):
                self._pass_on(request)
                continue
            await asyncio.sleep(self._proxy.delay_writes_s)
            refusal = self._proxy.refusal
            if refusal is None:
                self._pass_on(request)
            else:
                await self._refuse(request, refusal)

    async def _refuse(self, request: bytes, refusal: Refusal) -> None:
        correlation, refused, pass_on = divided(request, refusal)
        self._proxy.refused += bool(refused)
        if pass_on is None:
            await self._answered.wait()  # answers come in the order of requests
            self._to_client.write(_framed(answer(correlation, refused)))
            return
        if refused:
            self._refused[correlation] = refused
        self._pass_on(pass_on)

    def _pass_on(self, request: bytes) -> None:
        self._unanswered += 1
        self._answered.clear()
        self._to_broker.write(_framed(request))

    async def responses(self, broker: asyncio.StreamReader) -> None:
        while True:
            response = await _frame(broker)
            (correlation,) = struct.unpack(">i", response[:4])
            if (refused := self._refused.pop(correlation, None)) is not None:
                response = answer(correlation, refused, response)
            self._to_client.write(_framed(self._proxy.own(response)))
            self._unanswered -= 1
            if not self._unanswered:
                self._answered.set()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _framed(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload
