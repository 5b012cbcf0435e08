"""Workers on the embedded broker: what is read is processed once, in order, and survives a restart.

One story, told once for all tests (joining a group takes seconds): two runs of a healthy worker, then one of
a worker whose stage fails, and its restart.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.kafka.app import Control, WorkerConfig, build_app
from pipeline.kafka.changelog import changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import PARTITIONS, EmbeddedBroker
from pipeline.processing.observer import NullObserver, Work
from pipeline.processing.processor import Message, Outcome, ProcessorSpec, Record
from pipeline.worker.process import _stop, run_worker
from tests.support.counting_processor import (
    ECHO,
    SOURCES,
    Counting,
    committed,
    counting_kind,
    produce,
    read_all,
    running,
    state,
    until,
)

pytestmark = pytest.mark.slow

APP = "edge-test"
N = 3_000


class Noting(NullObserver):
    """Notes what the edge says about its work."""

    def __init__(self) -> None:
        self.work: list[Work] = []
        self.received: Counter[str] = Counter()
        self.lags: dict[tuple[str, int], float] = {}

    def done(self, work: Work) -> None:
        self.work.append(work)

    def sent(self, kind: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None:
        self.received["sent"] += len(messages)

    def lag(self, topic: str, partition: int, seconds: float) -> None:
        self.lags[topic, partition] = seconds

    def restoring(self, kind: str, partition: int, rows: int) -> None:
        self.received["restored"] += rows

    def ready(self, kind: str, partition: int) -> None:
        self.received["ready"] += 1

    def closed(self, kind: str, partition: int) -> None:
        self.received["gone"] += 1

    def loop_turned(self) -> None:
        self.received["turned"] += 1


class Witness:
    """Reads one of the other kind's topics, too, and keeps nothing."""

    def __init__(self, seen: list[Record]) -> None:
        self.seen = seen

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        self.seen.extend(records)
        return Outcome()

    def on_timer(self, now_ms: int) -> Outcome:
        return Outcome()

    def restore(self, rows: Any) -> None: ...

    def on_restored(self) -> None: ...


class Failing(Counting):
    """Fails on one record, after others of its chunk; `RecordTooLargeError` is not its only way."""

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        outcome = super().process(topic, records, now_ms)
        if any(record.value == b"poison" for record in records):
            raise ValueError("a stage that cannot go on")
        if any(record.value == b"giant" for record in records):
            outcome.rows.append((b"giant", bytes(2_000_000)))
        return outcome


def _edge(broker: EmbeddedBroker, folder: Path) -> WorkerConfig:
    connection = Connection(broker.bootstrap, embedded=True)
    return WorkerConfig(
        connection,
        APP,
        PARTITIONS,
        session_timeout_s=3.0,
        commit_interval_s=0.3,
        chunk_size=100,
        idle_s=0.5,
        data_dir=folder,
    )


def _records(first: int, last: int) -> list[tuple[str, bytes, bytes]]:
    return [(SOURCES[i % 2], f"key-{i % 37}".encode(), str(i).encode()) for i in range(first, last)]


async def _received(edge: WorkerConfig) -> SimpleNamespace:
    """Tell the story."""
    story = SimpleNamespace(noted=Noting(), again=Noting(), control=[], witnessed=[], first=[], second=[])
    witness = ProcessorSpec("witness", ("left",), lambda _: Witness(story.witnessed))
    control = Control("model-control", lambda record: story.control.append(record.value))
    here = edge.connection

    await produce(here, _records(0, N))
    for model, order in ((b"model", b"shadow"), (b"other", b"promote"), (b"model", b"promote again")):
        await produce(here, [("model-control", model, order)])
    async with running(edge, [counting_kind(story.first), witness], story.noted, control) as (app, code):
        await until(lambda: sum(w.records for w in story.noted.work if w.processor_name == "counting") == N)
        story.control_at_first_chunk = list(story.control)
        await produce(here, [("model-control", b"model", b"retire")])
        await until(lambda: b"retire" in story.control)
        await until(lambda: all(stage.sweeps for stage in story.first))
        app.ended.set()
        story.code = await code
    story.echoes = [r for r in await read_all(here, ECHO) if r.key != b"sweep"]
    story.sweeps = [r for r in await read_all(here, ECHO) if r.key == b"sweep"]
    story.committed = await committed(here, APP, PARTITIONS)
    story.state = await state(here, APP, PARTITIONS)

    await produce(here, _records(N, N + 500))
    async with running(edge, [counting_kind(story.second), witness], story.again):
        await until(lambda: sum(w.records for w in story.again.work if w.processor_name == "counting") == 500)
    story.state_after = await state(here, APP, PARTITIONS)
    return story


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        kinds = [changelog_topic(APP, kind) for kind in ("counting", "witness")]
        broker.create([*SOURCES, ECHO, "model-control", *kinds])
        yield broker


