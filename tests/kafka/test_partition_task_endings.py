"""How a task ends when rows are refused, time is up, work fails or its partition is lost: nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest

from pipeline.kafka.partition_tasks import PartitionTask
from tests.support.task_harness import SentMessage, World, until


async def _rows_of_a_are_refused(world: World, b_is_there: Callable[[], object]) -> PartitionTask:
    """A task to which b was given while the rows of a were on their way, which are then refused."""
    world.hold["rows a"] = asyncio.Event()
    world.refused = "rows a"
    task = world.task()
    task.start()
    await task.put(SentMessage(world.log, "a"))
    await until(lambda: "rows a" in world.log)
    await task.put(SentMessage(world.log, "b"))
    await until(b_is_there)
    await asyncio.sleep(0.01)
    world.hold["rows a"].set()
    await until(lambda: world.failures)
    await asyncio.sleep(0.01)
    await task.close(monotonic())
    return task


def test_when_rows_are_refused_those_of_the_next_chunk_are_not_written_either() -> None:
    world = World()
    task = asyncio.run(_rows_of_a_are_refused(world, lambda: "messages b" in world.log))

    assert world.log == ["process a", "messages a", "rows a", "process b", "messages b"]
    assert [str(error) for error in world.failures] == ["rows a"]
    assert not task.is_settled


def test_a_chunk_that_waits_for_a_slot_when_the_one_before_it_is_refused_is_not_worked_on() -> None:
    world = World(slots=1)
    task = asyncio.run(_rows_of_a_are_refused(world, world.resources.slots.locked))

    assert world.log == ["process a", "messages a", "rows a"]
    assert not task.is_settled
    assert not world.resources.slots.locked()


def test_work_that_outlasts_the_deadline_is_given_up_and_its_stage_not_kept() -> None:
    async def story() -> None:
        world = World()
        world.hold["rows a"] = asyncio.Event()
        task = world.task()
        task.start()
        await task.put(SentMessage(world.log, "a"))
        await until(lambda: "rows a" in world.log)
        await task.close(monotonic() + 0.05)
        await asyncio.sleep(0)
        assert "ack a" not in world.log
        assert not task.is_settled
        assert world.failures == []

    asyncio.run(story())


@pytest.mark.parametrize("closed", [False, True])
def test_after_a_failure_nothing_more_is_done_or_acknowledged(closed: bool) -> None:
    async def story() -> None:
        world = World()
        task = world.task()
        await task.put(SentMessage(world.log, "bad"))
        await task.put(SentMessage(world.log, "good"))
        task.start()
        if closed:
            await until(lambda: "process bad+good" in world.log)
            await task.close(monotonic() + 1)
        await until(lambda: world.failures)
        await asyncio.sleep(0.01)
        assert world.log == ["process bad+good"]
        assert [str(error) for error in world.failures] == ["bad+good"]
        assert not task.is_settled

    asyncio.run(story())


def test_a_lost_partition_is_no_failure_and_nothing_is_sent() -> None:
    async def story() -> None:
        world = World()
        task = world.task()
        task.start()
        world.lease.end()
        await task.put(SentMessage(world.log, "a"))
        await until(lambda: not task.is_settled)
        assert world.log == ["process a"]
        assert world.failures == []
        await task.close(monotonic())

    asyncio.run(story())


def test_a_partition_lost_after_the_messages_gets_no_rows() -> None:
    async def story() -> None:
        world = World()
        world.hold["messages a"] = asyncio.Event()
        task = world.task()
        task.start()
        await task.put(SentMessage(world.log, "a"))
        await until(lambda: "messages a" in world.log)
        world.lease.end()
        world.hold["messages a"].set()
        await until(lambda: not task.is_settled)
        assert world.log == ["process a", "messages a"]
        await task.close(monotonic())

    asyncio.run(story())
