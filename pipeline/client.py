"""Kafka as the command line needs it: a few records written, a topic read to its end, outputs followed.

A worker reads and writes in its own way (`pipeline.topology`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from pipeline.connection import Connection
from pipeline.stage import Message, Record
from pipeline.topic_admin import BrokerUnreachableError, TopicsNotReadyError

_EMBEDDED_WAIT_MS: Final = 10
"""The embedded broker does not wake a fetch that waits."""
_WAIT_MS: Final = 100

Send = Callable[[Message, int], Any]
"""(message, timestamp in ms): queues the message, to be awaited; its place in Kafka is awaited by `flush`."""


class Writer:
    """Writes records whose order within a key is kept."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    async def send(self, message: Message, timestamp_ms: int | None = None) -> None:
        """Queue *message*; it leaves at once."""
        topic, key, value = message
        await self._producer.send(topic, value=value, key=key, timestamp_ms=timestamp_ms)

    async def flush(self) -> None:
        """Return when the brokers have everything."""
        await self._producer.flush()


@asynccontextmanager
async def writing(connection: Connection) -> AsyncIterator[Writer]:
    """Give a writer; raises `BrokerUnreachableError`."""
    producer = aiokafka.AIOKafkaProducer(**connection.for_aiokafka(), acks="all", enable_idempotence=True)
    async with _answered(connection):
        await producer.start()
    try:
        yield Writer(producer)
    finally:
        await producer.stop()


@asynccontextmanager
async def following(connection: Connection, topics: Sequence[str]) -> AsyncIterator[AsyncIterator[Record]]:
    """Give the records that come to *topics* from now on, as they come; raises `BrokerUnreachableError`."""
    async with _reading(connection) as reader:
        partitions = await _partitions(reader, topics)
        reader.assign(partitions)
        await reader.seek_to_end(*partitions)
        for partition in partitions:
            await reader.position(partition)  # only then is the end of now the beginning
        yield _records(reader)


async def matching(connection: Connection, topic: str, text: str) -> list[bytes]:
    """Return the values on *topic* in which *text* occurs, read up to its end of now, oldest first.

    Raises `BrokerUnreachableError`, or `TopicsNotReadyError` where there is no such topic.
    """
    wanted = text.encode()
    found: list[tuple[int, bytes]] = []
    async with _reading(connection) as reader:
        ends = await _assign_all(reader, topic)
        while unread := [tp for tp, end in ends.items() if await reader.position(tp) < end]:
            for records in (await reader.getmany(*unread, timeout_ms=1000)).values():
                found += [(r.timestamp, r.value) for r in records if r.value and wanted in r.value]
    return [value for _, value in sorted(found, key=lambda one: one[0])]


async def begin_at_end(connection: Connection, group: str, topics: Iterable[str]) -> None:
    """Let the consumer group *group*, which must be new, begin with what comes to *topics* from now on."""
    async with _reading(connection, group_id=group) as reader:
        partitions = await _partitions(reader, topics)
        reader.assign(partitions)
        await reader.commit(await reader.end_offsets(partitions))


@asynccontextmanager
async def _reading(connection: Connection, **more: Any) -> AsyncIterator[Any]:
    reader = aiokafka.AIOKafkaConsumer(
        **connection.for_aiokafka(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
        fetch_max_wait_ms=_EMBEDDED_WAIT_MS if connection.embedded else _WAIT_MS,
        **more,
    )
    async with _answered(connection):
        await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


@asynccontextmanager
async def _answered(connection: Connection) -> AsyncIterator[None]:
    try:
        yield
    except (KafkaConnectionError, TimeoutError, OSError) as error:
        raise BrokerUnreachableError(
            f"no broker answers at {connection.bootstrap}; name yours in SESSION_RISK_BROKER"
        ) from error
    except KafkaError as error:
        raise TopicsNotReadyError(f"{connection.bootstrap} refuses: {error!r}") from error


async def _assign_all(reader: Any, topic: str) -> dict[TopicPartition, int]:
    partitions = await _partitions(reader, [topic])
    reader.assign(partitions)
    ends: dict[TopicPartition, int] = await reader.end_offsets(partitions)
    return ends


async def _partitions(reader: Any, topics: Iterable[str]) -> list[TopicPartition]:
    wanted = list(topics)
    known = await reader.topics()
    if missing := [topic for topic in wanted if topic not in known]:
        raise TopicsNotReadyError(
            f"there is no topic {', '.join(missing)}; make what is missing with `session-risk topics create`"
        )
    return [TopicPartition(topic, part) for topic in wanted for part in reader.partitions_for_topic(topic)]


async def _records(reader: Any) -> AsyncIterator[Record]:
    while True:
        for records in (await reader.getmany(timeout_ms=500)).values():
            for record in records:
                yield record
        await asyncio.sleep(0)
