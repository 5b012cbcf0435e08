"""Lines records of many topic-partitions up, so that event time advances evenly over all of them.

After an outage each topic comes in fetches that span seconds of a busy one and hours of a quiet one. Handed
on as they come, API calls would run minutes ahead of the telemetry that explains them. And where more comes
than can be worked on, what is dangerous must not wait behind what is much. No I/O and no clock in here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import nsmallest
from typing import Any, Generic, TypeVar

Partition = TypeVar("Partition")

MOST_WAITING = 65_536
"""Records that wait, of all topic-partitions in equal shares; the last fetch of each comes on top."""


class Interleaver(Generic[Partition]):
    """Records that wait for their turn, handed out in chunks: the one that begins earliest comes next.

    A chunk holds records of one topic-partition, at most *chunk_size*, and reaches at most *skew_ms* of event
    time beyond the next record of any other. A record is anything with a `timestamp` in milliseconds.
    """

    def __init__(
        self, chunk_size: int, skew_ms: int, lead_ms: Callable[[Partition], int] = lambda _: 0
    ) -> None:
        self._chunk_size = chunk_size
        self._skew_ms = skew_ms
        self._lead_ms = lead_ms
        self._waiting: dict[Partition, deque[Any]] = {}
        self._reached: dict[Partition, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._waiting

    def add(self, partition: Partition, records: Iterable[Any]) -> None:
        """Line *records* up behind those of the same topic-partition."""
        records = deque(records)
        if records:
            self._waiting.setdefault(partition, deque()).extend(records)

    def clear(self) -> None:
        """Forget everything that waits and how far each topic-partition has come."""
        self._waiting.clear()
        self._reached.clear()

    def with_room(self, partitions: Collection[Partition]) -> set[Partition]:
        """Return those of *partitions* whose share of the room is not used up: fetch for these."""
        room = max(2 * self._chunk_size, MOST_WAITING // max(1, len(partitions)))
        return {p for p in partitions if len(self._waiting.get(p, ())) < room}

    def runs_ahead_of(self, partition: Partition) -> bool:
        """Say whether the next chunk could be too early, if *partition* has more to bring than waits here."""
        if partition in self._waiting or not self._waiting:
            return False
        begins = min(map(_begins_at, self._waiting.items()))
        return partition not in self._reached or begins > self._reached[partition] + self._skew_ms

    def next_chunk(self) -> tuple[Partition, Sequence[Any]]:
        """Take the chunk that begins earliest; raises `LookupError` when nothing waits."""
        if not self._waiting:
            raise LookupError("no records wait")
        (partition, line), *others = nsmallest(2, self._waiting.items(), key=self._turn_of)
        reach = None
        if others:
            reach = self._turn_of(others[0]) + self._lead_ms(partition) + self._skew_ms
        chunk = self._cut(line, reach)
        self._reached[partition] = chunk[-1].timestamp
        if not line:
            del self._waiting[partition]
        return partition, chunk

    def _turn_of(self, waiting: tuple[Partition, deque[Any]]) -> int:
        return _begins_at(waiting) - self._lead_ms(waiting[0])

    def _cut(self, line: deque[Any], reach: int | None) -> list[Any]:
        chunk = [line.popleft()]
        while line and len(chunk) < self._chunk_size and (reach is None or line[0].timestamp <= reach):
            chunk.append(line.popleft())
        return chunk


def _begins_at(waiting: tuple[object, deque[Any]]) -> int:
    timestamp: int = waiting[1][0].timestamp
    return timestamp
