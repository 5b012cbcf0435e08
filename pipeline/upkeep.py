"""What happens about once a second in a worker: signs of life, lag, and sweeps of idle partitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import time
from typing import Any, Protocol

from faust.types import TP
from mode import Service

from pipeline.lanes import Lane, Lanes
from pipeline.observe import Observer
from pipeline.stage import StageKind

LOOK_SECONDS = 1.0


class Reader(Protocol):
    """What upkeep asks a consumer."""

    @property
    def flow_active(self) -> bool: ...

    def at_end(self, tp: TP) -> bool: ...


class Upkeep(Service):
    """Looks after the lanes of a worker."""

    def __init__(
        self,
        lanes: Lanes,
        kinds: Sequence[StageKind],
        observer: Observer,
        idle_s: float,
        reader: Callable[[], Reader],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._lanes = lanes
        self._sources = {kind.name: kind.sources for kind in kinds}
        self._observer = observer
        self._idle_s = idle_s
        self._reader = reader

    @Service.task
    async def _look_again(self) -> None:
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            self.look(time())

    def look(self, now: float) -> None:
        """Tell the observer that it is *now* (seconds) and how far behind each source is; sweep what is idle.

        Idle is not what is merely quiet, because the broker is away or what explains the silence is still to
        be read: a partition whose every source is read to its end, while no other lags by as much as idle
        takes.
        """
        self._observer.turned()
        reader = self._reader()
        if not reader.flow_active:
            return
        behind = {
            tp: seconds for lane in self._lanes for tp, seconds in self._behind(reader, lane, now).items()
        }
        for tp, seconds in behind.items():
            if seconds != inf:
                self._observer.lag(tp.topic, tp.partition, seconds)
        if max(behind.values(), default=inf) <= self._idle_s:
            for lane in self._lanes:
                if lane.quiet_for() >= self._idle_s and self._is_read(lane, behind):
                    lane.sweep()

    def _behind(self, reader: Reader, lane: Lane, now: float) -> Mapping[TP, float]:
        def seconds(tp: TP) -> float:
            if not lane.is_busy and reader.at_end(tp):
                return 0.0
            newest_ms = lane.applied_ms.get(tp.topic)
            return inf if newest_ms is None else max(0.0, now - newest_ms / 1000)

        return {tp: seconds(tp) for tp in (TP(t, lane.partition) for t in self._sources[lane.kind])}

    def _is_read(self, lane: Lane, behind: Mapping[TP, float]) -> bool:
        return all(behind[TP(topic, lane.partition)] == 0.0 for topic in self._sources[lane.kind])
