"""The consumer's own decisions, without a broker: what is taken, handed on, waited for and committed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import patch

import pytest
from faust.types import TP, ConsumerMessage
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka import consumer as kafka_consumer
from pipeline.kafka.app import WorkerConfig, build_app
from pipeline.kafka.chunk import Chunk, ChunkSchema
from pipeline.kafka.connection import Connection
from pipeline.kafka.consumer import BatchConsumer
from schemas.topics import TOPICS
from tests.support.counting_processor import counting_kind


class Rec(NamedTuple):
    offset: int
    timestamp: int = 0
    timestamp_type: int = 0


LEFT, RIGHT = TP("left", 0), TP("right", 0)


@contextmanager
def _consumer() -> Iterator[BatchConsumer]:
    """A consumer that is never started."""
    with TemporaryDirectory() as folder:
        edge = WorkerConfig(Connection("127.0.0.1:1"), "unit", 1, data_dir=Path(folder), chunk_size=10)
        app = build_app(edge, [counting_kind()])
    app.topics._acking_topics.update({"left", "right"})
    consumer = app.consumer
    assert isinstance(consumer, BatchConsumer)
    consumer._thread.unread = lambda tp: 0
    try:
        yield consumer
    finally:
        consumer._thread.thread_loop.close()


@pytest.fixture
def consumer() -> Iterator[BatchConsumer]:
    with _consumer() as consumer:
        yield consumer


def _delivered(consumer: BatchConsumer, tp: TP, *lasts: int) -> list[ConsumerMessage]:
    consumer._delivered[tp].extend(lasts)
    return [ConsumerMessage(tp.topic, tp.partition, last, 0.0, 0, (), None, None, None, 0, 0, tp) for last in lasts]


def test_a_chunk_acknowledged_commits_past_its_last_record(consumer: BatchConsumer) -> None:
    (chunk,) = _delivered(consumer, LEFT, 41)
    assert consumer._new_offset(LEFT) is None
    consumer.ack(chunk)
    assert consumer._new_offset(LEFT) == 42
    assert consumer._new_offset(LEFT) is None


@given(st.permutations(range(6)), st.integers(0, 6))
def test_nothing_is_committed_past_a_chunk_that_is_under_way(order: list[int], acknowledged: int) -> None:
    lasts = [9, 19, 25, 100, 101, 180]  # offsets between them were compacted away
    done = set()
    committed = 0
    with _consumer() as consumer:
        chunks = _delivered(consumer, LEFT, *lasts)
        for index in order[:acknowledged]:
            consumer.ack(chunks[index])
            done.add(index)
            committed = max(committed, consumer._new_offset(LEFT) or 0)
            finished = next((i for i in range(6) if i not in done), 6)
            assert committed == (lasts[finished - 1] + 1 if finished else 0)


def test_records_from_before_the_position_are_not_taken_again(consumer: BatchConsumer) -> None:
    consumer._next_offset[LEFT] = 7
    consumer._enqueue(LEFT, [Rec(5), Rec(6), Rec(7), Rec(8)])
    consumer._enqueue(LEFT, [Rec(8)])
    consumer._enqueue(LEFT, [Rec(11)])
    tp, records = consumer._aligner.next_chunk()
    assert (tp, [record.offset for record in records]) == (LEFT, [7, 8, 11])
    assert not consumer._aligner


def test_records_wait_a_while_for_a_topic_that_may_have_older_ones_to_come(consumer: BatchConsumer) -> None:
    unread = {LEFT: 0, RIGHT: 12}
    consumer._thread.unread = unread.get
    consumer._enqueue(LEFT, [Rec(0)])

    def held_back_at(now: float) -> bool:
        with patch.object(kafka_consumer, "monotonic", lambda: now):
            return consumer._must_hold({LEFT, RIGHT})

    assert [held_back_at(now) for now in (100.0, 100.4, 100.5)] == [True, True, False]
    consumer._enqueue(RIGHT, [Rec(0)])
    assert not held_back_at(101.0)
    consumer._aligner.next_chunk()
    consumer._aligner.next_chunk()
    consumer._enqueue(LEFT, [Rec(1, timestamp=5_000)])
    assert not held_back_at(200.0)  # not that much later than what RIGHT has brought
    consumer._aligner.next_chunk()
    consumer._enqueue(LEFT, [Rec(2, timestamp=5_001)])
    assert [held_back_at(now) for now in (300.0, 300.5)] == [True, False]
    unread[RIGHT] = 0
    assert not held_back_at(400.0)


def test_what_goes_first_is_fetched_before_all_that_is_lined_up_is_handed_on(
    consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unread = {RIGHT: 5}
    consumer._thread.unread = unread.get
    monkeypatch.setattr(consumer, "_lead_ms", {LEFT: 0, RIGHT: 60_000}.__getitem__)

    def missed_at(now: float) -> bool:
        with patch.object(kafka_consumer, "monotonic", lambda: now):
            return consumer._priority_is_waiting([RIGHT])

    assert missed_at(100.0)
    assert not missed_at(100.001)  # it has just been looked
    consumer._enqueue(RIGHT, [Rec(0)])
    assert not missed_at(100.1)
    consumer._aligner.next_chunk()
    assert [missed_at(now) for now in (101.0, 101.4)] == [True, True]
    consumer._enqueue(RIGHT, [Rec(1)])
    consumer._aligner.next_chunk()
    assert [missed_at(now) for now in (101.6, 102.0)] == [True, True]  # some of it came
    assert not missed_at(102.1)  # where none comes, the others do not wait for good
    unread[RIGHT] = 0
    assert not missed_at(103.0)


def test_every_topic_but_the_masses_of_calls_goes_first(consumer: BatchConsumer) -> None:
    assert {name for name in TOPICS if name not in consumer.consumer_config.lead_ms} == {"api-calls"}
    assert set(consumer.consumer_config.lead_ms.values()) == {60_000}


def test_nothing_is_handed_on_while_the_flow_is_stopped(consumer: BatchConsumer) -> None:
    consumer._enqueue(LEFT, [Rec(0)])
    assert not consumer._must_hold({LEFT})
    consumer.stop_flow()
    assert consumer._must_hold({LEFT})


class Source:
    """What a consumer's thread reads: a topic-partition of which *committed* is the next."""

    def __init__(self, committed: int) -> None:
        self.position = self._committed = committed
        self.come: asyncio.Queue[Rec] = asyncio.Queue()
        self.kept: list[Rec] = []

    async def getmany(self, wanted: set[TP], seconds: float) -> dict[TP, list[Rec]]:
        """Records from the position on; waits for one where there is none."""
        if not (records := self.kept[self.position :]):
            self.kept.append(await self.come.get())
            records = self.kept[self.position :]
        self.position = len(self.kept)
        return {LEFT: records}

    async def rewind_to_committed(self, sources: set[TP]) -> dict[TP, int]:
        """Go back to what is committed."""
        self.position = self._committed
        return {LEFT: self.position}


