"""Producer: sends messages by key and changelog rows in bulk to one partition, and waits for acknowledgements.

Faust's own ways to send (`topic.send`, `table[key] = value`) return before anything is acknowledged and are not used.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import aiokafka
from faust.transport.drivers import aiokafka as driver

from pipeline.kafka.fencing import Confirm, ProducerFence
from pipeline.kafka.partitioner import partition_of
from pipeline.kafka.queueing import PartitionQueues
from pipeline.processing.failpoints import hit
from pipeline.processing.processor import Message

MAX_REQUEST_BYTES = 1_000_000
"""Largest record and largest batch; a broker accepts 1,048,588 bytes by default (`message.max.bytes`)."""

_RECORD_OVERHEAD_BYTES = 100
"""Most bytes that a batch of one record adds to its key and value."""


_WORTH_A_BATCH = 8
"""Messages for one partition from which a batch of their own is cheaper than joining the common one."""

Row = tuple[bytes | None, bytes | None]


class RecordTooLargeError(Exception):
    """A record is larger than the brokers accept; a processor must never make one."""


class BatchProducer(driver.Producer):
    """Faust's producer, idempotent, with access to the aiokafka producer below it."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def on_start(self) -> None:
        await super().on_start()
        cast("Any", self.transport).fences.guard(self.kafka())

    def kafka(self) -> aiokafka.AIOKafkaProducer:
        """Return the started aiokafka producer; raises `faust.exceptions.NotReady` before that."""
        return self._ensure_producer()


class BatchWriter:
    """Writes through the producer that *kafka* returns, which *fences* guard."""

    def __init__(self, kafka: Callable[[], aiokafka.AIOKafkaProducer], fences: ProducerFence | None = None) -> None:
        self._kafka = kafka
        self._fences = fences or ProducerFence()
        self._queues = PartitionQueues()
        self._partitions: dict[str, int] = {}

    async def send(self, messages: Sequence[Message], timestamp_ms: int | None = None) -> Awaitable[object]:
        """Pass *messages* to the producer, in order for each key; await the result for the acknowledgements.

        That raises the brokers' error if they refuse one. *timestamp_ms* is the time of the records, by default that
        of sending.
        """
        hit("chunk-worked")
        acknowledged: list[Awaitable[Any]] = []
        for (topic, partition), rows in (await self._by_partition(messages)).items():
            if partition is not None and len(rows) >= _WORTH_A_BATCH:
                acknowledged += [
                    await self._queue_batch(topic, partition, batch)
                    for batch in self._batches(topic, rows, timestamp_ms)
                ]
            else:
                acknowledged += [await self._queue_row(topic, partition, row, timestamp_ms) for row in rows]
        hit("messages-handed-over")
        return _all(acknowledged)

    async def append(
        self,
        topic: str,
        partition: int,
        rows: Iterable[Row],
        confirm: Confirm | None = None,
    ) -> int | None:
        """Write *rows* to one partition, in order, in as few batches as possible; return the last offset.

        Returns after the brokers acknowledged all. *confirm* is awaited before each batch is passed to the producer,
        and again before it leaves; an error it raises stops the writing.
        """
        if confirm is not None:
            self._fences.put(topic, partition, confirm)
        count = 0
        acknowledged = []
        for batch in self._batches(topic, rows, None):
            if confirm is not None:
                await confirm()
            count = batch.record_count()
            acknowledged.append(await self._queue_batch(topic, partition, batch))
        hit("rows-handed-over")
        results = await _all(acknowledged)
        return results[-1].offset + count - 1 if results else None

    async def _queue_batch(self, topic: str, partition: int, batch: Any) -> Awaitable[Any]:
        send_batch = self._kafka().send_batch
        return await self._queues.put(topic, partition, lambda: send_batch(batch, topic, partition=partition))

    async def _queue_row(self, topic: str, partition: int | None, row: Row, timestamp_ms: int | None) -> Awaitable[Any]:
        send, (key, value) = self._kafka().send, row
        return await self._queues.put(topic, partition, lambda: send(topic, value, key, partition, timestamp_ms))

    async def _by_partition(self, messages: Sequence[Message]) -> dict[tuple[str, int | None], list[Row]]:
        rows: defaultdict[tuple[str, int | None], list[Row]] = defaultdict(list)
        for topic, key, value in messages:
            _refuse_too_large(topic, key, value)
            partition = None if key is None else partition_of(key, await self._count(topic))
            rows[topic, partition].append((key, value))
        return rows

    def _batches(self, topic: str, rows: Iterable[Row], timestamp_ms: int | None) -> Iterable[Any]:
        batch = self._kafka().create_batch()
        for key, value in rows:
            _refuse_too_large(topic, key, value)
            if batch.append(key=key, value=value, timestamp=timestamp_ms) is None:
                yield batch
                batch = self._kafka().create_batch()
                batch.append(key=key, value=value, timestamp=timestamp_ms)
        if batch.record_count():
            batch.close()
            yield batch

    async def _count(self, topic: str) -> int:
        count = self._partitions.get(topic)
        if count is None:
            count = self._partitions[topic] = len(await self._kafka().partitions_for(topic))
        return count


async def _all(acknowledged: Sequence[Awaitable[Any]]) -> list[Any]:
    results = await asyncio.gather(*acknowledged, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _refuse_too_large(topic: str, key: bytes | None, value: bytes | None) -> None:
    size = len(key or b"") + len(value or b"") + _RECORD_OVERHEAD_BYTES
    if size > MAX_REQUEST_BYTES:
        raise RecordTooLargeError(
            # Not its key: that may be a person's name, and this is logged.
            f"a record for {topic} has {size:,} bytes, {len(key or b''):,} of them its key, more than the "
            f"{MAX_REQUEST_BYTES:,} the brokers accept: the processor that made it must bound its size"
        )
