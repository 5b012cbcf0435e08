"""A worker at half of its capacity for MINUTES (else 30): it must not grow, slow down, or leave anything open.

Sessions open, call, sign out or fall silent, at 10,000 events a second: at 20,000 of this kind two cores that broker,
load and worker share are used up. Devices report; now and then a cookie is replayed, and it is measured how long the
command takes. Printed: a line a minute, slopes after a beginning in which fills what is bounded (what is usual for each
principal, names and keys that are remembered), a verdict: of memory only after a run that is long enough for that. Ends
with 1 if something is not flat. Needs SESSION_RISK_BROKER.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import NamedTuple

import aiokafka

from pipeline.kafka.partitioner import partition_of
from tests.benchmarks.bench_kafka import BROKER, PARTITIONS, Probe, add, metric, series, worker
from tests.benchmarks.load import AGENT, OPERATIONS
from tests.benchmarks.machine import machine

MINUTES = float(os.environ.get("MINUTES") or 30)
RATE = int(os.environ.get("RATE") or 10_000)
TICK = 0.02
LOOK = 5.0
SLOTS, PRINCIPALS, MEAN_CALLS, SIGN_OUT = 5_000, 500, 60, 0.6
WARM_MINUTES = MINUTES / 3
"""Until then state fills: nothing that happens is judged."""
LONG_ENOUGH = 20
"""Minutes of a run that tell how memory grows: until then clients that were never seen before are remembered."""
GROWTH_MIB_H, SLOWER, MORE_FILES = 24.0, 1.5, 5
POLICY = """
[guard]
revocations_per_minute = 1000000
[times]
idle_s = 60
ended_grace_s = 20
revoked_grace_s = 60
"""
Row = tuple[str, bytes, bytes]


class Look(NamedTuple):
    """How the worker is after so many *minutes*."""

    minutes: float
    mib: float
    files: int
    threads: int
    sessions: float
    behind: float


@dataclass(slots=True)
class Slot:
    """A session that lives, and how often it will call yet."""

    session: str = ""
    calls: int = 0


class Churn:
    """Sessions that come and go: some sign out, the others are never seen again."""

    def __init__(self) -> None:
        self._rng = Random(3)
        self._opened = self._events = 0
        self._slots = [Slot() for _ in range(SLOTS)]

    def rows(self, count: int, at: int) -> Iterator[Row]:
        """About *count* events that happen *at*."""
        for _ in range(count):
            slot = self._slots[self._rng.randrange(SLOTS)]
            if slot.calls == 0:
                yield from self._change(slot, at)
            else:
                slot.calls -= 1
                yield "api-calls", slot.session.encode(), self._call(slot.session, at)
        for device in range(count // 200):
            yield self._report(self._rng.randrange(PRINCIPALS) if device else self._events % PRINCIPALS, at)

    def _change(self, slot: Slot, at: int) -> Iterator[Row]:
        if slot.session and self._rng.random() < SIGN_OUT:
            yield "auth-events", slot.session.encode(), self._auth(slot.session, "sign_out", at)
        self._opened += 1
        slot.session = f"soak-{os.getpid()}-{self._opened:012d}"
        slot.calls = self._rng.randrange(1, 2 * MEAN_CALLS)
        yield "auth-events", slot.session.encode(), self._auth(slot.session, "sign_in", at)

    def _subject_name(self, kind: str, name: str, at: int) -> str:
        self._events += 1
        user = int(name[-12:]) * 7 % PRINCIPALS
        return (
            f'{{"type":"{kind}","event_id":"soak-{self._events}","occurred_at":{at},"tenant":"acme",'
            f'"session_id":"{name}","principal_id":"user-{user}","principal_kind":"human",'
            f'"device_id":"device-{user}","ip":"10.{user % 250}.7.7","asn":{64500 + user % 50},"country":"NL",'
            f'"network_type":"wifi","user_agent":"{AGENT[:60]}","token_id":"tok-{name}",'
        )

    def _auth(self, name: str, action: str, at: int) -> bytes:
        return f'{self._subject_name("auth.event", name, at)}"action":"{action}"}}'.encode()

    def _call(self, name: str, at: int) -> bytes:
        operation, method, sensitivity = OPERATIONS[self._rng.randrange(len(OPERATIONS))]
        return (
            f'{self._subject_name("api.call", name, at)}"operation":"{operation}","method":"{method}","status":200,'
            f'"sensitivity":"{sensitivity}","bytes_out":{self._rng.randrange(200, 20_000)},"records":1,'
            f'"resource":"res-{self._rng.randrange(5_000)}","latency_ms":9}}'
        ).encode()

    def _report(self, user: int, at: int) -> Row:
        name = f"device-{user}"
        fields = {
            "type": "device.telemetry",
            "event_id": f"{name}-{at}",
            "occurred_at": at,
            "tenant": "acme",
            "device_id": name,
            "heartbeat_interval_ms": 60_000,
            "platform": "android",
            "rooted": False,
            "os_version": "17",
        }
        return "device-telemetry", name.encode(), json.dumps(fields).encode()


class Stolen(Probe):
    """Sessions whose cookie is replayed, of a few people: what is remembered of each is no growth."""

    def _call(self, number: int, at: int, suffix: str, agent: str, asn: int) -> tuple[bytes, bytes]:
        key, value = super()._call(number, at, suffix, agent, asn)
        own, one_of_few = (
            f'"principal_id": "{self.name}-{number}"',
            f'"principal_id": "{self.name}-{number % 50}"',
        )
        return key, value.replace(own.encode(), one_of_few.encode())


async def flow(probe: Probe, sent: list[int], began: float) -> None:
    """Send the load, as its time goes by, until the minutes are over; a cookie is replayed every 0.2 s."""
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=BROKER, acks=1, linger_ms=2, max_batch_size=500_000)
    await producer.start()
    churn = Churn()
    for tick in range(round(MINUTES * 60 / TICK)):
        at = int(time.time() * 1000)
        pending: defaultdict[tuple[str, int], list[tuple[bytes, bytes]]] = defaultdict(list)
        for topic, key, value in churn.rows(round(RATE * TICK), at):
            pending[topic, partition_of(key, PARTITIONS)].append((key, value))
        for (topic, partition), rows in pending.items():
            batch = producer.create_batch()
            add(batch, rows)
            await producer.send_batch(batch, topic, partition=partition)
            sent[0] += len(rows)
        if tick % 10 == 0:
            for key, value in (probe.owner(tick, at), *([probe.thief(tick - 50, at)] if tick >= 50 else [])):
                await producer.send("api-calls", value=value, key=key)
        await asyncio.sleep(max(0.0, began + (tick + 1) * TICK - time.perf_counter()))
    await producer.stop()


def wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    """Return when the worker has its partitions; raises if it ends before."""
    while len(series("session_risk_live_sessions")) < PARTITIONS:
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.poll()}")
        time.sleep(0.5)


def look(pid: int, minutes: float, sent: int) -> Look:
    """How process *pid* is now (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    by_key = dict(line.split(":", 1) for line in status.splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    topics = ("api-calls", "auth-events", "device-telemetry")
    done = sum(sum(series("session_risk_events_total", f'topic="{topic}"')) for topic in topics)
    return Look(
        minutes,
        int(by_key["VmRSS"].split()[0]) / 1024,
        files,
        int(by_key["Threads"]),
        metric("session_risk_live_sessions"),
        max(0.0, sent - done) / RATE,
    )


async def watch(pid: int, probe: Probe, sent: list[int]) -> tuple[list[Look], list[list[float]]]:
    """Look every five seconds while the load flows; how the worker was, and what commands took, minute by minute."""
    looks: list[Look] = []
    took: list[list[float]] = []
    listening = asyncio.create_task(probe.listen())
    await asyncio.sleep(1)
    began, known = time.perf_counter(), 0
    flowing = asyncio.create_task(flow(probe, sent, began))
    while not flowing.done():
        await asyncio.wait({flowing}, timeout=LOOK)
        minutes = (time.perf_counter() - began) / 60
        looks.append(await asyncio.to_thread(look, pid, minutes, sent[0]))
        if minutes >= len(took) + 1 or flowing.done():
            took.append(probe.took[known:])
            known += len(took[-1])
            print(line(looks[-1], took[-1]), flush=True)
    await flowing
    await asyncio.sleep(2)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    return looks, took


def line(seen: Look, took: Sequence[float]) -> str:
    """A minute of the table."""
    cuts = quantiles(took, n=100) if len(took) > 1 else [0.0] * 99
    return (
        f"| {seen.minutes:6.1f} | {seen.mib:7.1f} | {seen.files:5d} | {seen.threads:7d} | {seen.sessions:9,.0f} "
        f"| {seen.behind:6.2f} | {cuts[49] * 1e3:6.1f} | {cuts[98] * 1e3:6.1f} |"
    )


def slope(looks: Sequence[Look]) -> tuple[float, float]:
    """MiB an hour by least squares, and twice its standard error."""
    hours, mib = [this_look.minutes / 60 for this_look in looks], [this_look.mib for this_look in looks]
    middle, level = sum(hours) / len(hours), sum(mib) / len(mib)
    spread = sum((hour - middle) ** 2 for hour in hours)
    steep = sum((hour - middle) * (held - level) for hour, held in zip(hours, mib, strict=True)) / spread
    rest = sum((held - level - steep * (hour - middle)) ** 2 for hour, held in zip(hours, mib, strict=True))
    return steep, 2 * (rest / max(1, len(hours) - 2) / spread) ** 0.5


def verdict(looks: Sequence[Look], took: Sequence[Sequence[float]]) -> list[str]:
    """What is not flat."""
    warm = [this_look for this_look in looks if this_look.minutes >= WARM_MINUTES]
    steep, error = slope(warm)
    minutes = [quantiles(numbers, n=100)[98] for numbers in took[int(WARM_MINUTES) :] if len(numbers) > 50]
    half = len(minutes) // 2
    early, late = median(minutes[: half or 1]), median(minutes[half:])
    print(
        f"memory: {steep:+.1f} ± {error:.1f} MiB/h over {warm[-1].minutes - warm[0].minutes:.0f} min, after {WARM_MINUTES:.0f}"
    )
    print(f"p99 of a minute: {early * 1e3:.0f} ms in the first half, {late * 1e3:.0f} ms in the second")
    print(f"open files {warm[0].files} → {warm[-1].files}, threads {warm[0].threads} → {warm[-1].threads}")
    wrong = {
        "memory grows": MINUTES >= LONG_ENOUGH and steep - error > GROWTH_MIB_H,
        "commands come later and later": late > SLOWER * early + 0.02,
        "files stay open": warm[-1].files > warm[0].files + MORE_FILES,
        "threads stay": warm[-1].threads > warm[0].threads,
        "it did not keep up": max(this_look.behind for this_look in warm) > 2.0,
    }
    return [what for what, holds in wrong.items() if holds]


def main() -> int:
    """Measure, print, judge."""
    print(machine())
    print(f"{RATE:,} events/s for {MINUTES:g} min, {SLOTS:,} sessions at a time of {MEAN_CALLS} calls")
    print(
        "| minute | RSS MiB | files | threads | sessions | behind s | p50 ms | p99 ms |\n|---|---|---|---|---|---|---|---|"
    )
    with worker(f"soak-{os.getpid()}", rules=POLICY) as process:
        wait_until_ready(process)
        looks, took = asyncio.run(watch(process.pid, Stolen(RATE), [0]))
    wrong = verdict(looks, took)
    number = "flat" if MINUTES >= LONG_ENOUGH else "flat, but for memory, which so short a run does not tell"
    print("not flat: " + ", ".join(wrong) if wrong else number)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