def test_what_a_fetch_brings_that_a_rebalance_overtook_is_read_again(consumer: BatchConsumer) -> None:
    """The fetch waits while partitions are given up, assigned and sought; its record comes just then."""
    source = Source(committed=0)
    consumer._thread.getmany, consumer._thread.rewind_to_committed = source.getmany, source.rewind_to_committed
    delivered: list[int] = []

    async def hand_on(tp: TP, records: list[Rec]) -> None:
        delivered.extend(record.offset for record in records)

    async def rebalanced() -> None:
        consumer._sources, consumer._deliver = lambda: {LEFT}, hand_on
        consumer._must_hold = lambda sources: not consumer.flow_active
        consumer.assignment = lambda: {LEFT}
        reading = asyncio.ensure_future(consumer._read_and_deliver())
        await asyncio.sleep(0)
        consumer.stop_flow()
        seeking = asyncio.ensure_future(consumer.perform_seek())
        for _ in range(5):  # as far as it comes
            await asyncio.sleep(0)
        source.come.put_nowait(Rec(0))
        await asyncio.gather(reading, seeking)
        consumer.resume_flow()
        source.come.put_nowait(Rec(1))
        while delivered[-1:] != [1]:
            await consumer._read_and_deliver()

    asyncio.run(rebalanced())

    assert delivered == [0, 1]


