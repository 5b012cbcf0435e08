"""A task does one thing after the other: processor, messages, rows, acknowledgement; tasks work side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from time import monotonic

import pytest

from pipeline.kafka.partition_tasks import TaskManager
from pipeline.processing.processor import Message
from tests.support.samples import T0
from tests.support.task_harness import SentMessage, World, until


def test_messages_go_first_then_rows_then_the_chunk_is_acknowledged() -> None:
    async def story() -> None:
        world = World()
        task = world.task()
        task.start()
        await task.put(SentMessage(world.log, "a"))
        await until(lambda: world.work)
        assert world.log == ["process a", "messages a", "rows a", "ack a"]
        assert [(work.topic, work.records, work.processor_name) for work in world.work] == [("in", 1, "kind")]
        await task.close(monotonic())
        assert task.is_settled

    asyncio.run(story())


def test_the_next_chunk_is_worked_on_and_its_messages_sent_before_the_rows_of_the_last_are_safe() -> None:
    async def story() -> None:
        world = World()
        world.hold["rows a"] = asyncio.Event()
        task = world.task()
        task.start()
        await task.put(SentMessage(world.log, "a"))
        await until(lambda: "rows a" in world.log)
        await task.put(SentMessage(world.log, "b"))
        await until(lambda: "messages b" in world.log)
        await asyncio.sleep(0.01)
        assert world.log == ["process a", "messages a", "rows a", "process b", "messages b"]
        world.hold["rows a"].set()
        await until(lambda: len(world.work) == 2)
        assert world.log[5:] == ["ack a", "rows b", "ack b"]
        await task.close(monotonic())
        assert task.is_settled

    asyncio.run(story())


def test_chunks_that_waited_go_the_way_together_in_their_order() -> None:
    async def story() -> None:
        world = World()
        world.hold["messages a"] = asyncio.Event()
        task = world.task()
        task.start()
        for name in ("a", "b"):
            await task.put(SentMessage(world.log, name))
            await until(lambda name=name: f"messages {name}" in world.log)  # type: ignore[misc]
        for name in ("c", "d"):
            await task.put(SentMessage(world.log, name))
        world.hold["messages a"].set()
        await until(lambda: len(world.work) == 3)
        done = [entry for entry in world.log if entry.startswith(("process", "messages"))]
        assert done == [
            "process a",
            "messages a",
            "process b",
            "messages b",
            "process c+d",
            "messages c+d",
        ]
        kept = [entry for entry in world.log if entry.startswith(("rows", "ack"))]
        assert kept == ["rows a", "ack a", "rows b", "ack b", "rows c+d", "ack c", "ack d"]
        await task.close(monotonic())

    asyncio.run(story())


def test_a_full_lane_makes_whoever_puts_wait_and_a_closed_one_forgets() -> None:
    async def story() -> None:
        world = World()
        world.hold["messages a"] = asyncio.Event()
        task = world.task()
        task.start()
        for name in ("a", "b"):
            await task.put(SentMessage(world.log, name))
            await until(lambda name=name: f"messages {name}" in world.log)  # type: ignore[misc]
        await task.put(SentMessage(world.log, "c", records=4))
        waits = asyncio.ensure_future(task.put(SentMessage(world.log, "d")))
        await asyncio.sleep(0.01)
        assert not waits.done()
        closing = asyncio.ensure_future(task.close(monotonic() + 5))
        await asyncio.wait_for(waits, 1)
        world.hold["messages a"].set()
        await closing
        assert world.log == [
            "process a",
            "messages a",
            "process b",
            "messages b",
            "rows a",
            "ack a",
            "rows b",
            "ack b",
        ]
        assert task.is_settled

    asyncio.run(story())


def test_a_sweep_waits_for_its_turn_and_gives_way_to_chunks() -> None:
    async def story() -> None:
        world = World()
        task = world.task()
        task.on_timer()
        await task.put(SentMessage(world.log, "a"))
        assert task.quiet_for() == 0.0
        task.start()
        await until(lambda: world.work)
        task.on_timer()
        await until(lambda: len(world.work) == 2)
        assert world.log == ["process a", "messages a", "rows a", "ack a", "sweep", "rows swept"]
        assert (world.work[-1].topic, world.work[-1].records) == (None, 0)
        await until(lambda: task.quiet_for() > 0)
        await task.close(monotonic())

    asyncio.run(story())


def test_lanes_work_side_by_side_but_not_more_than_there_are_slots() -> None:
    async def story() -> None:
        world = World(slots=2)
        tasks = [world.task(partition) for partition in range(3)]
        for task, name in zip(tasks, "abc", strict=True):
            world.hold[f"messages {name}"] = asyncio.Event()
            task.start()
            await task.put(SentMessage(world.log, name))
        await until(lambda: "messages b" in world.log)
        await asyncio.sleep(0.01)
        assert sorted(world.log) == ["messages a", "messages b", "process a", "process b"]
        for held in world.hold.values():
            held.set()
        await until(lambda: len(world.work) == 3)
        await asyncio.gather(*(task.close(monotonic()) for task in tasks))

    asyncio.run(story())


def test_what_comes_from_another_generation_finds_no_lane() -> None:
    async def story() -> None:
        world = World()
        tasks = TaskManager(world, drain_seconds=1.0)
        task = world.task()
        tasks.open([task], generation=1)
        await tasks.put("kind", SentMessage(world.log, "old", generation=0))
        await tasks.put("other", SentMessage(world.log, "unknown"))
        await tasks.put("kind", SentMessage(world.log, "a"))
        await until(lambda: world.work)
        await tasks.drain()
        await tasks.put("kind", SentMessage(world.log, "late"))
        assert world.log == ["process a", "messages a", "rows a", "ack a"]
        assert tasks.current(("kind", 0)) is task
        tasks.open([], generation=2)
        assert tasks.current(("kind", 0)) is None

    asyncio.run(story())


STRANGE = [-1, 0, 1, 2**62, 32_503_680_000_000]
"""Times of records that are none: none told, the beginning of 1970, and the far future."""


@pytest.mark.parametrize("timestamp", STRANGE)
def test_a_record_of_no_time_gives_none_to_what_follows_from_it(timestamp: int) -> None:
    async def story() -> None:
        world = World()
        sent: list[int | None] = []
        send = world.send

        async def noted(messages: Sequence[Message], timestamp_ms: int | None) -> Awaitable[None]:
            sent.append(timestamp_ms)
            return await send(messages, timestamp_ms)

        world.send = noted  # type: ignore[method-assign]
        task = world.task()
        task.start()
        for number, odd in enumerate((False, True, False)):
            message = SentMessage(world.log, f"{number}")
            message.value.records[0].timestamp = timestamp if odd else T0 + number  # type: ignore[misc]
            await task.put(message)
            await until(lambda done=number: len(world.work) > done)  # type: ignore[misc]
            assert task.applied_ms == {"in": T0 + number - odd}
        await task.close(monotonic())
        assert sent == [T0, None, T0 + 2]

    asyncio.run(story())
