"""How soon a worker that takes everything over works again: 1,000,000 sessions read back from their changelogs.

The sessions are opened by the stages themselves, and what they write goes to the changelogs in bulk. Then a worker
starts; after that the same is read once more in this process, step by step. Needs SESSION_RISK_BROKER.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import aiokafka
from aiokafka import TopicPartition

from models.events.columns import Columns
from pipeline.control.active import ActiveConfig
from pipeline.kafka import changelog
from pipeline.kafka.changelog import ChangelogReader, changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.partitioner import partition_of
from pipeline.kafka.producer import MAX_REQUEST_BYTES, BatchWriter
from pipeline.process_setup import tune_garbage_collection
from pipeline.sessions.processor import Options, SessionProcessor
from tests.benchmarks.bench_core import Clock
from tests.benchmarks.bench_kafka import BROKER, PARTITIONS, metric, series, worker
from tests.benchmarks.bench_memory import one_each, resident
from tests.benchmarks.load import START_MS, Sent
from tests.benchmarks.machine import machine

SESSIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
SLICE = 8_192
CHUNK = 512


def opened() -> Iterator[tuple[int, list[tuple[bytes, bytes | None]]]]:
    """Partition and changelog rows, chunk by chunk, of one call in each session."""
    active, columns = ActiveConfig(), Columns(bytes(16))
    stages = [SessionProcessor(active, columns, Options(partitions=PARTITIONS)) for _ in range(PARTITIONS)]
    waiting: defaultdict[int, list[Sent]] = defaultdict(list)
    for first in range(0, SESSIONS, SLICE):
        for record in one_each(first, min(first + SLICE, SESSIONS)):
            waiting[partition_of(record.key, PARTITIONS)].append(record)
        for partition, records in waiting.items():
            for at in range(0, len(records), CHUNK):
                chunk = records[at : at + CHUNK]
                yield partition, stages[partition].process("api-calls", chunk, START_MS + 3_600_000).rows
            records.clear()


async def fill(topic: str) -> tuple[int, int]:
    """Write the sessions to their changelog; returns how many, and their bytes."""
    count = size = 0
    async with aiokafka.AIOKafkaProducer(
        bootstrap_servers=BROKER, acks=1, max_batch_size=MAX_REQUEST_BYTES, max_request_size=MAX_REQUEST_BYTES
    ) as producer:
        writer = BatchWriter(lambda: producer)
        for partition, rows in opened():
            await writer.append(topic, partition, rows)
            count += len(rows)
            size += sum(len(key) + len(value or b"") for key, value in rows)
    return count, size


def taken_over(app_id: str) -> tuple[float, float, int]:
    """Seconds from a worker's start to work, those of reading back, and the most memory it held, in bytes."""
    with worker(app_id) as process:
        started, first = time.perf_counter(), 0.0
        while sum(series("session_risk_live_sessions")) < SESSIONS or metric("session_risk_recovering_partitions"):
            if not first and metric("session_risk_recovering_partitions"):
                first = time.perf_counter()
            if process.poll() is not None or time.perf_counter() - started > 200:
                raise RuntimeError(f"{metric('session_risk_recovery_rows_total'):,.0f} rows were read back")
            time.sleep(0.05)
        done = time.perf_counter()
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        return done - started, done - first, int(peak[1]) * 1024 if peak else 0


async def steps(topic: str) -> tuple[float, dict[str, float], float]:
    """Seconds in all, seconds by step, and bytes a session, of reading back in this process."""
    clock = Clock()
    clock.wrap(SessionProcessor, "restore", "restore rows")
    clock.wrap(changelog, "unpack", "check and parse")
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    before = resident()
    active, columns = ActiveConfig(), Columns(bytes(16))
    stages = {place: SessionProcessor(active, columns, Options(partitions=PARTITIONS)) for place in places}
    async with ChangelogReader(Connection(BROKER)) as reader:
        began = time.perf_counter()
        await reader.read({place: stage.restore for place, stage in stages.items()}, await reader.ends(places))
        seconds = time.perf_counter() - began
    grown = (resident() - before) / sum(len(stage.table) for stage in stages.values())
    return seconds, clock.spent, grown


def main() -> None:
    """Measure and print."""
    print(machine())
    tune_garbage_collection()
    app_id = f"recovery-{os.getpid()}"
    topic = changelog_topic(app_id, "session")
    with worker(app_id):
        pass  # makes the topics
    began = time.perf_counter()
    count, size = asyncio.run(fill(topic))
    print(
        f"{count:,} sessions of {size / count:.0f} B in {PARTITIONS} changelogs ({time.perf_counter() - began:.0f} s)"
    )
    whole, reading, peak = taken_over(app_id)
    print(
        f"a worker: {reading:.1f} s to read them back, {whole:.1f} s from its start to work, "
        f"{peak / 2**20:,.0f} MiB at most"
    )
    seconds, spent, grown = asyncio.run(steps(topic))
    print(f"without a worker: {seconds:.1f} s, {grown:,.0f} B a session held")
    for label, cost in spent.items():
        print(f"    {label:<14} {cost / count * 1e6:5.2f} µs a row")
    print(f"    {'fetch, the rest':<14} {(seconds - sum(spent.values())) / count * 1e6:5.2f} µs a row")


if __name__ == "__main__":
    main()
