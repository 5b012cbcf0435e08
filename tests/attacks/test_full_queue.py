"""More work than the producer takes: whoever writes to a partition waits its turn, and no worker ends of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.producer.message_accumulator import MessageAccumulator

from pipeline.kafka.producer import MAX_REQUEST_BYTES, BatchWriter
from pipeline.processing.processor import Message

PATIENCE_S = 0.3
"""Stands for the 40 s that the producer has room to be made in."""
WRITERS, BATCHES_EACH, BATCH_SECONDS = 12, 3, 0.02
"""Twelve partitions of calls and contexts write to one partition of risk; together they need more than the patience."""
HALF_A_BATCH = b"v" * (MAX_REQUEST_BYTES // 2 + 1)


class Producer:
    """aiokafka's queue of batches with one broker behind it, which takes a batch at a time; *answer* is its word."""

    def __init__(self, answer: BaseException | None = None, batch_seconds: float = BATCH_SECONDS) -> None:
        cluster: Any = ClusterMetadata()
        cluster.leader_for_partition = lambda _: 1
        self._queue = MessageAccumulator(cluster, MAX_REQUEST_BYTES, 0, 60.0)
        self._answer = answer
        self._batch_seconds = batch_seconds

    def create_batch(self) -> Any:
        return self._queue.create_builder()

    async def partitions_for(self, _: str) -> set[int]:
        return {0}

    async def send(self, topic: str, value: bytes, key: bytes, partition: int, timestamp_ms: int | None) -> Any:
        return await self._queue.add_message(TopicPartition(topic, partition), key, value, PATIENCE_S, timestamp_ms)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        return await self._queue.add_batch(batch, TopicPartition(topic, partition), PATIENCE_S)

    async def take(self) -> None:
        """Take batch after batch, each after its time."""
        offset = 0
        while True:
            await asyncio.sleep(self._batch_seconds)
            for batches in self._queue.drain_by_nodes(())[0].values():
                for batch in batches.values():
                    if self._answer is None:
                        batch.done(base_offset=offset)
                        offset += batch.record_count
                    else:
                        batch.failure(self._answer)


def _run(
    answer: BaseException | None, *, batched: bool, writers: int = WRITERS, batch_seconds: float = BATCH_SECONDS
) -> tuple[list[int], float]:
    """The last offset that each writer heard of, in order, and how long all took."""

    async def story() -> tuple[list[int], float]:
        producer: Any = Producer(answer, batch_seconds)
        writer = BatchWriter(lambda: producer)
        began = time.monotonic()
        broker = asyncio.create_task(producer.take())
        try:
            heard = await asyncio.gather(*(_write(writer, number, batched=batched) for number in range(writers)))
        finally:
            broker.cancel()
        return sorted(heard), time.monotonic() - began

    return asyncio.run(story())


async def _write(writer: BatchWriter, number: int, *, batched: bool) -> int:
    last = -1
    for _ in range(BATCHES_EACH):
        if batched:
            last = await writer.append("risk", 0, [(b"%d" % number, b"row")]) or 0
        else:
            results: Any = await (await writer.send([Message("risk", b"%d" % number, HALF_A_BATCH)]))
            last = results[-1].offset
    return last


@pytest.mark.parametrize("batched", [True, False], ids=["in batches", "one by one"])
def test_many_partitions_work_writes_to_one_partition_and_waits_however_full_its_queue_is(batched: bool) -> None:
    heard, took_s = _run(None, batched=batched)

    count = WRITERS * BATCHES_EACH
    assert took_s > PATIENCE_S, "the queue was never full for longer than the producer's patience"
    assert heard == list(range(count - WRITERS, count)), "nobody comes twice before another"


@pytest.mark.parametrize("batched", [True, False], ids=["in batches", "one by one"])
def test_a_broker_that_takes_a_batch_late_is_waited_for_longer_than_the_producers_patience(batched: bool) -> None:
    heard, took_s = _run(None, batched=batched, writers=2, batch_seconds=PATIENCE_S * 1.2)

    assert took_s > 2 * PATIENCE_S
    assert heard == [2 * BATCHES_EACH - 2, 2 * BATCHES_EACH - 1]


@pytest.mark.parametrize("batched", [True, False], ids=["in batches", "one by one"])
def test_what_the_brokers_refuse_is_raised_and_not_tried_again(batched: bool) -> None:
    with pytest.raises(NotLeaderForPartitionError):
        _run(NotLeaderForPartitionError(), batched=batched)
