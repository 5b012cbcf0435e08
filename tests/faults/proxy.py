"""A proxy on loopback between workers and their broker: it cuts, slows, and refuses what is written.

To its clients it is the broker: where the broker tells its address it tells its own instead.
"""

from __future__ import annotations

import asyncio
import struct
from io import BytesIO
from typing import Self

from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.types import Int16, Int32, String

HOST = "127.0.0.1"
PRODUCE = 0
"""The API key of requests to write."""
LIKE_V7 = range(5, 8)
"""Versions of that request that are answered in the same form."""


class Proxy:
    """Stands before the broker at *broker*, ``127.0.0.1:PORT``; used in an ``async with`` block."""

    def __init__(self, broker: str) -> None:
        self.delay_s = 0.0
        """How long each request is held up."""
        self.refuse_with = 0
        """The error code that requests to write are answered with; 0: they are passed on."""
        self.refused = 0
        """How many were refused."""
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
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            to_broker.close()

    def own(self, response: bytes) -> bytes:
        """Return *response* with the proxy's address where the broker told its own, which is as long."""
        told, own = (HOST.encode() + struct.pack(">i", port) for port in (self._port, self._own_port))
        return response.replace(told, own)


class _Link:
    """One connection of a client, and the one to the broker that belongs to it."""

    def __init__(
        self, proxy: Proxy, to_client: asyncio.StreamWriter, to_broker: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._to_client = to_client
        self._to_broker = to_broker
        self._unanswered = 0
        self._answered = asyncio.Event()
        self._answered.set()

    async def requests(self, client: asyncio.StreamReader) -> None:
        while True:
            request = await _frame(client)
            await asyncio.sleep(self._proxy.delay_s)
            if self._proxy.refuse_with and struct.unpack(">h", request[:2])[0] == PRODUCE:
                self._proxy.refused += 1
                await self._answered.wait()  # answers come in the order of requests
                self._to_client.write(_framed(refusal(request, self._proxy.refuse_with)))
            else:
                self._unanswered += 1
                self._answered.clear()
                self._to_broker.write(_framed(request))

    async def responses(self, broker: asyncio.StreamReader) -> None:
        while True:
            response = await _frame(broker)
            self._to_client.write(_framed(self._proxy.own(response)))
            self._unanswered -= 1
            if not self._unanswered:
                self._answered.set()


def refusal(request: bytes, error: int) -> bytes:
    """Return the answer to a *request* to write by which each partition is refused with the code *error*."""
    told = BytesIO(request)
    _, version, correlation = Int16.decode(told), Int16.decode(told), Int32.decode(told)
    String("utf-8").decode(told)
    assert version in LIKE_V7, f"version {version} of a request to write is not known here"
    topics = [
        (topic, [(partition, error, -1, -1, -1) for partition, _ in partitions])
        for topic, partitions in ProduceRequest_v7.decode(told).topics
    ]
    return bytes(Int32.encode(correlation) + ProduceResponse_v7(topics, 0).encode())


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _framed(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload
