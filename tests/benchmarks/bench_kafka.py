"""A worker on Apache Kafka, on the same machine as broker and load: how many events a second, how soon a command.

Three measurements: a backlog worked off by one worker; the time from a causing event's sending to the command's
arrival while events flow, drawn too where a file is named; the backlog in idiomatic Faust. Needs SESSION_RISK_BROKER.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median, quantiles

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.producer.message_accumulator import BatchBuilder

from pipeline.kafka.partitioner import partition_of
from tests.benchmarks.drawing import histograms
from tests.benchmarks.load import AGENT, call
from tests.benchmarks.machine import machine

BROKER = os.environ.get("SESSION_RISK_BROKER", "127.0.0.1:9092")
PARTITIONS = 8
SESSIONS = 10_000
BACKLOG = 1_000_000
FAUST_EVENTS = 40_000
RATES = (2_000, 10_000, 20_000, 40_000)
SECONDS = 12
PORT = 9564
BIN = Path(sys.executable).parent


UNGUARDED = "[guard]\nrevocations_per_minute = 1000000\n"
"""The guard would hold the probes back."""


@contextmanager
def worker(app_id: str, number: int = 0, rules: str = UNGUARDED) -> Iterator[subprocess.Popen[bytes]]:
    """Worker *number* of this group: a process with topics of its own state and a policy of these *rules*."""
    policy = Path(tempfile.mkdtemp()) / "policy.toml"
    policy.write_text(rules)
    environment = os.environ | {
        "SESSION_RISK_POLICY_FILE": str(policy),
        "SESSION_RISK_BROKER": BROKER,
        "SESSION_RISK_APP_ID": app_id,
        "SESSION_RISK_METRICS_PORT": str(PORT + number),
        "SESSION_RISK_LOG_LEVEL": "WARNING",
        "MALLOC_MMAP_THRESHOLD_": "1048576",  # as in deploy/
        "SESSION_RISK_PARTITIONS": str(PARTITIONS),
    }
    subprocess.run([BIN / "session-risk", "topics", "create"], env=environment, check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen([BIN / "session-risk", "worker"], env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def series(name: str, having: str = "", worker: int = 0) -> list[float]:
    """The values of a metric's series *having* a label, none while the worker does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT + worker}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return []
    named = (line for line in lines if line.startswith((name + "{", name + " ")) and having in line)
    return [float(line.rpartition(" ")[2]) for line in named]


def metric(name: str) -> float:
    """The sum of a metric's series, 0 while the worker does not answer."""
    return sum(series(name))


def wait_for(process: subprocess.Popen[bytes], events: float, seconds: float = 120) -> None:
    """Return when the worker has done so many *events*; raises if it ends, or is not there in time."""
    until = time.monotonic() + seconds
    while metric("session_risk_events_total") < events:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the worker did {metric('session_risk_events_total'):,.0f} of {events:,.0f} events")
        time.sleep(0.25)  # more often, and answering is a load of its own


