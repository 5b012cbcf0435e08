"""`session-risk transmitter` as it is, but for Kafka: what would be read there comes on standard input.

A line is a JSON list of pairs, topic and record. `committed` is written when the offsets of all of them would
have been committed. Acknowledgements that come over HTTP are taken and go nowhere.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.settings.loading import load, load_transmitter
from pipeline.transmitter import process, startup
from pipeline.transmitter.tokens import consumer
from schemas.control import RevocationAck
from schemas.decode import record_key


@dataclass(frozen=True, slots=True)
class StubRecord:
    """A record as Kafka would give it."""

    topic: str
    offset: int
    key: bytes
    value: bytes
    partition: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True)
class Lines:
    """Stands where the consumer of the group does."""

    reader: asyncio.StreamReader
    _offset: int = 0
    _left: list[StubRecord] = field(default_factory=list)
    _reading: asyncio.Task[bytes] | None = None

    async def chunk(self, most: int, wait_ms: int) -> list[StubRecord]:
        """Give at most *most* records, none after *wait_ms*."""
        if not self._left:
            self._left = await self._line(wait_ms / 1000)
        given, self._left = self._left[:most], self._left[most:]
        return given

    async def _line(self, seconds: float) -> list[StubRecord]:
        self._reading = self._reading or asyncio.create_task(self.reader.readline())
        await asyncio.wait({self._reading}, timeout=seconds)
        if not self._reading.done():
            return []
        line, self._reading = self._reading.result(), None
        if not line:
            await asyncio.sleep(seconds)  # the writer has gone
        return [self._record(topic, record) for topic, record in json.loads(line or "[]")]

    def _record(self, topic: str, record: dict[str, Any]) -> StubRecord:
        self._offset += 1
        return StubRecord(topic, self._offset, record_key(topic, record), json.dumps(record).encode())

    async def commit(self) -> None:
        """Say that all that was given is kept."""
        if not self._left:
            sys.stdout.write("committed\n")
            sys.stdout.flush()

    async def lag(self) -> dict[tuple[str, int], int]:
        """Nothing is known of what will be written to standard input."""
        return {}


@asynccontextmanager
async def read_standard_input(*_arguments: object) -> AsyncIterator[Lines]:
    """Read standard input in place of Kafka."""
    protocol = asyncio.StreamReaderProtocol(reader := asyncio.StreamReader(limit=2**26))
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    try:
        yield Lines(reader)
    finally:
        transport.close()


class Nowhere:
    """Stands where acknowledgements are passed on."""

    def __init__(self, _connection: object) -> None:
        """Nothing is connected to."""

    async def write(self, _ack: RevocationAck) -> None:
        """Take it."""

    async def close(self) -> None:
        """Let go of nothing."""


REBOUND = "rebound.example.com"
"""A name that whoever owns it has lead here."""

_resolve = socket.getaddrinfo


def resolve(host: Any, *arguments: Any, **named: Any) -> Any:
    """What the name servers of this world answer."""
    return _resolve("127.0.0.1" if host == REBOUND else host, *arguments, **named)


def main() -> int:
    """Put the stand-ins in their places, and transmit."""
    for module, name, stand_in in (
        (startup, "check_kafka", lambda *_: None),
        (consumer, "group_reader", read_standard_input),
        (process, "AckProducer", Nowhere),
        (socket, "getaddrinfo", resolve),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, stand_in)
    return startup.start(load(), load_transmitter())


if __name__ == "__main__":
    sys.exit(main())
