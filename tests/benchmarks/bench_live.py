"""What an event costs while 1,000 to 1,000,000 sessions live: the core on one core, step by step; no broker.

Each session is opened by a call; then calls of sessions drawn at random are measured. Printed: µs of processor time an event by step;
drawn, where a file is named: the same as a picture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import mean, median
from time import process_time

from models.artefacts import SHIPPED, load, load_roles
from models.events.columns import Columns
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import read_policy
from pipeline.process_setup import tune_garbage_collection
from pipeline.processing import outcome
from pipeline.sessions import fast_path, processor
from pipeline.sessions.processor import Options, SessionProcessor
from tests.benchmarks.bench_core import CHUNK, Clock
from tests.benchmarks.drawing import stacks
from tests.benchmarks.load import START_MS, Sent, call_of
from tests.benchmarks.machine import machine

SIZES = (1_000, 10_000, 100_000, 1_000_000)
ROUNDS = 5
EVENTS = 50_000
PER_MS = 20
STEPS = ("decode", "columns", "find the rows", "fold", "rules", "score", "encode rows", "sweeps", "the rest")


def sent(first: int, sessions: Iterator[int]) -> list[Sent]:
    """A record for each of *sessions*, from offset *first* on."""
    rng, records = Random(first), []
    for offset, session in enumerate(sessions, start=first):
        at = START_MS + offset // PER_MS
        records.append(Sent("api-calls", 0, offset, at, *call_of(rng, session, offset, at)))
    return records


def work(stage: SessionProcessor, records: list[Sent]) -> float:
    """µs of processor time an event to process *records*, chunk by chunk."""
    start = process_time()
    for at in range(0, len(records), CHUNK):
        stage.process("api-calls", records[at : at + CHUNK], records[-1].timestamp + 60_000)
    return (process_time() - start) / len(records) * 1e6


def opened(active: ActiveConfig, sessions: int) -> SessionProcessor:
    """A stage in which so many sessions live."""
    stage = SessionProcessor(active, Columns(bytes(16)), Options(max_sessions=2 * sessions))
    for first in range(0, sessions, 10_240):
        work(stage, sent(first, iter(range(first, min(first + 10_240, sessions)))))
    if len(stage.table) != sessions:
        raise RuntimeError(f"{len(stage.table):,} sessions live, not {sessions:,}")
    return stage


def measured(active: ActiveConfig, clock: Clock, sessions: int) -> list[float]:
    """µs an event for each of STEPS: medians of the rounds, but for sweeps, which come in few of them, the mean."""
    stage, rng = opened(active, sessions), Random(5)
    tune_garbage_collection()
    rounds = []
    for number in range(ROUNDS + 1):
        records = sent(sessions + number * EVENTS, (rng.randrange(sessions) for _ in range(EVENTS)))
        clock.spent.clear()
        whole = work(stage, records)
        parts = [clock.spent.get(step, 0.0) / EVENTS * 1e6 for step in STEPS[:-1]]
        rounds.append([*parts, whole - sum(parts)])
    kept = dict(zip(STEPS, zip(*rounds[1:], strict=True), strict=True))  # in the first memories of strings fill
    return [mean(costs) if step == "sweeps" else median(costs) for step, costs in kept.items()]


def main(picture: str | None = None) -> None:
    """Measure, print and draw."""
    print(machine())
    active = ActiveConfig(detector=load(SHIPPED / "default"), roles=load_roles(SHIPPED / "default"))
    active.use_policy(read_policy(None))
    clock = Clock(process_time)
    clock.wrap(SessionProcessor, "_decode", "decode")
    clock.wrap(SessionProcessor, "_batch", "columns")
    for name in ("locate", "unseen"):
        clock.wrap(processor, name, "find the rows")
    clock.wrap(processor, "fold", "fold")
    clock.wrap(fast_path, "firing", "rules")
    clock.wrap(type(active.detector), "score", "score")
    clock.wrap(outcome.OutcomeBuilder, "outcome", "encode rows")
    for name in ("_concerned", "_expire", "silent_fleets", "summarise"):
        clock.wrap(SessionProcessor if name in ("_concerned", "_expire") else processor, name, "sweeps")
    columns = {}
    print(f"{'sessions':>9} {'µs':>6} " + " ".join(f"{step:>13}" for step in STEPS))
    for sessions in SIZES:
        parts = columns[f"{sessions:,}"] = measured(active, clock, sessions)
        print(f"{sessions:>9,} {sum(parts):>6.2f} " + " ".join(f"{part:>13.2f}" for part in parts))
    if picture:
        title = f"What an event costs while sessions live ({machine().partition(',')[0]}, one core)"
        Path(picture).write_text(
            stacks(title, "live sessions", "µs of processor time an event", STEPS, columns), encoding="utf-8"
        )


if __name__ == "__main__":
    main(*sys.argv[1:2])