def settle() -> None:
    """Return when nothing was done for two seconds: contexts go on after the last event of a backlog."""
    before = -1.0
    while (done := metric("session_risk_events_total")) != before:
        before = done
        time.sleep(2)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def preload(count: int) -> float:
    """Put *count* calls into the topic; returns their mean size in bytes."""
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=BROKER, acks=1, max_batch_size=500_000)
    await producer.start()
    rng, size, start = Random(7), 0, int(time.time() * 1000) - count // 20
    pending: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
    for number in range(count):
        key, value = call(rng, number, SESSIONS, start + number // 20)
        size += len(value)
        partition = partition_of(key, PARTITIONS)
        pending[partition].append((key, value))
        if len(pending[partition]) == 500:
            await send(producer, partition, pending.pop(partition))
    for partition, rows in pending.items():
        await send(producer, partition, rows)
    await producer.stop()
    return size / count


async def send(producer: aiokafka.AIOKafkaProducer, partition: int, rows: list[tuple[bytes, bytes]]) -> None:
    """One batch to one partition."""
    batch = producer.create_batch()
    add(batch, rows)
    await (await producer.send_batch(batch, "api-calls", partition=partition))


def add(batch: BatchBuilder, rows: list[tuple[bytes, bytes]]) -> None:
    """Fill and close *batch*; raises when it is full, as a load that thins itself out measures nothing."""
    for key, value in rows:
        if batch.append(key=key, value=value, timestamp=None) is None:
            raise RuntimeError(f"a batch is full before its {len(rows)} rows are in it")
    batch.close()


async def clear() -> None:
    """Delete every topic but the backlog's: each worker finds what the first one found, no output of another."""
    admin = AIOKafkaAdminClient(bootstrap_servers=BROKER)
    await admin.start()
    while old := [name for name in await admin.list_topics() if name != "api-calls" and not name.startswith("__")]:
        await admin.delete_topics(old)
        await asyncio.sleep(0.5)
    await admin.close()


def throughput(round_: int) -> tuple[float, float]:
    """Events a second by the wall clock and by the worker's processor time, after the first fifth of the backlog."""
    asyncio.run(clear())
    with worker(f"bench-{os.getpid()}-{round_}") as process:
        wait_for(process, BACKLOG / 5)
        count, began, used = (
            metric("session_risk_events_total"),
            time.perf_counter(),
            cpu_seconds(process.pid),
        )
        wait_for(process, BACKLOG)
        seconds = time.perf_counter() - began
        done = metric("session_risk_events_total") - count
        return done / seconds, done / (cpu_seconds(process.pid) - used)


class Probe:
    """Sessions whose cookie is replayed, one every 20 ms: when the replay was sent, when the command came."""

    def __init__(self, rate: int) -> None:
        self.name = f"probe-{os.getpid()}-{rate}"
        self.sent: dict[str, float] = {}
        self.took: list[float] = []

    def owner(self, number: int, at: int) -> tuple[bytes, bytes]:
        """The owner's own call."""
        return self._call(number, at, "a", AGENT, 64500)

    def thief(self, number: int, at: int) -> tuple[bytes, bytes]:
        """The same token from another client and network."""
        self.sent[f"{self.name}-{number}"] = time.perf_counter()
        return self._call(number, at, "b", "python-requests/2.32", 64999)

    def _call(self, number: int, at: int, suffix: str, agent: str, asn: int) -> tuple[bytes, bytes]:
        name = f"{self.name}-{number}"
        event = {
            "type": "api.call",
            "event_id": f"{name}-{suffix}",
            "occurred_at": at,
            "tenant": "acme",
            "session_id": name,
            "principal_id": name,
            "principal_kind": "human",
            "ip": "192.0.2.1",
            "asn": asn,
            "user_agent": agent,
            "token_id": name,
            "operation": "GET /accounts/{id}",
            "status": 200,
        }
        return name.encode(), json.dumps(event).encode()

    async def play(self) -> None:
        """Fifty times a second for SECONDS, at no regular moment, an owner calls, and a thief of one a second ago."""
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=BROKER, acks=1)
        await producer.start()
        rng, began = Random(5), time.perf_counter()
        for number in range(SECONDS * 50):
            await asyncio.sleep(max(0.0, began + (number + rng.random()) / 50 - time.perf_counter()))
            at = int(time.time() * 1000)
            for key, value in (
                self.owner(number, at),
                *([self.thief(number - 50, at)] if number >= 50 else []),
            ):
                await producer.send("api-calls", value=value, key=key)
        await producer.stop()

    async def listen(self) -> None:
        """Note when commands arrive."""
        consumer = aiokafka.AIOKafkaConsumer("session-revocations", bootstrap_servers=BROKER, fetch_max_wait_ms=5)
        await consumer.start()
        await consumer.seek_to_end()
        try:
            async for record in consumer:
                sent = self.sent.pop(json.loads(record.value)["session_id"], None)
                if sent is not None:
                    self.took.append(time.perf_counter() - sent)
        finally:
            await consumer.stop()


