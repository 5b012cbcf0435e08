"""`session-risk transmitter` as it is, but for Kafka: what would be read there comes on standard input.

A line is a JSON list of pairs, topic and record; `told` is answered once it is kept, as an offset would be
committed then. Acknowledgements that come over HTTP are taken and go nowhere.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from pipeline.cli import main
from pipeline.transmitter import process, starting
from pipeline.transmitter.statements import Heard, Statements
from schemas.control import RevocationAck
from schemas.topics import TOPICS


class Told:
    """Stands where the consumer does: same place, same promise."""

    def __init__(self, means: process.Means) -> None:
        self._means = means
        self._statements = Statements(means.store, means.signer, means.subjects, means.settings.issuer)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Take line after line until told to stop, or until there are no more."""
        reader = asyncio.StreamReader(limit=2**26)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        stopping = asyncio.create_task(self._stop.wait())
        while not self._stop.is_set():
            reading = asyncio.create_task(reader.readline())
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and (line := reading.result()):
                await self._take(json.loads(line))
            else:
                reading.cancel()
                await stopping
        transport.close()

    async def _take(self, records: list[tuple[str, Any]]) -> None:
        heard = [
            Heard(topic, TOPICS[topic].model.model_validate_json(json.dumps(record)).model_dump())
            for topic, record in records
        ]
        taken = await asyncio.to_thread(self._statements.take, heard, process.clock())
        self._means.bell.ring(taken.rung)
        sys.stdout.write("told\n")
        sys.stdout.flush()


class Nowhere:
    """Stands where acknowledgements are passed on."""

    def __init__(self, _connection: object) -> None:
        """Nothing is connected to."""

    async def write(self, _ack: RevocationAck) -> None:
        """Take it."""

    async def close(self) -> None:
        """Let go of nothing."""


def _parts(means: process.Means) -> tuple[object, ...]:
    _, *others = _real_parts(means)
    return Told(means), *others


_real_parts = process._parts

if __name__ == "__main__":
    for module, name, stand_in in (
        (starting, "look", lambda *_: None),
        (process, "_parts", _parts),
        (process, "Confirming", Nowhere),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, stand_in)
    sys.argv = ["session-risk", "transmitter"]
    main()
