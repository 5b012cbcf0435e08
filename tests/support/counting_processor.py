"""A stage for tests of the edge: counts records by key, echoes each, and knows those that come again.

Run as a program it is a worker: PYTHONPATH=. python tests/support/counting_processor.py BOOTSTRAP APP_ID PARTITIONS
[PAUSE_MS].
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiokafka

from pipeline.kafka.app import Control, WorkerApp, WorkerConfig, build_app
from pipeline.kafka.changelog import ChangelogReader, changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.processing.observer import Observer
from pipeline.processing.processor import ChangelogRow, Message, Outcome, ProcessorSpec, Record
from pipeline.worker.process import run_until_ended, run_worker

SOURCES = ("left", "right")
ECHO = "echo"


class Counting:
    """The stage. *pause_s* is how long a chunk takes."""

    def __init__(self, partition: int, pause_s: float = 0.0) -> None:
        self.partition = partition
        self.pause_s = pause_s
        self.rows: dict[bytes, dict[str, Any]] = {}
        self.is_ready = False
        self.sweeps = 0

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        time.sleep(self.pause_s)
        outcome = Outcome(events=len(records))
        touched = {}
        for record in records:
            key = record.key or b""
            row = self.rows.setdefault(key, {"count": 0, "again": 0, "applied": {}, "last": ""})
            touched[key] = row
            if record.offset <= row["applied"].get(topic, -1):
                row["again"] += 1
                continue
            row["count"] += 1
            row["applied"][topic] = record.offset
            row["last"] = (record.value or b"").decode()
            echo = f"{topic}:{record.partition}:{record.offset}".encode()
            outcome.messages.append(Message(ECHO, key, echo))
        outcome.rows = [(key, json.dumps(row).encode()) for key, row in touched.items()]
        return outcome

    def on_timer(self, now_ms: int) -> Outcome:
        self.sweeps += 1
        return Outcome(messages=[Message(ECHO, b"sweep", f"sweep:{self.partition}:{self.sweeps}".encode())])

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        for key, value in rows:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = json.loads(value)

    def on_restored(self) -> None:
        self.is_ready = True

    def count(self) -> int:
        return sum(row["count"] for row in self.rows.values())


def counting_kind(created: list[Counting] | None = None, pause_s: float = 0.0) -> ProcessorSpec:
    """A kind of counting stages; those made are noted in *created*."""

    def create(partition: int) -> Counting:
        stage = Counting(partition, pause_s)
        if created is not None:
            created.append(stage)
        return stage

    return ProcessorSpec("counting", SOURCES, create)


@asynccontextmanager
async def running(
    edge: WorkerConfig,
    kinds: Sequence[ProcessorSpec],
    observer: Observer | None = None,
    control: Control | None = None,
) -> AsyncIterator[tuple[WorkerApp, asyncio.Future[int]]]:
    """Run a worker in this process while the block lasts; the future is its exit code."""
    app = build_app(edge, kinds, observer, control)
    code = asyncio.ensure_future(run_until_ended(app))
    try:
        yield app, code
    finally:
        app.ended.set()
        await code


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until *true* says so; fails the test after *seconds*."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


async def produce(connection: Connection, records: Iterable[tuple[str, bytes, bytes]]) -> None:
    """Write (topic, key, value) *records*."""
    async with aiokafka.AIOKafkaProducer(**connection.for_aiokafka(), linger_ms=5) as producer:
        sent = [await producer.send(topic, key=key, value=value) for topic, key, value in records]
        await asyncio.gather(*sent)


async def read_all(connection: Connection, topic: str) -> list[Record]:
    """Return every record there is in *topic*, partition by partition."""
    reader = aiokafka.AIOKafkaConsumer(
        topic, **connection.for_aiokafka(), auto_offset_reset="earliest", fetch_max_wait_ms=10
    )
    await reader.start()
    try:
        ends = await reader.end_offsets(reader.assignment())
        records: list[Record] = []
        while [tp for tp, end in ends.items() if await reader.position(tp) < end]:
            for fetched in (await reader.getmany(timeout_ms=200)).values():
                records.extend(fetched)
        return sorted(records, key=lambda r: (r.partition, r.offset))
    finally:
        await reader.stop()


async def committed(connection: Connection, app_id: str, partitions: int) -> dict[tuple[str, int], int | None]:
    """Return the offset the group committed for each partition of the sources."""
    reader = aiokafka.AIOKafkaConsumer(**connection.for_aiokafka(), group_id=app_id, enable_auto_commit=False)
    await reader.start()
    try:
        places = [aiokafka.TopicPartition(t, p) for t in SOURCES for p in range(partitions)]
        reader.assign(places)
        return {(tp.topic, tp.partition): await reader.committed(tp) for tp in places}
    finally:
        await reader.stop()


async def state(connection: Connection, app_id: str, partitions: int) -> dict[bytes, dict[str, Any]]:
    """Return what a new worker would restore: every row of the changelog."""
    stage = Counting(-1)
    places = [aiokafka.TopicPartition(changelog_topic(app_id, "counting"), p) for p in range(partitions)]
    async with ChangelogReader(connection, fetch_wait_ms=10) as reader:
        await reader.read(dict.fromkeys(places, stage.restore), await reader.ends(places))
    return stage.rows


def main(bootstrap: str, app_id: str, partitions: str, pause_ms: str = "0") -> int:
    """Be a worker."""
    edge = WorkerConfig(
        Connection(bootstrap),
        app_id,
        int(partitions),
        session_timeout_s=6.0,
        commit_interval_s=0.5,
        chunk_size=64,
        data_dir=Path(tempfile.gettempdir()) / app_id,
    )
    return run_worker(build_app(edge, [counting_kind(pause_s=int(pause_ms) / 1000)]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
