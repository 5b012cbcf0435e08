"""Each assigned partition gets a processor, restored from its changelog, or kept where that is the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiokafka
import pytest
from faust.types import TP

from pipeline.kafka.changelog import changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.kafka.fencing import Lease
from pipeline.kafka.partition_tasks import TaskManager, TaskResources
from pipeline.kafka.producer import BatchWriter
from pipeline.kafka.recovery import PartitionRestorer, UnevenAssignmentError
from pipeline.processing.observer import NullObserver
from tests.support.counting_processor import Counting, counting_kind

CHANGELOG = changelog_topic("app", "counting")
ROW = b'{"count": %d, "again": 0, "applied": {}, "last": ""}'


class World:
    """A takeover on an embedded broker, and what came of it."""

    def __init__(self, bootstrap: str, writer: BatchWriter) -> None:
        self.made: list[Counting] = []
        self.writer = writer
        self.tasks = TaskManager(NullObserver(), drain_seconds=1.0)
        self.lease = Lease(60.0)
        connection = Connection(bootstrap, embedded=True)
        resources = TaskResources(writer, asyncio.Semaphore(8), 512, NullObserver(), self.failures_are_not_expected)
        kinds = [counting_kind(self.made)]
        self.restorer = PartitionRestorer("app", connection, kinds, self.tasks, self.lease, resources)

    async def assign(self, generation: int, *partitions: int) -> list[Counting]:
        """Go through a rebalance; returns the stages that are at work after it."""
        await self.tasks.drain()
        self.lease.grant(generation)
        topics = ("left", "right", CHANGELOG)
        await self.restorer([TP(topic, p) for topic in topics for p in partitions], generation)
        return [task.processor for task in self.tasks]  # type: ignore[misc]

    async def write(self, partition: int, count: int) -> None:
        """Write a row as this worker's task does."""
        (task,) = (task for task in self.tasks if task.partition == partition)
        await task.changelog.write([(b"key", ROW % count)])

    async def another_writes(self, partition: int, count: int) -> None:
        await self.writer.append(CHANGELOG, partition, [(b"key", ROW % count)])

    def failures_are_not_expected(self, error: BaseException) -> None:
        raise error


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    with EmbeddedBroker() as broker:
        broker.create([CHANGELOG])
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
            world = World(broker.bootstrap, BatchWriter(lambda: producer))
            yield world
            await world.tasks.drain()


def test_every_assigned_partition_gets_a_stage_restored_and_told_so() -> None:
    async def story() -> None:
        async with _world() as world:
            await world.another_writes(1, 7)
            stages = await world.assign(1, 0, 1)
            assert [(processor.partition, processor.is_ready, processor.count()) for processor in stages] == [
                (0, True, 0),
                (1, True, 7),
            ]

    asyncio.run(story())


def test_a_stage_is_kept_when_nobody_else_wrote_and_made_anew_when_somebody_did() -> None:
    async def story() -> None:
        async with _world() as world:
            before = await world.assign(1, 0, 1, 2)
            await world.write(0, 3)
            await world.write(1, 5)
            await world.another_writes(1, 6)
            after = await world.assign(2, 0, 1, 3)
            assert [processor.partition for processor in after] == [0, 1, 3]
            assert after[0] is before[0]
            assert after[1] is not before[1]
            assert [processor.count() for processor in after[1:]] == [6, 0]

    asyncio.run(story())


def test_a_stage_whose_work_was_given_up_is_made_anew() -> None:
    async def story() -> None:
        async with _world() as world:
            (before,) = await world.assign(1, 0)
            for task in world.tasks:
                task.is_settled = False
            (after,) = await world.assign(2, 0)
            assert after is not before

    asyncio.run(story())


def test_a_stage_of_the_rebalance_before_last_is_not_kept() -> None:
    async def story() -> None:
        async with _world() as world:
            (before,) = await world.assign(1, 0)
            await world.assign(2, 1)
            (after,) = await world.assign(3, 0)
            assert after is not before

    asyncio.run(story())


def test_an_empty_assignment_leaves_nothing_to_do() -> None:
    async def story() -> None:
        async with _world() as world:
            assert await world.assign(1) == []

    asyncio.run(story())


def test_topics_that_do_not_come_in_the_same_partitions_are_named() -> None:
    async def story() -> None:
        async with _world() as world:
            with pytest.raises(UnevenAssignmentError, match=r"right came in partitions \[0, 1\], .* in \[0\]"):
                await world.restorer([TP("left", 0), TP("right", 0), TP("right", 1), TP(CHANGELOG, 0)], 1)

    asyncio.run(story())
