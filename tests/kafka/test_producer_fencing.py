"""A batch leaves the producer only while the partition it is for is this worker's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition

from pipeline.kafka.fencing import Lease, PartitionLost, ProducerFence

OURS, OTHERS, FREE = (
    TopicPartition("changelog", 0),
    TopicPartition("changelog", 1),
    TopicPartition("risk", 0),
)


class Batch:
    failed: BaseException | None = None

    def failure(self, exception: BaseException) -> None:
        self.failed = exception


class Sender:
    """What the fences use of aiokafka's: one request under way to node 7, its partitions muted meanwhile."""

    def __init__(self) -> None:
        self._in_flight = {7}
        self._muted_partitions = {OURS, OTHERS, FREE}
        self.sent: list[TopicPartition] = []

    async def _send_produce_req(self, node_id: int, batches: dict[TopicPartition, Batch]) -> None:
        self.sent += batches
        self._in_flight.remove(node_id)
        self._muted_partitions.difference_update(batches)


def _sent(batches: dict[TopicPartition, Batch], before: Callable[[Lease], None] = lambda _: None) -> Sender:
    """Send *batches*; the fence of OURS is in the generation that holds, that of OTHERS in one before."""
    sender = Sender()
    kafka: Any = type("Kafka", (), {"_sender": sender})
    lease, fences = Lease(60.0), ProducerFence()
    lease.grant(2)
    fences.put(OURS.topic, OURS.partition, lambda: lease.confirm(2))
    fences.put(OTHERS.topic, OTHERS.partition, lambda: lease.confirm(1))
    fences.guard(kafka)
    before(lease)
    asyncio.run(sender._send_produce_req(7, batches))
    return sender


def test_what_is_another_workers_by_now_fails_and_the_rest_leaves() -> None:
    batches = {OURS: Batch(), OTHERS: Batch(), FREE: Batch()}

    sender = _sent(batches)

    assert sender.sent == [OURS, FREE]
    assert [type(batch.failed) for batch in batches.values()] == [type(None), PartitionLost, type(None)]
    assert (sender._in_flight, sender._muted_partitions) == (set(), set())


def test_a_request_of_which_nothing_is_left_is_not_made_and_holds_nothing_up() -> None:
    sender = _sent({OURS: Batch(), OTHERS: Batch()}, before=Lease.end)

    assert (sender.sent, sender._in_flight, sender._muted_partitions) == ([], set(), {FREE})
