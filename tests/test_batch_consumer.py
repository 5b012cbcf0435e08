"""The consumer's own decisions, without a broker; and that what it stands on in Faust has not moved."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import patch

import aiokafka
import faust
import pytest
from faust.types import TP, ConsumerMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from counting import counting_kind
from pipeline import batch_consumer, faust_parts, fetching
from pipeline.batch_consumer import BatchConsumer, Chunk, Chunks
from pipeline.connection import Connection
from pipeline.faust_parts import PARTS, Part, UnknownFaustError, check_faust, find
from pipeline.fetching import watch_heartbeats
from pipeline.lease import Lease
from pipeline.topology import Edge, build_app
from schemas.topics import TOPICS

READ = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0"}
"""The releases whose source was read when the edge was written."""

SOURCES = {
    "faust.transport.consumer:Consumer._drain_messages": "44a2500309e8",
    "faust.transport.consumer:Consumer._get_active_partitions": "b24897f3c7af",
    "faust.transport.consumer:Consumer._is_changelog_tp": "88867d75cfe9",
    "faust.transport.consumer:Consumer.__init__": "302410d59e69",
    "faust.transport.consumer:Consumer.ack": "5fcf41cf4515",
    "faust.transport.consumer:Consumer._new_offset": "1d2c7ea89a7a",
    "faust.transport.consumer:Consumer._commit_tps": "a20e230b05ae",
    "faust.transport.consumer:Consumer._commit_offsets": "1a6979904118",
    "aiokafka.producer.sender:Sender._send_produce_req": "aea01ae4b6c7",
    "faust.transport.consumer:Consumer._filter_committable_offsets": "dc5e9baf5d99",
    "faust.transport.consumer:Consumer.perform_seek": "0e8c130ff4b0",
    "faust.transport.consumer:Consumer.on_buffer_full": "c8961679e0bc",
    "faust.transport.consumer:Consumer.on_buffer_drop": "4b57e8a418d5",
    "faust.transport.consumer:Fetcher._fetcher.fun": "68f894f0b577",
    "faust.transport.conductor:Conductor._compile_message_handler": "9fbc0538097a",
    "faust.transport.conductor:Conductor._update_tp_index": "e8e3ac9025ef",
    "faust.serializers.schemas:Schema.compile": "d46eec5ce319",
    "faust.transport.consumer:Consumer.on_partitions_revoked": "d04b7ae72c6f",
    "faust.transport.consumer:Consumer.wait_empty": "e4662fe24f09",
    "faust.transport.consumer:Consumer.maybe_wait_for_commit_to_finish": "d687f63a0b5e",
    "faust.transport.consumer:Consumer.on_stop": "45b1d2210ce2",
    "faust.app.base:App._on_partitions_revoked": "d5c895bbe57d",
    "faust.app.base:App._on_partitions_assigned": "de932b7927db",
    "faust.app.base:App._stop_consumer": "55854a5de12c",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start": "38b4e8bd1e10",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "c2701bfc3e6f",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": "39a2c6c79fc1",
    "faust.transport.consumer:ConsumerThread.on_partitions_assigned": "e59e8dda4372",
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "0870ec53dea7",
    "faust.transport.drivers.aiokafka:Producer._settings_extra": "a4c7bc41b638",
    "faust.transport.drivers.aiokafka:Producer._ensure_producer": "5592a4bbdf25",
    "faust.tables.recovery:Recovery._restart_recovery.fun": "6bd8a8558a2d",
    "faust.tables.recovery:Recovery._slurp_changelogs.fun": "7825c7e50f76",
    "faust.tables.recovery:Recovery.on_rebalance": "aa4d997a1795",
    "faust.tables.recovery:Recovery.on_partitions_revoked": "161b5e997f7c",
    "faust.tables.recovery:Recovery.on_recovery_completed": "6ef567acf072",
    "faust.tables.recovery:Recovery._set_recovery_started": "bcfebf81ae13",
    "faust.tables.manager:TableManager.recovery.fget": "f0bf5de78b4c",
    "aiokafka:AIOKafkaConsumer.start": "2f1ba7044332",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": "dc1d6632aaa6",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._heartbeat_routine": "61d010289522",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.request_rejoin": "f70a261c91c3",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "be4348896b9b",
    "aiokafka.consumer.subscription_state:Assignment.state_value": "183fea82ef48",
    "aiokafka.consumer.subscription_state:TopicPartitionState.__init__": "f0b391da1b87",
    "aiokafka.consumer.subscription_state:TopicPartitionState.pause": "6c91801ebcc2",
    "aiokafka.consumer.subscription_state:TopicPartitionState.resume": "8aecb5a6164f",
    "aiokafka:AIOKafkaConsumer.end_offsets": "f4b190785818",
    "aiokafka.client:AIOKafkaClient.send": "246b277687d7",
    "aiokafka.client:AIOKafkaClient.force_metadata_update": "cb7befef21c8",
    "aiokafka.cluster:ClusterMetadata.leader_for_partition": "802f7e4f021d",
    "aiokafka.protocol.fetch:FetchRequest.__init__": "f31b6b74cc94",
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": "59bf948fff47",
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": "b803e6d46480",
    "aiokafka.consumer.fetcher:PartitionRecords.__init__": "8ec1c2ae6ea1",
    "aiokafka.consumer.fetcher:FetchResult.getall": "3e717e30de50",
}
"""The start of the SHA-256 of the source of each part, in these releases."""


# --- What the edge stands on


def test_the_installed_releases_are_those_that_were_read() -> None:
    assert {"faust-streaming": faust.__version__, "aiokafka": aiokafka.__version__} == READ


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.path)
def test_no_part_has_changed_since_it_was_read(part: Part) -> None:
    source = inspect.getsource(inspect.unwrap(find(part.path)))
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    assert SOURCES[part.path] == digest, (
        "read what changed, make the edge fit, and only then write the new digest"
    )


def test_every_part_has_a_digest_and_no_digest_is_left_over() -> None:
    assert sorted(SOURCES) == sorted(part.path for part in PARTS)


def test_the_installed_faust_is_accepted() -> None:
    check_faust()


@pytest.mark.parametrize(
    "moved",
    [
        Part("faust.transport.consumer:Consumer._gone", ("self",)),
        Part("faust.gone:Consumer", ()),
        Part("faust.transport.consumer:Consumer.ack", ("self", "message", "more")),
        Part("faust.transport.consumer:Consumer.ack", ("self", "message"), ("_gone",)),
    ],
    ids=["the method is gone", "the module is gone", "it takes something else", "it uses something else"],
)
def test_a_part_that_moved_is_named_before_anything_starts(moved: Part) -> None:
    with patch.object(faust_parts, "PARTS", (*PARTS, moved)), pytest.raises(UnknownFaustError) as told:
        check_faust()
    assert moved.path in str(told.value)
    assert "constraints.txt" in str(told.value)


def test_another_minor_release_of_faust_is_refused() -> None:
    with (
        patch.object(faust, "__version__", "0.16.0"),
        pytest.raises(UnknownFaustError, match=r"0\.16\.0 is installed"),
    ):
        check_faust()


# --- Its own decisions


class Rec(NamedTuple):
    offset: int
    timestamp: int = 0
    timestamp_type: int = 0


LEFT, RIGHT = TP("left", 0), TP("right", 0)


@contextmanager
def _consumer() -> Iterator[BatchConsumer]:
    """A consumer that is never started."""
    with TemporaryDirectory() as folder:
        edge = Edge(Connection("127.0.0.1:1"), "unit", 1, data_dir=Path(folder), chunk_size=10)
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


def _handed_on(consumer: BatchConsumer, tp: TP, *lasts: int) -> list[ConsumerMessage]:
    consumer._handed_on[tp].extend(lasts)
    return [
        ConsumerMessage(tp.topic, tp.partition, last, 0.0, 0, (), None, None, None, 0, 0, tp)
        for last in lasts
    ]


def test_a_chunk_acknowledged_commits_past_its_last_record(consumer: BatchConsumer) -> None:
    (chunk,) = _handed_on(consumer, LEFT, 41)
    assert consumer._new_offset(LEFT) is None
    consumer.ack(chunk)
    assert consumer._new_offset(LEFT) == 42
    assert consumer._new_offset(LEFT) is None


@settings(deadline=None)
@given(st.permutations(range(6)), st.integers(0, 6))
def test_nothing_is_committed_past_a_chunk_that_is_under_way(order: list[int], acknowledged: int) -> None:
    lasts = [9, 19, 25, 100, 101, 180]  # offsets between them were compacted away
    done = set()
    committed = 0
    with _consumer() as consumer:
        chunks = _handed_on(consumer, LEFT, *lasts)
        for index in order[:acknowledged]:
            consumer.ack(chunks[index])
            done.add(index)
            committed = max(committed, consumer._new_offset(LEFT) or 0)
            finished = next((i for i in range(6) if i not in done), 6)
            assert committed == (lasts[finished - 1] + 1 if finished else 0)


def test_records_from_before_the_position_are_not_taken_again(consumer: BatchConsumer) -> None:
    consumer._next_offset[LEFT] = 7
    consumer._line_up(LEFT, [Rec(5), Rec(6), Rec(7), Rec(8)])
    consumer._line_up(LEFT, [Rec(8)])
    consumer._line_up(LEFT, [Rec(11)])
    tp, records = consumer._lined_up.next_chunk()
    assert (tp, [record.offset for record in records]) == (LEFT, [7, 8, 11])
    assert not consumer._lined_up


def test_records_wait_a_while_for_a_topic_that_may_have_older_ones_to_come(consumer: BatchConsumer) -> None:
    unread = {LEFT: 0, RIGHT: 12}
    consumer._thread.unread = unread.get
    consumer._line_up(LEFT, [Rec(0)])

    def held_back_at(now: float) -> bool:
        with patch.object(batch_consumer, "monotonic", lambda: now):
            return consumer._hold_back({LEFT, RIGHT})

    assert [held_back_at(now) for now in (100.0, 100.4, 100.5)] == [True, True, False]
    consumer._line_up(RIGHT, [Rec(0)])
    assert not held_back_at(101.0)
    consumer._lined_up.next_chunk()
    consumer._lined_up.next_chunk()
    consumer._line_up(LEFT, [Rec(1, timestamp=5_000)])
    assert not held_back_at(200.0)  # not that much later than what RIGHT has brought
    consumer._lined_up.next_chunk()
    consumer._line_up(LEFT, [Rec(2, timestamp=5_001)])
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
        with patch.object(batch_consumer, "monotonic", lambda: now):
            return consumer._are_missed([RIGHT])

    assert missed_at(100.0)
    assert not missed_at(100.001)  # it has just been looked
    consumer._line_up(RIGHT, [Rec(0)])
    assert not missed_at(100.1)
    consumer._lined_up.next_chunk()
    assert [missed_at(now) for now in (101.0, 101.4)] == [True, True]
    consumer._line_up(RIGHT, [Rec(1)])
    consumer._lined_up.next_chunk()
    assert [missed_at(now) for now in (101.6, 102.0)] == [True, True]  # some of it came
    assert not missed_at(102.1)  # where none comes, the others do not wait for good
    unread[RIGHT] = 0
    assert not missed_at(103.0)


def test_every_topic_but_the_masses_of_calls_goes_first(consumer: BatchConsumer) -> None:
    assert {name for name in TOPICS if name not in consumer.reading.lead_ms} == {"api-calls"}
    assert set(consumer.reading.lead_ms.values()) == {60_000}


def test_nothing_is_handed_on_while_the_flow_is_stopped(consumer: BatchConsumer) -> None:
    consumer._line_up(LEFT, [Rec(0)])
    assert not consumer._hold_back({LEFT})
    consumer.stop_flow()
    assert consumer._hold_back({LEFT})


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

    async def seek_to_next(self, sources: set[TP]) -> dict[TP, int]:
        """Go back to what is committed."""
        self.position = self._committed
        return {LEFT: self.position}


def test_what_a_fetch_brings_that_a_rebalance_overtook_is_read_again(consumer: BatchConsumer) -> None:
    """The fetch waits while partitions are given up, assigned and sought; its record comes just then."""
    source = Source(committed=0)
    consumer._thread.getmany, consumer._thread.seek_to_next = source.getmany, source.seek_to_next
    handed_on: list[int] = []

    async def hand_on(tp: TP, records: list[Rec]) -> None:
        handed_on.extend(record.offset for record in records)

    async def rebalanced() -> None:
        consumer._sources, consumer._hand_on = lambda: {LEFT}, hand_on
        consumer._hold_back = lambda sources: not consumer.flow_active
        consumer.assignment = lambda: {LEFT}
        reading = asyncio.ensure_future(consumer._read_and_hand_on())
        await asyncio.sleep(0)
        consumer.stop_flow()
        seeking = asyncio.ensure_future(consumer.perform_seek())
        for _ in range(5):  # as far as it comes
            await asyncio.sleep(0)
        source.come.put_nowait(Rec(0))
        await asyncio.gather(reading, seeking)
        consumer.resume_flow()
        source.come.put_nowait(Rec(1))
        while handed_on[-1:] != [1]:
            await consumer._read_and_hand_on()

    asyncio.run(rebalanced())

    assert handed_on == [0, 1]


def test_a_topic_is_at_its_end_only_when_a_broker_said_so_lately(consumer: BatchConsumer) -> None:
    with patch.object(batch_consumer, "time", lambda: 1_000.0):
        consumer._thread.heard_at = lambda tp: 998.0
        assert consumer.at_end(*LEFT)
        consumer._thread.heard_at = lambda tp: 990.0  # the broker is away
        assert not consumer.at_end(*LEFT)
        consumer._thread.heard_at = lambda tp: 998.0
        consumer._thread.unread = lambda tp: 3
        assert not consumer.at_end(*LEFT)
        consumer._thread.unread = lambda tp: None
        assert not consumer.at_end(*LEFT)
        consumer._thread.unread = lambda tp: 0
        consumer._line_up(LEFT, [Rec(0)])
        assert not consumer.at_end(*LEFT)


@pytest.mark.parametrize(("fallen", "asked"), [(False, ["settle", "wait", "commit"]), (True, ["settle"])])
def test_a_thread_that_has_fallen_is_not_asked_to_commit_for_it_would_not_answer(
    consumer: BatchConsumer, fallen: bool, asked: list[str]
) -> None:
    done: list[str] = []

    def does(what: str) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            done.append(what)

        return do

    consumer.reading = SimpleNamespace(settle=does("settle"))
    consumer.maybe_wait_for_commit_to_finish = does("wait")
    consumer.commit_and_end_transactions = does("commit")

    with patch.object(type(consumer._thread), "should_stop", fallen):
        asyncio.run(consumer.wait_empty())

    assert done == asked


def test_a_chunk_reaches_the_agent_as_it_is() -> None:
    message = ConsumerMessage("left", 0, 1, 0.0, 0, (), b"key", b"", None)
    message.value = Chunk("left", 0, [Rec(0), Rec(1)])
    assert Chunks().loads_value(None, message) is message.value
    assert Chunks().loads_key(None, message) is None


# --- Heartbeats


class Coordinator:
    """What aiokafka's group coordinator shows to who watches its heartbeats."""

    def __init__(self, answer: bool, generation: int = 7, rejoins: bool = False) -> None:
        self._answer = answer
        self.generation = generation
        self._rejoin_needed_fut = SimpleNamespace(done=lambda: rejoins)

    async def _do_heartbeat(self) -> bool:
        return self._answer


@pytest.mark.parametrize(
    ("coordinator", "generation", "prolonged"),
    [
        (Coordinator(answer=True), 7, True),
        (Coordinator(answer=False), 7, False),
        (Coordinator(answer=True, rejoins=True), 7, False),
        (Coordinator(answer=False, generation=-1), None, False),
    ],
    ids=["answered", "not answered", "the group rebalances", "the group goes on without us"],
)
def test_the_lease_lives_on_good_heartbeats(
    coordinator: Coordinator, generation: int | None, prolonged: bool
) -> None:
    lease = Lease(10.0, clock=lambda: 0.0)
    lease.grant(7)
    watch_heartbeats(coordinator, lease)
    with patch.object(fetching, "monotonic", lambda: 1_000.0):
        assert asyncio.run(coordinator._do_heartbeat()) == coordinator._answer
    assert lease.generation == generation
    assert (lease._held[1] == 1_010.0) == prolonged
