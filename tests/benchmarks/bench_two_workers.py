"""Two workers against one on the same backlog: events a second, and what an event costs in processor time.

Where broker and workers share two cores, two workers cannot be twice as fast; whether two do the work of two shows in
the processor time an event takes each of them. Needs SESSION_RISK_BROKER.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from subprocess import Popen
from typing import NamedTuple

from tests.benchmarks.bench_kafka import BACKLOG, PARTITIONS, cpu_seconds, preload, series, worker
from tests.benchmarks.machine import machine

ROUNDS = 3
MOST_SECONDS = 120


class Pace(NamedTuple):
    """Events a second, µs of the workers' processor time an event, and how busy the whole machine was."""

    rate: float
    cost: float
    busy: float


class Reading(NamedTuple):
    """What was done until a moment."""

    at: float
    events: list[float]
    used: float
    busy: float


def machine_busy() -> float:
    """Seconds in which processors of this machine did anything, since it started (Linux)."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def look(processes: list[Popen[bytes]]) -> Reading:
    """Where they are."""
    if any(process.poll() is not None for process in processes):
        raise RuntimeError("a worker ended before the backlog did")
    events = [sum(series("session_risk_events_total", worker=number)) for number in range(len(processes))]
    used = sum(cpu_seconds(process.pid) for process in processes)
    return Reading(time.perf_counter(), events, used, machine_busy())


def pace(app_id: str, workers: int) -> Pace:
    """How a backlog goes from when every worker is at it, and a fifth is done, until it is."""
    with ExitStack() as running:
        processes = [running.enter_context(worker(app_id, number)) for number in range(workers)]
        first = last = look(processes)
        until = time.monotonic() + MOST_SECONDS
        while sum(last.events) < BACKLOG:
            if time.monotonic() > until:
                raise RuntimeError(f"{sum(last.events):,.0f} of {BACKLOG:,} events in {MOST_SECONDS} s")
            time.sleep(0.25)
            last = look(processes)
            if not all(first.events) or sum(first.events) < BACKLOG / 5:
                first = last
    seconds, done = last.at - first.at, sum(last.events) - sum(first.events)
    busy = (last.busy - first.busy) / seconds / (os.cpu_count() or 1)
    return Pace(done / seconds, (last.used - first.used) / done * 1e6, busy)


def main() -> None:
    """Measure and print."""
    print(machine())
    with worker(f"two-{os.getpid()}-topics"):
        asyncio.run(preload(BACKLOG))
    paces: dict[int, list[Pace]] = {1: [], 2: []}
    for round_ in range(ROUNDS):
        for workers, found in paces.items():
            found.append(pace(f"two-{os.getpid()}-{round_}-{workers}", workers))
    this_pace, two = (Pace(*(median(column) for column in zip(*found, strict=True))) for found in paces.values())
    for name, shown in (("one worker", this_pace), ("two workers", two)):
        print(
            f"{name:<11}: {shown.rate:>7,.0f} events/s, {shown.cost:.2f} µs of processor time an event, "
            f"machine {shown.busy:.0%} busy"
        )
    print(
        f"two against one on {PARTITIONS} partitions: {two.rate / this_pace.rate:.2f} by the wall clock, "
        f"{2 * this_pace.cost / two.cost:.2f} by processor time an event, if each had a core of its own"
    )


if __name__ == "__main__":
    main()
