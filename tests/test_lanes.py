"""A lane does one thing after the other: stage, messages, rows, acknowledgement; it loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import Any

import pytest
from aiokafka import TopicPartition

from pipeline.batch_consumer import Chunk
from pipeline.changelog import Changelog
from pipeline.lanes import Lane, Lanes, Means
from pipeline.lease import Lease
from pipeline.observe import Unobserved, Work
from pipeline.stage import ChangelogRow, Message, Outcome
from samples import T0


class Rec:
    timestamp = 1_000

    def __init__(self, value: str) -> None:
        self.value = value


class Said:
    """A chunk as Faust delivers it; notes when it is acknowledged."""

    def __init__(self, log: list[str], name: str, records: int = 1, generation: int = 1) -> None:
        self.log = log
        self.name = name
        self.value = Chunk("in", 0, [Rec(name)] * records)  # type: ignore[list-item]
        self.message = type("Message", (), {"generation_id": generation})

    def ack(self) -> bool:
        self.log.append(f"ack {self.name}")
        return True


class World(Unobserved):
    """A stage, an outbox and an observer that note what happens, in order."""

    def __init__(self, slots: int = 8) -> None:
        self.log: list[str] = []
        self.failures: list[BaseException] = []
        self.work: list[Work] = []
        self.hold: dict[str, asyncio.Event] = {}
        self.refused = ""
        self.lease = Lease(60.0)
        self.lease.grant(1)
        self.means = Means(self, asyncio.Semaphore(slots), 4, self, self.failures.append)  # type: ignore[arg-type]

    def lane(self, partition: int = 0) -> Lane:
        place = TopicPartition("changelog", partition)
        changelog = Changelog(self, place, self.lease, 1, 0)  # type: ignore[arg-type]
        return Lane("kind", partition, self, changelog, self.means)  # type: ignore[arg-type]

    def process(self, topic: str, records: Sequence[Any], now_ms: int) -> Outcome:
        name = "+".join(dict.fromkeys(record.value for record in records))
        self.log.append(f"process {name}")
        if "bad" in name:
            raise ValueError(name)
        return Outcome(messages=[Message("out", b"k", name.encode())], rows=[(name.encode(), b"row")])

    def sweep(self, now_ms: int) -> Outcome:
        self.log.append("sweep")
        return Outcome(rows=[(b"swept", None)])

    async def send(self, messages: Sequence[Message], timestamp_ms: int | None) -> Awaitable[None]:
        return self._out("messages", [message.value for message in messages])

    async def append(
        self, topic: str, partition: int, rows: Iterable[ChangelogRow], confirm: Callable[[], Awaitable[None]]
    ) -> int:
        await confirm()
        await self._out("rows", [key for key, _ in rows])
        return 0

    async def _out(self, what: str, names: list[bytes]) -> None:
        entry = f"{what} {b'+'.join(names).decode()}"
        self.log.append(entry)
        if entry in self.hold:
            await self.hold[entry].wait()
        if entry == self.refused:
            raise ValueError(entry)

    def done(self, work: Work) -> None:
        self.work.append(work)


async def _until(true: Callable[[], object]) -> None:
    deadline = monotonic() + 5
    while not true():
        assert monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0)


def test_messages_go_first_then_rows_then_the_chunk_is_acknowledged() -> None:
    async def story() -> None:
        world = World()
        lane = world.lane()
        lane.start()
        await lane.put(Said(world.log, "a"))
        await _until(lambda: world.work)
        assert world.log == ["process a", "messages a", "rows a", "ack a"]
        assert [(work.topic, work.records, work.kind) for work in world.work] == [("in", 1, "kind")]
        await lane.close(monotonic())
        assert lane.is_settled

    asyncio.run(story())


def test_the_next_chunk_is_worked_on_and_its_messages_sent_before_the_rows_of_the_last_are_safe() -> None:
    async def story() -> None:
        world = World()
        world.hold["rows a"] = asyncio.Event()
        lane = world.lane()
        lane.start()
        await lane.put(Said(world.log, "a"))
        await _until(lambda: "rows a" in world.log)
        await lane.put(Said(world.log, "b"))
        await _until(lambda: "messages b" in world.log)
        await asyncio.sleep(0.01)
        assert world.log == ["process a", "messages a", "rows a", "process b", "messages b"]
        world.hold["rows a"].set()
        await _until(lambda: len(world.work) == 2)
        assert world.log[5:] == ["ack a", "rows b", "ack b"]
        await lane.close(monotonic())
        assert lane.is_settled

    asyncio.run(story())


def test_when_rows_are_refused_those_of_the_next_chunk_are_not_written_either() -> None:
    async def story() -> None:
        world = World()
        world.hold["rows a"] = asyncio.Event()
        world.refused = "rows a"
        lane = world.lane()
        lane.start()
        await lane.put(Said(world.log, "a"))
        await _until(lambda: "rows a" in world.log)
        await lane.put(Said(world.log, "b"))
        await _until(lambda: "messages b" in world.log)
        world.hold["rows a"].set()
        await _until(lambda: world.failures)
        await asyncio.sleep(0.01)
        assert world.log == ["process a", "messages a", "rows a", "process b", "messages b"]
        assert [str(error) for error in world.failures] == ["rows a"]
        assert not lane.is_settled
        await lane.close(monotonic())

    asyncio.run(story())


def test_chunks_that_waited_go_the_way_together_in_their_order() -> None:
    async def story() -> None:
        world = World()
        world.hold["messages a"] = asyncio.Event()
        lane = world.lane()
        lane.start()
        for name in ("a", "b"):
            await lane.put(Said(world.log, name))
            await _until(lambda name=name: f"messages {name}" in world.log)  # type: ignore[misc]
        for name in ("c", "d"):
            await lane.put(Said(world.log, name))
        world.hold["messages a"].set()
        await _until(lambda: len(world.work) == 3)
        done = [entry for entry in world.log if entry.startswith(("process", "messages"))]
        assert done == [
            "process a", "messages a", "process b", "messages b", "process c+d", "messages c+d",
        ]  # fmt: skip
        kept = [entry for entry in world.log if entry.startswith(("rows", "ack"))]
        assert kept == ["rows a", "ack a", "rows b", "ack b", "rows c+d", "ack c", "ack d"]
        await lane.close(monotonic())

    asyncio.run(story())


def test_a_full_lane_makes_whoever_puts_wait_and_a_closed_one_forgets() -> None:
    async def story() -> None:
        world = World()
        world.hold["messages a"] = asyncio.Event()
        lane = world.lane()
        lane.start()
        for name in ("a", "b"):
            await lane.put(Said(world.log, name))
            await _until(lambda name=name: f"messages {name}" in world.log)  # type: ignore[misc]
        await lane.put(Said(world.log, "c", records=4))
        waits = asyncio.ensure_future(lane.put(Said(world.log, "d")))
        await asyncio.sleep(0.01)
        assert not waits.done()
        closing = asyncio.ensure_future(lane.close(monotonic() + 5))
        await asyncio.wait_for(waits, 1)
        world.hold["messages a"].set()
        await closing
        assert world.log == [
            "process a", "messages a", "process b", "messages b", "rows a", "ack a", "rows b", "ack b",
        ]  # fmt: skip
        assert lane.is_settled

    asyncio.run(story())


def test_work_that_outlasts_the_deadline_is_given_up_and_its_stage_not_kept() -> None:
    async def story() -> None:
        world = World()
        world.hold["rows a"] = asyncio.Event()
        lane = world.lane()
        lane.start()
        await lane.put(Said(world.log, "a"))
        await _until(lambda: "rows a" in world.log)
        await lane.close(monotonic() + 0.05)
        await asyncio.sleep(0)
        assert "ack a" not in world.log
        assert not lane.is_settled
        assert world.failures == []

    asyncio.run(story())


@pytest.mark.parametrize("closed", [False, True])
def test_after_a_failure_nothing_more_is_done_or_acknowledged(closed: bool) -> None:
    async def story() -> None:
        world = World()
        lane = world.lane()
        await lane.put(Said(world.log, "bad"))
        await lane.put(Said(world.log, "good"))
        lane.start()
        if closed:
            await _until(lambda: "process bad+good" in world.log)
            await lane.close(monotonic() + 1)
        await _until(lambda: world.failures)
        await asyncio.sleep(0.01)
        assert world.log == ["process bad+good"]
        assert [str(error) for error in world.failures] == ["bad+good"]
        assert not lane.is_settled

    asyncio.run(story())


def test_a_lost_partition_is_no_failure_and_nothing_is_sent() -> None:
    async def story() -> None:
        world = World()
        lane = world.lane()
        lane.start()
        world.lease.end()
        await lane.put(Said(world.log, "a"))
        await _until(lambda: not lane.is_settled)
        assert world.log == ["process a"]
        assert world.failures == []
        await lane.close(monotonic())

    asyncio.run(story())


def test_a_partition_lost_after_the_messages_gets_no_rows() -> None:
    async def story() -> None:
        world = World()
        world.hold["messages a"] = asyncio.Event()
        lane = world.lane()
        lane.start()
        await lane.put(Said(world.log, "a"))
        await _until(lambda: "messages a" in world.log)
        world.lease.end()
        world.hold["messages a"].set()
        await _until(lambda: not lane.is_settled)
        assert world.log == ["process a", "messages a"]
        await lane.close(monotonic())

    asyncio.run(story())


def test_a_sweep_waits_for_its_turn_and_gives_way_to_chunks() -> None:
    async def story() -> None:
        world = World()
        lane = world.lane()
        lane.sweep()
        await lane.put(Said(world.log, "a"))
        assert lane.quiet_for() == 0.0
        lane.start()
        await _until(lambda: world.work)
        lane.sweep()
        await _until(lambda: len(world.work) == 2)
        assert world.log == ["process a", "messages a", "rows a", "ack a", "sweep", "rows swept"]
        assert (world.work[-1].topic, world.work[-1].records) == (None, 0)
        await _until(lambda: lane.quiet_for() > 0)
        await lane.close(monotonic())

    asyncio.run(story())


def test_lanes_work_side_by_side_but_not_more_than_there_are_slots() -> None:
    async def story() -> None:
        world = World(slots=2)
        lanes = [world.lane(partition) for partition in range(3)]
        for lane, name in zip(lanes, "abc", strict=True):
            world.hold[f"messages {name}"] = asyncio.Event()
            lane.start()
            await lane.put(Said(world.log, name))
        await _until(lambda: "messages b" in world.log)
        await asyncio.sleep(0.01)
        assert sorted(world.log) == ["messages a", "messages b", "process a", "process b"]
        for held in world.hold.values():
            held.set()
        await _until(lambda: len(world.work) == 3)
        await asyncio.gather(*(lane.close(monotonic()) for lane in lanes))

    asyncio.run(story())


def test_what_comes_from_another_generation_finds_no_lane() -> None:
    async def story() -> None:
        world = World()
        lanes = Lanes(world, drain_seconds=1.0)
        lane = world.lane()
        lanes.open([lane], generation=1)
        await lanes.put("kind", Said(world.log, "old", generation=0))
        await lanes.put("other", Said(world.log, "unknown"))
        await lanes.put("kind", Said(world.log, "a"))
        await _until(lambda: world.work)
        await lanes.settle()
        await lanes.put("kind", Said(world.log, "late"))
        assert world.log == ["process a", "messages a", "rows a", "ack a"]
        assert lanes.settled(("kind", 0)) is lane
        lanes.open([], generation=2)
        assert lanes.settled(("kind", 0)) is None

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
        lane = world.lane()
        lane.start()
        for number, odd in enumerate((False, True, False)):
            said = Said(world.log, f"{number}")
            said.value.records[0].timestamp = timestamp if odd else T0 + number  # type: ignore[misc]
            await lane.put(said)
            await _until(lambda done=number: len(world.work) > done)  # type: ignore[misc]
            assert lane.applied_ms == {"in": T0 + number - odd}
        await lane.close(monotonic())
        assert sent == [T0, None, T0 + 2]

    asyncio.run(story())
