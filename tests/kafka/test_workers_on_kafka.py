"""Workers on Apache Kafka, joined, stopped, killed, frozen: nothing is missing and state is exact.

Uses the broker at SESSION_RISK_BROKER, or starts one of its own with deploy/kafka/run.sh.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.kafka.app import WorkerConfig
from pipeline.kafka.changelog import changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import (
    CHANGELOG_CONFIG,
    NeededTopic,
    TopicsNotReadyError,
    check_topics,
    create_topics,
    needed_topics,
)
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

pytestmark = pytest.mark.kafka

HERE = Path(__file__).parent.parent
PARTITIONS = 4
N = 20_000
CHUNK = 64


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("SESSION_RISK_BROKER"):
        yield given
        return
    with _free_ports() as port:
        pass
    folder = tmp_path_factory.mktemp("kafka")
    script = HERE.parent / "deploy" / "kafka" / "run.sh"
    broker = subprocess.Popen([str(script), str(folder), str(port)], env={**os.environ, "KAFKA_HEAP_OPTS": "-Xmx1g"})
    try:
        _until(lambda: _answers(port), 90)
        yield f"127.0.0.1:{port}"
    finally:
        broker.terminate()
        broker.wait(30)


@contextmanager
def _free_ports() -> Iterator[int]:
    """Find a free port whose successor is free, too: the broker's and its controller's."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            yield port
            return


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


