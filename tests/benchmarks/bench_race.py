"""The race: the same backlog, broker and machine for this project and what people would use instead, in turn.

The job: JSON in, the fading sums of three half-lives for each session, a changelog, one record out per 100 events.
This project does all its work instead: checks, features, model, detections, decisions, changelog, acknowledgement.
Each contestant is one process; three rounds; medians. Needs SESSION_RISK_BROKER, and for Quix Streams the path of a
Python that has it in RACE_QUIX_PYTHON: `make bench-kafka` sets both.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from statistics import median
from typing import NamedTuple

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.benchmarks.bench_kafka import (
    BACKLOG,
    BROKER,
    PARTITIONS,
    SESSIONS,
    cpu_seconds,
    preload,
    throughput,
    worker,
)
from tests.benchmarks.machine import machine
from tests.benchmarks.race.contestants import STREAMS, Contestant, Course, contestants
from tests.benchmarks.race.fading import EACH

ROUNDS = 3
PATIENCE = 180.0
SOURCE = "api-calls"


class Figure(NamedTuple):
    """Events a second, by the wall clock and by the processor time of the contestant's process."""

    wall: float
    each: float


class Lost(RuntimeError):
    """A contestant ended, or did not come to the end in time."""


async def topic(name: str) -> None:
    """A topic for what a contestant sends."""
    admin = AIOKafkaAdminClient(bootstrap_servers=BROKER)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


async def _outputs(target: str, first: int, last: int, process: subprocess.Popen[bytes]) -> Figure:
    """Time from output number *first* to number *last*: by then starting up is over."""
    consumer = aiokafka.AIOKafkaConsumer(target, bootstrap_servers=BROKER, auto_offset_reset="earliest")
    await consumer.start()
    seen, start, began, used = 0, 0, 0.0, 0.0
    until = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until and process.poll() is None:
            by_key = await consumer.getmany(timeout_ms=50)
            seen += sum(len(records) for records in by_key.values())
            if seen >= first and not began:
                began, used, start = time.perf_counter(), cpu_seconds(process.pid), seen
            if seen >= last:
                done = (seen - start) * EACH
                return Figure(done / (time.perf_counter() - began), done / (cpu_seconds(process.pid) - used))
    finally:
        await consumer.stop()
    raise Lost(f"{seen} of {last} outputs came; the process {'runs' if process.poll() is None else 'ended'}")


def race(one: Contestant, round_: int) -> Figure:
    """One contestant, from the beginning of the backlog to its share of it."""
    name = f"race-{os.getpid()}-{round_}-{one.name.lower().replace(',', '').replace(' ', '-')}"
    asyncio.run(topic(f"{name}-out"))
    with tempfile.TemporaryDirectory() as state, tempfile.TemporaryFile() as buffered_random:
        command = one.command(Course(BROKER, SOURCE, f"{name}-out", name, state))
        process = subprocess.Popen(command, stdout=buffered_random, stderr=buffered_random)
        outputs = int(BACKLOG * one.share) // EACH
        try:
            # The last outputs of each partition may never come: what is counted ends shortly before.
            return asyncio.run(_outputs(f"{name}-out", outputs // 5, outputs - 2 * PARTITIONS, process))
        except Lost as error:
            buffered_random.seek(0)
            raise Lost(f"{one.name}: {error}: {buffered_random.read()[-800:].decode(errors='replace')}") from error
        finally:
            process.kill()
            process.wait(30)


def build() -> None:
    """Compile what runs on Java; Maven says why if it cannot."""
    maven = ["mvn", "--quiet", "--batch-mode", "--file", str(STREAMS / "pom.xml")]
    library = f"-DoutputDirectory={STREAMS / 'target' / 'lib'}"
    subprocess.run([*maven, "compile", "dependency:copy-dependencies", library], check=True)


def main() -> None:
    """Race and print."""
    quix_python = os.environ.get("RACE_QUIX_PYTHON")
    if not quix_python:
        raise SystemExit("RACE_QUIX_PYTHON: name a Python with quixstreams; `make bench-kafka` does it for you")
    build()
    print(machine())
    with worker(f"race-{os.getpid()}-topics"):
        size = asyncio.run(preload(BACKLOG))
    peers = contestants(quix_python)
    found: dict[str, list[Figure]] = {}
    for round_ in range(ROUNDS):
        found.setdefault("session-risk, all its work", []).append(Figure(*throughput(round_)))
        for peer in peers:
            found.setdefault(peer.name, []).append(race(peer, round_))
    ours = Figure(*(median(column) for column in zip(*found["session-risk, all its work"], strict=True)))
    print(f"{size:.0f}-byte events, {SESSIONS:,} sessions, {PARTITIONS} partitions, medians of {ROUNDS} rounds")
    print(f"{'':28}{'events/s':>12}{'per CPU s':>12}{'ratio':>8}{'by CPU':>8}")
    for name, rounds in found.items():
        wall, each = (median(column) for column in zip(*rounds, strict=True))
        print(f"{name:28}{wall:12,.0f}{each:12,.0f}{ours.wall / wall:8.2f}{ours.each / each:8.2f}")


if __name__ == "__main__":
    main()
