"""The transmitter's intake beside a test: records written for it, and what it has made of them.

Run as a program it is one: PYTHONPATH=. python tests/support/transmitter_on_kafka.py BOOTSTRAP GROUP DATABASE KEY_FILE.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import CollectorRegistry

from pipeline.kafka.client import open_writer
from pipeline.kafka.connection import Connection
from pipeline.processing.processor import Message
from pipeline.transmitter.leader import RestartingReader
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.store.database import open_store
from pipeline.transmitter.store.encryption import load
from pipeline.transmitter.store.signing_keys import open_signer
from pipeline.transmitter.tokens.builder import DecodedRecord, TokenBuilder
from pipeline.transmitter.tokens.consumer import CommandConsumer
from pipeline.transmitter.tokens.subjects import Subjects
from schemas.decode import encode, record_key
from schemas.decoded import DEFAULT_LIMITS, Limits
from tests.support.transmitter_records import ISSUER

PATIENCE_S = 60.0


@dataclass(slots=True)
class Listening:
    """An intake that runs, what it rang for, and its metrics."""

    restarting_reader: RestartingReader
    task: asyncio.Task[None]
    metrics: TransmitterMetrics
    rung: list[str] = field(default_factory=list)

    def shown(self, name: str, **labels: str) -> float | None:
        """What a metric shows, if anything."""
        return self.metrics.registry.get_sample_value(f"session_risk_transmitter_{name}", labels)

    def counted(self, name: str, **labels: str) -> float:
        """How much was counted."""
        return self.shown(name, **labels) or 0.0

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until it *holds*; the intake must go on meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            if self.task.done():
                self.task.result()
            assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}"
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End in order."""
        self.restarting_reader.stop()
        await asyncio.wait_for(self.task, PATIENCE_S)


@asynccontextmanager
async def listening(
    connection: Connection,
    token_builder: TokenBuilder,
    group: str = "transmitter-t",
    limits: Limits = DEFAULT_LIMITS,
    clock: Callable[[], int] | None = None,
) -> AsyncIterator[Listening]:
    """An intake that has begun to read, and begins anew as one in a transmitter does.

    It is stopped in order unless the test did it, or killed it.
    """
    rung: list[str] = []
    metrics = TransmitterMetrics(CollectorRegistry())
    intake = CommandConsumer(connection, group, limits, token_builder, metrics, rung.extend, clock or now_ms)
    restarting_reader = RestartingReader(intake)
    task = asyncio.create_task(restarting_reader.run())
    this_listening = Listening(restarting_reader, task, metrics, rung)
    try:
        await this_listening.until(intake.ready.is_set, "the intake to begin")
        yield this_listening
        if not task.done():
            await this_listening.stop()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def now_ms() -> int:
    """The wall clock, ms."""
    return round(time.time() * 1000)


async def tell(
    connection: Connection, *deliveries: DecodedRecord, at: int | None = None, tenants: Iterable[bytes] = ()
) -> None:
    """Write records as the pipeline does, *at* a time of the broker's, ms."""
    async with open_writer(connection) as writer:
        for topic, record in deliveries:
            message = Message(topic, record_key(topic, dict(record)), encode(record))
            await writer.send(message, at, list(tenants))
        await writer.flush()


async def write(connection: Connection, topic: str, key: bytes, value: bytes, header: str | None = None) -> None:
    """Write bytes, whatever they are, perhaps with a *header*."""
    async with AIOKafkaProducer(**connection.for_aiokafka()) as producer:
        headers = [] if header is None else [(header, b"")]
        await producer.send_and_wait(topic, value, key, headers=headers)


def fail_once(monkeypatch: pytest.MonkeyPatch, asked: str) -> list[str]:
    """Let brokers fail once when they are asked this, and lose what they gave; the list says so then."""
    ask: Any = getattr(AIOKafkaConsumer, asked)
    failed: list[str] = []

    async def fail(reader: AIOKafkaConsumer, *given: Any, **named: Any) -> Any:
        answer = await ask(reader, *given, **named)
        if not failed and (answer or asked != "getmany"):
            failed.append(asked)
            raise KafkaTimeoutError("not now")
        return answer

    monkeypatch.setattr(AIOKafkaConsumer, asked, fail)
    return failed


def jtis(rows: Iterable[Any]) -> list[str]:
    """The ids of tokens, in their order."""
    return [row.jti for row in rows]


def main(bootstrap: str, group: str, database: str, key_file: str) -> None:
    """Be an intake, until it is killed."""
    store = open_store(database, load(Path(key_file)))
    made = TokenBuilder(store, open_signer(store, "RS256", 2048, now_ms()), Subjects.load(None), ISSUER)
    metrics = TransmitterMetrics(CollectorRegistry())
    intake = CommandConsumer(Connection(bootstrap), group, DEFAULT_LIMITS, made, metrics, list[str]().extend, now_ms)
    asyncio.run(intake.run())


if __name__ == "__main__":
    main(*sys.argv[1:])
