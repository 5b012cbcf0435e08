"""Housekeeping of a worker, about once a second: heartbeat, lag, and timer calls for idle partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Protocol

from pipeline.kafka.partition_tasks import PartitionTask, TaskManager
from pipeline.processing.observer import Observer
from pipeline.processing.processor import ProcessorSpec

CHECK_SECONDS = 1.0
"""Time between two checks."""

Source = tuple[str, int]
"""A topic and one of its partitions."""


class Reader(Protocol):
    """What the monitor needs of a consumer."""

    @property
    def flow_active(self) -> bool: ...

    def at_end(self, topic: str, partition: int) -> bool: ...


class PartitionMonitor:
    """Checks the partition tasks of a worker."""

    def __init__(
        self,
        tasks: TaskManager,
        specs: Sequence[ProcessorSpec],
        observer: Observer,
        idle_s: float,
    ) -> None:
        self._tasks = tasks
        self._sources = {spec.name: spec.sources for spec in specs}
        self._observer = observer
        self._idle_s = idle_s

    def check(self, reader: Reader, now: float) -> None:
        """Report to the observer how far behind each source is *now* (seconds), and call the timers of idle partitions.

        A partition is idle if its every source is read to its end while no other source lags by as much as *idle_s*.
        Silence alone is not enough: the broker may be down, or the records that explain the silence may still be
        unread.
        """
        self._observer.loop_turned()
        if not reader.flow_active:
            return
        behind: dict[Source, float] = {}
        for task in self._tasks:
            behind |= self._lag(reader, task, now)
        for (topic, partition), seconds in behind.items():
            if seconds != inf:
                self._observer.lag(topic, partition, seconds)
        if max(behind.values(), default=inf) <= self._idle_s:
            for task in self._tasks:
                if task.quiet_for() >= self._idle_s and self._is_read(task, behind):
                    task.on_timer()

    def _lag(self, reader: Reader, task: PartitionTask, now: float) -> Mapping[Source, float]:
        def seconds(topic: str) -> float:
            if not task.is_busy and reader.at_end(topic, task.partition):
                return 0.0
            newest_ms = task.applied_ms.get(topic)
            return inf if newest_ms is None else max(0.0, now - newest_ms / 1000)

        return {(topic, task.partition): seconds(topic) for topic in self._sources[task.processor_name]}

    def _is_read(self, task: PartitionTask, behind: Mapping[Source, float]) -> bool:
        return all(behind[topic, task.partition] == 0.0 for topic in self._sources[task.processor_name])