async def latency(rate: int) -> list[float]:
    """Seconds from sending the causing event to the command, while *rate* events a second flow for SECONDS."""
    probe = Probe(rate)
    listening = asyncio.create_task(probe.listen())
    await asyncio.sleep(1)
    await asyncio.gather(flow(rate), probe.play())
    await asyncio.sleep(3)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    if probe.sent:
        print(f"    {len(probe.sent)} commands did not come within three seconds")
    return probe.took


async def flow(rate: int) -> None:
    """Send *rate* calls a second for SECONDS: a batch for one partition after the other, each 50 times a second."""
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=BROKER, acks=1, linger_ms=2, max_batch_size=500_000)
    await producer.start()
    rng, ready = Random(11), [call(Random(n), n, SESSIONS, 0) for n in range(2_000)]
    of = [[row for row in ready if partition_of(row[0], PARTITIONS) == number] for number in range(PARTITIONS)]
    began, slots = time.perf_counter(), 50 * PARTITIONS
    for slot in range(SECONDS * slots):
        at = int(time.time() * 1000)
        rows = []
        for _ in range(rate * (slot + 1) // slots - rate * slot // slots):
            key, value = rng.choice(of[slot % PARTITIONS])
            fresh = value.replace(b'"occurred_at":0', b'"occurred_at":%d' % at)
            rows.append((key, fresh.replace(b'"evt-', b'"%08x' % rng.getrandbits(32))))
        if rows:
            batch = producer.create_batch()
            add(batch, rows)
            await producer.send_batch(batch, "api-calls", partition=slot % PARTITIONS)
        await asyncio.sleep(max(0.0, began + (slot + 1) / slots - time.perf_counter()))
    await producer.stop()


async def faust_changelog() -> None:
    """The changelog topic of the idiomatic app's table."""
    admin = AIOKafkaAdminClient(bootstrap_servers=BROKER)
    await admin.start()
    await admin.create_topics([NewTopic("idiomatic-faust-counts-changelog", PARTITIONS, 1)])
    await admin.close()


def idiomatic() -> float:
    """Events a second of the idiomatic app on the first part of the backlog."""
    asyncio.run(faust_changelog())
    script = Path(__file__).parent / "idiomatic_faust.py"
    ran = subprocess.run(
        [sys.executable, script, BROKER, str(FAUST_EVENTS), "worker"],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    found = re.search(r"^rate (\d+)", ran.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the idiomatic app ended without a figure: {ran.stderr[-500:]}")
    return float(found[1])


def latencies(flow: int) -> tuple[list[float], dict[str, float]]:
    """Milliseconds to each command while *flow* events a second go by, and their percentiles, which are printed."""
    took = [seconds * 1e3 for seconds in asyncio.run(latency(flow))]
    cuts = quantiles(took, n=100)
    print(
        f"event sent → command received, {flow:,} events/s beside it: p50 {cuts[49]:.1f} ms, "
        f"p99 {cuts[98]:.1f} ms ({len(took)} commands)"
    )
    return took, {"p50": cuts[49], "p99": cuts[98]}


def main(picture: str | None = None) -> None:
    """Measure, print and draw."""
    print(machine())
    with worker(f"bench-{os.getpid()}-topics"):
        size = asyncio.run(preload(BACKLOG))
    rounds = [throughput(number) for number in range(3)]
    rate, each = median(r for r, _ in rounds), median(c for _, c in rounds)
    print(f"a worker on Apache Kafka, {size:.0f}-byte events, {SESSIONS:,} sessions, everything acknowledged:")
    print(f"    {rate:,.0f} events/s beside the broker on the same cores; {each:,.0f} per second of its processor time")
    asyncio.run(clear())
    with worker(f"bench-{os.getpid()}-latency") as process:
        wait_for(process, BACKLOG)
        settle()
        drawn = {f"{flow:,} events/s": latencies(flow) for flow in RATES}
    if picture:
        title = f"From an event's sending to the command ({machine().partition(',')[0]}, 2 cores with the broker)"
        Path(picture).write_text(histograms(title, "milliseconds", drawn), encoding="utf-8")
    stock = idiomatic()
    print(f"idiomatic Faust, one table update, no model: {stock:,.0f} events/s; ratio {rate / stock:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