@pytest.fixture(scope="module")
def story(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return asyncio.run(_received(_edge(broker, tmp_path_factory.mktemp("worker"))))


def test_every_record_is_processed_once(story: SimpleNamespace) -> None:
    assert Counter(Counter(r.value for r in story.echoes).values()) == {1: N}


def test_records_of_a_partition_are_processed_in_order(story: SimpleNamespace) -> None:
    by_source: defaultdict[str, list[int]] = defaultdict(list)
    for echo in story.echoes:
        topic, partition, offset = echo.value.decode().split(":")
        assert int(partition) == echo.partition  # same key, same partition count: same partition
        by_source[f"{topic}:{partition}"].append(int(offset))
    assert sum(map(len, by_source.values())) == N
    assert {place: sorted(offsets) for place, offsets in by_source.items()} == by_source


def test_a_stage_sees_at_most_a_chunk_at_once(story: SimpleNamespace) -> None:
    sizes = [work.records for work in story.noted.work if work.topic is not None]
    assert max(sizes) == 100
    assert min(sizes) >= 1


def test_a_worker_told_to_stop_ends_in_order_and_has_committed_everything(story: SimpleNamespace) -> None:
    assert story.code == 0
    assert sum(offset or 0 for offset in story.committed.values()) == N


def test_the_changelog_holds_the_state_of_the_stages(story: SimpleNamespace) -> None:
    in_memory = {key: row for stage in story.first for key, row in stage.rows.items()}
    assert story.state == in_memory
    assert sum(row["count"] for row in story.state.values()) == N


def test_a_restarted_worker_goes_on_from_the_same_state(story: SimpleNamespace) -> None:
    assert [(stage.partition, stage.is_ready) for stage in story.second] == [(p, True) for p in range(PARTITIONS)]
    assert story.again.received["restored"] >= len(story.state)
    assert sum(row["count"] for row in story.state_after.values()) == N + 500
    assert {key: row for stage in story.second for key, row in stage.rows.items()} == story.state_after


def test_an_idle_partition_is_swept_and_what_follows_is_produced(story: SimpleNamespace) -> None:
    swept = {record.value.rpartition(b":")[0] for record in story.sweeps}
    assert swept == {f"sweep:{p}".encode() for p in range(PARTITIONS)}


def test_two_kinds_may_read_the_same_topic(story: SimpleNamespace) -> None:
    assert len({(r.partition, r.offset) for r in story.witnessed}) == len(story.witnessed) == (N + 500) // 2


def test_what_was_said_last_of_each_to_all_is_heard_before_the_first_chunk_and_all_from_then_on(
    story: SimpleNamespace,
) -> None:
    assert story.control_at_first_chunk == [b"promote", b"promote again"]
    assert story.control == [b"promote", b"promote again", b"retire"]


def test_the_observer_is_told_everything(story: SimpleNamespace) -> None:
    details = story.noted.received
    assert details["ready"] == details["gone"] == 2 * PARTITIONS
    assert details["turned"] >= 1
    assert details["sent"] == N + len(story.sweeps)
    assert set(story.noted.lags) == {(topic, p) for topic in SOURCES for p in range(PARTITIONS)}
    assert set(story.noted.lags.values()) == {0.0}


@pytest.mark.parametrize(
    ("bad", "echoed_before_the_end"),
    [(b"poison", 0), (b"giant", 2)],
    ids=["the stage raises", "its row is refused, its messages are out"],
)
def test_what_a_stage_fails_on_ends_the_worker_and_is_read_again(
    story: SimpleNamespace, broker: EmbeddedBroker, tmp_path: Path, bad: bytes, echoed_before_the_end: int
) -> None:
    edge = _edge(broker, tmp_path)
    here = edge.connection

    async def echoes() -> list[Record]:
        return [record for record in await read_all(here, ECHO) if record.key == bad]

    async def fail_and_restart() -> tuple[int, list[Record], list[Record]]:
        await produce(here, [("left", bad, b"good"), ("left", bad, bad)])
        async with running(edge, [ProcessorSpec("counting", SOURCES, Failing)]) as (_, code):
            failed = await asyncio.wait_for(code, 20)
        first = await echoes()
        noted = Noting()
        async with running(edge, [counting_kind()], noted):
            await until(lambda: sum(work.records for work in noted.work) >= 2)
        return failed, first, await echoes()

    code, first, both = asyncio.run(fail_and_restart())
    assert code == 1
    assert len(first) == echoed_before_the_end
    again = [record.value for record in both[len(first) :]]
    assert len(again) == len(set(again)) == 2
    assert [record.value for record in first] in ([], again)
    rows = asyncio.run(state(here, APP, PARTITIONS))
    assert rows[bad]["count"] == 2


def test_a_worker_that_cannot_reach_its_broker_ends_with_a_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edge = WorkerConfig(Connection("127.0.0.1:1"), APP, PARTITIONS, data_dir=tmp_path / "made" / "on-demand")
    app = build_app(edge, [counting_kind()])
    assert run_worker(app) == 1
    app.consumer._thread.thread_loop.close()  # Faust opens it before it tries, and leaves it open
    (log_record,) = [record for record in caplog.records if record.name == "pipeline.worker.process"]
    assert "KafkaConnectionError" in log_record.getMessage()


def test_a_stop_that_the_fallen_consumer_cancels_is_no_orderly_end_but_an_end() -> None:
    class Fallen:
        async def stop(self) -> None:
            raise asyncio.CancelledError

    assert asyncio.run(_stop(Fallen())) is False