class Fleet:
    """Workers of one group, as processes, and the topics they read and write."""

    def __init__(self, bootstrap: str) -> None:
        self.connection = Connection(bootstrap)
        self.app_id = f"fleet-{uuid4().hex[:8]}"
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, pause_ms: int = 20) -> subprocess.Popen[bytes]:
        arguments = [self.connection.bootstrap, self.app_id, str(PARTITIONS), str(pause_ms)]
        worker = subprocess.Popen(
            [sys.executable, str(HERE / "support" / "counting_processor.py"), *arguments],
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )
        self._workers.append(worker)
        return worker

    def wait_for_commits(self, at_least: int, seconds: float = 60) -> None:
        _until(lambda: self.committed() >= at_least, seconds)

    def committed(self) -> int:
        offsets = asyncio.run(committed(self.connection, self.app_id, PARTITIONS))
        return sum(offset or 0 for offset in offsets.values()) - self.offset_before

    def end(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                worker.wait(10)

    def fresh_topics(self) -> None:
        names = [*SOURCES, ECHO, changelog_topic(self.app_id, "counting")]
        asyncio.run(_delete(self.connection, [*SOURCES, ECHO]))
        topics = [NeededTopic(name, PARTITIONS, {}) for name in names]
        _until(lambda: self._made(topics), 20)
        self.offset_before = 0

    def _made(self, topics: list[NeededTopic]) -> bool:
        try:
            asyncio.run(create_topics(self.connection, topics, 1))
            asyncio.run(check_topics(self.connection, topics))
        except TopicsNotReadyError:  # a deletion takes its time
            return False
        return True

    def fill(self, first: int = 0, last: int = N) -> None:
        asyncio.run(self.produce(first, last))

    async def produce(self, first: int, last: int) -> None:
        records = [(SOURCES[i % 2], f"key-{i % 211}".encode(), str(i).encode()) for i in range(first, last)]
        await produce(self.connection, records)

    def repeats(self, records: int = N) -> tuple[int, int]:
        """Check that every one of *records* was echoed and counted.

        Returns how many were echoed again, and how many came again and were known.
        """
        echoes = Counter(record.value for record in asyncio.run(read_all(self.connection, ECHO)))
        echoes = Counter({value: n for value, n in echoes.items() if not (value or b"").startswith(b"sweep")})
        assert len(echoes) == records
        rows = asyncio.run(state(self.connection, self.app_id, PARTITIONS)).values()
        assert sum(row["count"] for row in rows) == records
        return echoes.total() - records, sum(row["again"] for row in rows)


async def _delete(connection: Connection, names: list[str]) -> None:
    admin = AIOKafkaAdminClient(**connection.for_aiokafka())
    await admin.start()
    try:
        await admin.delete_topics(names)
    finally:
        await admin.close()


@pytest.fixture
def fleet(bootstrap: str) -> Iterator[Fleet]:
    fleet = Fleet(bootstrap)
    fleet.fresh_topics()
    yield fleet
    fleet.end()


def test_a_second_worker_joins_and_nothing_is_missing_or_repeated(fleet: Fleet) -> None:
    fleet.fill()
    first = fleet.start()
    fleet.wait_for_commits(N // 10)
    second = fleet.start()
    fleet.wait_for_commits(N)
    for worker in (first, second):
        worker.terminate()
    assert [first.wait(30), second.wait(30)] == [0, 0]
    assert fleet.repeats() == (0, 0)


def test_a_worker_keeps_the_stages_of_the_partitions_it_keeps(fleet: Fleet, tmp_path: Path) -> None:
    ones: list[Counting] = []
    twos: list[Counting] = []

    def counted() -> int:
        newest = {stage.partition: stage for stage in ones}
        for stage in twos:
            if stage.count() > newest[stage.partition].count():
                newest[stage.partition] = stage
        return sum(stage.count() for stage in newest.values())

    async def join_and_leave() -> None:
        edge = WorkerConfig(fleet.connection, fleet.app_id, PARTITIONS, session_timeout_s=6.0, data_dir=tmp_path)
        async with running(edge, [counting_kind(ones)]):
            await until(lambda: counted() == N)
            async with running(edge, [counting_kind(twos)]):
                await until(lambda: len(twos) == PARTITIONS // 2 and all(stage.is_ready for stage in twos))
                await fleet.produce(N, N + 1_000)
                await until(lambda: counted() == N + 1_000)
            await until(lambda: len(ones) == PARTITIONS + PARTITIONS // 2)
            await fleet.produce(N + 1_000, N + 1_100)
            await until(lambda: counted() == N + 1_100)

    fleet.fill()
    asyncio.run(join_and_leave())
    moved = sorted(stage.partition for stage in twos)
    assert [stage.partition for stage in ones] == [*range(PARTITIONS), *moved]
    newest = {stage.partition: stage for stage in ones}
    in_memory = {key: row for stage in newest.values() for key, row in stage.rows.items()}
    assert in_memory == asyncio.run(state(fleet.connection, fleet.app_id, PARTITIONS))
    assert fleet.repeats(N + 1_100) == (0, 0)


def test_a_worker_told_to_stop_and_started_again_repeats_nothing(fleet: Fleet) -> None:
    fleet.fill()
    first = fleet.start()
    fleet.wait_for_commits(N // 4)
    first.terminate()
    assert first.wait(30) == 0
    assert N // 4 <= fleet.committed() < N
    second = fleet.start(pause_ms=0)
    fleet.wait_for_commits(N)
    second.terminate()
    assert second.wait(30) == 0
    assert fleet.repeats() == (0, 0)


def test_a_killed_worker_loses_nothing_and_repeats_at_most_what_was_under_way(fleet: Fleet) -> None:
    fleet.fill()
    first = fleet.start()
    fleet.wait_for_commits(N // 4)
    first.kill()
    first.wait(10)
    second = fleet.start(pause_ms=0)
    fleet.wait_for_commits(N)
    second.terminate()
    assert second.wait(30) == 0
    echoed_again, known = fleet.repeats()
    assert echoed_again <= PARTITIONS * 2 * CHUNK  # their rows were not written yet
    assert known <= N // 2  # their offsets were not committed yet


def test_a_frozen_worker_that_wakes_up_writes_nothing_more(fleet: Fleet) -> None:
    fleet.fill()
    frozen = fleet.start(pause_ms=50)  # long chunks: one is under way when it freezes
    fleet.wait_for_commits(N // 10)
    frozen.send_signal(signal.SIGSTOP)
    second = fleet.start(pause_ms=0)
    fleet.wait_for_commits(N)
    fleet.fill(N, N + 1000)
    frozen.send_signal(signal.SIGCONT)
    fleet.wait_for_commits(N + 1000)
    for worker in (frozen, second):
        worker.terminate()
    assert [frozen.wait(30), second.wait(30)] == [0, 0]
    echoed_again, _ = fleet.repeats(N + 1000)
    assert echoed_again <= PARTITIONS * 2 * CHUNK


def test_topics_are_made_as_declared_and_looked_at(bootstrap: str) -> None:
    connection = Connection(bootstrap)
    app_id = f"topics-{uuid4().hex[:8]}"
    topics = needed_topics(app_id, ["session"], PARTITIONS)
    changelog = topics[-1]
    with pytest.raises(TopicsNotReadyError, match=changelog.name):
        asyncio.run(check_topics(connection, [changelog]))
    assert asyncio.run(create_topics(connection, [changelog], 1)) == [changelog.name]
    assert asyncio.run(create_topics(connection, [changelog], 1)) == []
    asyncio.run(check_topics(connection, [changelog]))
    with pytest.raises(TopicsNotReadyError, match="has 4, not 5"):
        asyncio.run(check_topics(connection, [NeededTopic(changelog.name, 5, CHANGELOG_CONFIG)]))
