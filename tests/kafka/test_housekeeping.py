"""Once a second a worker shows its lag and sweeps what is idle, never what is merely quiet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.kafka.housekeeping import PartitionMonitor
from pipeline.processing.observer import NullObserver
from pipeline.processing.processor import ProcessorSpec

NOW = 1_000.0


class Task:
    def __init__(self, processor_name: str, partition: int, quiet: float = 60.0, **applied_s: float) -> None:
        self.processor_name = processor_name
        self.partition = partition
        self.is_busy = quiet == 0.0
        self.applied_ms = {topic: int(seconds * 1000) for topic, seconds in applied_s.items()}
        self.sweeps = 0
        self._quiet = quiet

    def quiet_for(self) -> float:
        return self._quiet

    def on_timer(self) -> None:
        self.sweeps += 1


class World(NullObserver):
    """A consumer and an observer around some tasks: *unread* are the sources not read to their end."""

    flow_active = True

    def __init__(self, *tasks: Task, unread: tuple[tuple[str, int], ...] = ()) -> None:
        self.tasks = tasks
        self.unread = unread
        self.lags: dict[str, float] = {}
        self.turns = 0

    def look(self) -> list[int]:
        """Look once; returns how often each task was swept."""
        specs = [
            ProcessorSpec("session", ("calls", "logins"), _none),
            ProcessorSpec("device", ("telemetry",), _none),
        ]
        monitor = PartitionMonitor(self.tasks, specs, self, 10.0)  # type: ignore[arg-type]
        monitor.check(self, NOW)
        return [task.sweeps for task in self.tasks]

    def at_end(self, topic: str, partition: int) -> bool:
        return (topic, partition) not in self.unread

    def lag(self, topic: str, partition: int, seconds: float) -> None:
        self.lags[f"{topic}-{partition}"] = seconds

    def loop_turned(self) -> None:
        self.turns += 1


def _none(_: int) -> Any:
    raise AssertionError("no stage is made here")


def test_a_partition_read_to_its_end_and_quiet_long_enough_is_swept() -> None:
    world = World(Task("session", 0), Task("session", 1, quiet=9.9), Task("device", 0))
    assert world.look() == [1, 0, 1]
    assert world.turns == 1


@pytest.mark.parametrize(
    ("why", "world", "swept"),
    [
        (
            "one of its own topics has more",
            lambda: World(Task("session", 0, logins=995), Task("session", 1), unread=(("logins", 0),)),
            [0, 1],
        ),
        (
            "another stage is behind by what would explain the silence",
            lambda: World(Task("session", 0), Task("device", 1, telemetry=900), unread=(("telemetry", 1),)),
            [0, 0],
        ),
        (
            "another stage has not heard anything yet",
            lambda: World(Task("session", 0), Task("device", 1), unread=(("telemetry", 1),)),
            [0, 0],
        ),
        ("it is at work", lambda: World(Task("session", 0, quiet=0.0, calls=999, logins=999)), [0]),
        ("there is none", World, []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_partition_is_not_swept_when(why: str, world: Callable[[], World], swept: list[int]) -> None:
    assert world().look() == swept


def test_another_stage_that_is_busy_but_not_late_keeps_nobody_from_being_swept() -> None:
    world = World(Task("session", 0), Task("device", 1, quiet=0.0, telemetry=998))
    assert world.look() == [1, 0]


def test_while_the_flow_is_stopped_nothing_is_swept_but_the_worker_lives() -> None:
    world = World(Task("session", 0))
    world.flow_active = False
    assert world.look() == [0]
    assert world.turns == 1
    assert world.lags == {}


def test_lag_is_the_age_of_the_newest_record_applied_and_none_at_the_end() -> None:
    busy = Task("session", 0, quiet=0.0, calls=940, logins=1_010)
    world = World(busy, Task("session", 1, calls=1), Task("device", 1), unread=(("telemetry", 1),))
    world.look()
    assert world.lags == {"calls-0": 60.0, "logins-0": 0.0, "calls-1": 0.0, "logins-1": 0.0}