def test_a_topic_is_at_its_end_only_when_a_broker_said_so_lately(consumer: BatchConsumer) -> None:
    with patch.object(kafka_consumer, "time", lambda: 1_000.0):
        consumer._thread.last_fetch_at = lambda tp: 998.0
        assert consumer.at_end(*LEFT)
        consumer._thread.last_fetch_at = lambda tp: 990.0  # the broker is away
        assert not consumer.at_end(*LEFT)
        consumer._thread.last_fetch_at = lambda tp: 998.0
        consumer._thread.unread = lambda tp: 3
        assert not consumer.at_end(*LEFT)
        consumer._thread.unread = lambda tp: None
        assert not consumer.at_end(*LEFT)
        consumer._thread.unread = lambda tp: 0
        consumer._enqueue(LEFT, [Rec(0)])
        assert not consumer.at_end(*LEFT)


@pytest.mark.parametrize(("fallen", "asked"), [(False, ["drain", "wait", "commit"]), (True, ["drain"])])
def test_a_thread_that_has_fallen_is_not_asked_to_commit_for_it_would_not_answer(
    consumer: BatchConsumer, fallen: bool, asked: list[str]
) -> None:
    done: list[str] = []

    def does(what: str) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            done.append(what)

        return do

    consumer.consumer_config = SimpleNamespace(drain=does("drain"))
    consumer.maybe_wait_for_commit_to_finish = does("wait")
    consumer.commit_and_end_transactions = does("commit")

    with patch.object(type(consumer._thread), "should_stop", fallen):
        asyncio.run(consumer.wait_empty())

    assert done == asked


def test_a_worker_that_stops_waits_for_no_broker_and_may_write_nothing_any_more(
    consumer: BatchConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    consumer.consumer_config.lease.grant(3)
    consumer.commit_and_end_transactions = never
    with (
        patch.object(type(consumer.app), "should_stop", True),
        patch.object(kafka_consumer, "COMMIT_SECONDS", 0.01),
    ):
        asyncio.run(consumer.wait_empty())

    assert consumer.consumer_config.lease.generation is None
    assert caplog.messages == ["no broker accepts the last offsets; their records will be read again"]


def test_a_worker_that_gives_partitions_back_may_still_write_for_those_it_keeps(
    consumer: BatchConsumer,
) -> None:
    async def done() -> None:
        """Nothing is left to commit."""

    consumer.consumer_config.lease.grant(3)
    consumer.commit_and_end_transactions = done
    asyncio.run(consumer.wait_empty())
    assert consumer.consumer_config.lease.generation == 3


def test_what_brokers_say_of_the_last_commit_is_not_lost(consumer: BatchConsumer) -> None:
    async def refused() -> None:
        raise ConnectionError("not for you")

    consumer.commit_and_end_transactions = refused
    with (
        patch.object(type(consumer.app), "should_stop", True),
        pytest.raises(ConnectionError, match="not for"),
    ):
        asyncio.run(consumer.wait_empty())


def test_a_chunk_reaches_the_agent_as_it_is() -> None:
    message = ConsumerMessage("left", 0, 1, 0.0, 0, (), b"key", b"", None)
    message.value = Chunk("left", 0, [Rec(0), Rec(1)])
    assert ChunkSchema().loads_value(None, message) is message.value
    assert ChunkSchema().loads_key(None, message) is None
