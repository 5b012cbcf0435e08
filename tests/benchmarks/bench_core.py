"""The core on one core: bytes in, decisions and changelog rows out; no broker. Prints µs an event, step by step."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

from models.artefacts import SHIPPED, load, load_roles
from models.events.columns import Columns
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import read_policy
from pipeline.process_setup import tune_garbage_collection
from pipeline.sessions import fast_path, processor
from pipeline.sessions.processor import Options, SessionProcessor
from tests.benchmarks.load import START_MS, Sent, calls
from tests.benchmarks.machine import machine

CHUNK = 512
NOW = START_MS + 3_600_000


class Clock:
    """Time spent in named functions, taken by wrapping them; by the wall, unless by *now*."""

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self.spent: dict[str, float] = {}
        self._now = now

    def wrap(self, place: object, name: str, label: str) -> None:
        """Measure ``place.name`` as *label* from now on."""
        inner: Callable[..., object] = getattr(place, name)

        def timed(*args: object, **kwargs: object) -> object:
            start = self._now()
            answer = inner(*args, **kwargs)
            self.spent[label] = self.spent.get(label, 0.0) + self._now() - start
            return answer

        setattr(place, name, timed)


def run(stage: SessionProcessor, records: list[Sent]) -> float:
    """Seconds an event to process *records*, chunk by chunk."""
    start = perf_counter()
    for at in range(0, len(records), CHUNK):
        stage.process("api-calls", records[at : at + CHUNK], NOW)
    return (perf_counter() - start) / len(records)


def passed_over(active: ActiveConfig, sessions: int = 10_000) -> tuple[float, float]:
    """µs an event in time, and so late that the model passes over it: medians of turns in one run."""
    stages = [SessionProcessor(active, Columns(bytes(16)), Options(unscored_lag_ms=late)) for late in (0, 1)]
    taken: tuple[list[float], list[float]] = ([], [])
    for seed in range(7):
        records = calls(50_000, sessions, seed=seed, first=seed * 10_000_000)
        for stage, costs in zip(stages, taken, strict=True):
            costs.append(run(stage, records) * 1e6)
    return median(taken[0][1:]), median(taken[1][1:])  # in the first turn sessions open


def steps(records: list[Sent], active: ActiveConfig) -> dict[str, float]:
    """µs an event by step, measured in a run of its own: measuring costs a little."""
    clock = Clock()
    clock.wrap(SessionProcessor, "_decode", "decode")
    clock.wrap(SessionProcessor, "_batch", "columns")
    for name in ("locate", "unseen"):
        clock.wrap(processor, name, "which rows, which are new")
    clock.wrap(processor, "fold", "fold")
    clock.wrap(type(active.detector), "score", "score")
    clock.wrap(fast_path, "firing", "rules")
    stage = SessionProcessor(active, Columns(bytes(16)), Options(partitions=8))
    for at in range(0, len(records), CHUNK):
        stage.process("api-calls", records[at : at + CHUNK], NOW)
    return {label: spent / len(records) * 1e6 for label, spent in clock.spent.items()}


def main() -> None:
    """Three rounds, the median; then once more with the steps measured."""
    active = ActiveConfig(detector=load(SHIPPED / "default"), roles=load_roles(SHIPPED / "default"))
    active.use_policy(read_policy(None))
    print(machine())
    tune_garbage_collection()
    for sessions in (1_000, 10_000, 100_000):
        stage = SessionProcessor(active, Columns(bytes(16)), Options(partitions=8))
        begun = run(stage, calls(5 * sessions, sessions))
        loads = [calls(100_000, sessions, seed=seed, first=(seed + 1) * 10_000_000) for seed in range(3)]
        rate = 1 / sorted(run(stage, records) for records in loads)[1]
        size = sum(len(record.value) for record in loads[0]) / len(loads[0])
        print(
            f"{sessions:>7,} sessions, {size:.0f}-byte events: {rate:>9,.0f} events/s ({1e6 / rate:.2f} µs); "
            f"while they open: {1 / begun:,.0f}"
        )
    for label, cost in steps(calls(100_000, 10_000), active).items():
        print(f"    {label:<26} {cost:5.2f} µs")
    in_time, late = passed_over(active)
    print(f"far behind, the model passes over: {late:.2f} µs an event; scored: {in_time:.2f} µs")


if __name__ == "__main__":
    main()
