"""What happens about once a second in a worker: signs of life, lag, and sweeps of idle partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Protocol

from pipeline.kafka.partition_tasks import PartitionTask, TaskManager
from pipeline.processing.observer import Observer
from pipeline.processing.processor import ProcessorSpec

LOOK_SECONDS = 1.0
"""How long between two looks."""

Source = tuple[str, int]
"""A topic and a partition of it."""


class Reader(Protocol):
    """What upkeep asks a consumer."""

    @property
    def flow_active(self) -> bool: ...

    def at_end(self, topic: str, partition: int) -> bool: ...


class PartitionMonitor:
    """Looks after the lanes of a worker."""

    def __init__(
        self,
        lanes: TaskManager,
        kinds: Sequence[ProcessorSpec],
        observer: Observer,
        idle_s: float,
    ) -> None:
        self._lanes = lanes
        self._sources = {kind.name: kind.sources for kind in kinds}
        self._observer = observer
        self._idle_s = idle_s

    def check(self, reader: Reader, now: float) -> None:
        """Tell the observer how far behind each source is *now* (seconds), and sweep what is idle.

        Idle is not what is merely quiet, because the broker is away or what explains the silence is still to
        be read: a partition whose every source is read to its end, while no other lags by as much as idle
        takes.
        """
        self._observer.loop_turned()
        if not reader.flow_active:
            return
        behind: dict[Source, float] = {}
        for lane in self._lanes:
            behind |= self._lag(reader, lane, now)
        for (topic, partition), seconds in behind.items():
            if seconds != inf:
                self._observer.lag(topic, partition, seconds)
        if max(behind.values(), default=inf) <= self._idle_s:
            for lane in self._lanes:
                if lane.quiet_for() >= self._idle_s and self._is_read(lane, behind):
                    lane.on_timer()

    def _lag(self, reader: Reader, lane: PartitionTask, now: float) -> Mapping[Source, float]:
        def seconds(topic: str) -> float:
            if not lane.is_busy and reader.at_end(topic, lane.partition):
                return 0.0
            newest_ms = lane.applied_ms.get(topic)
            return inf if newest_ms is None else max(0.0, now - newest_ms / 1000)

        return {(topic, lane.partition): seconds(topic) for topic in self._sources[lane.kind]}

    def _is_read(self, lane: PartitionTask, behind: Mapping[Source, float]) -> bool:
        return all(behind[topic, lane.partition] == 0.0 for topic in self._sources[lane.kind])
