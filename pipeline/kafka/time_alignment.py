"""Lines records of many topic-partitions up, so that event time advances evenly over all of them.

After an outage each topic comes in fetches that span seconds of a busy one and hours of a quiet one. Handed
on as they come, API calls would run minutes ahead of the telemetry that explains them. And where more comes
than can be worked on, what is dangerous must not wait behind what is much. No I/O and no clock in here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import nsmallest
from typing import Any, Final, Generic, TypeVar

from schemas.members import YEAR_2000_MS

MAX_AHEAD_MS: Final = 300_000
"""How far a record's time may be ahead of our clock: whoever made it may keep time a little otherwise."""


def is_plausible_time(timestamp: int, now_ms: int) -> bool:
    """Whether a record's *timestamp* is a time at which it may have been made, from the year 2000 on.

    A producer may give any: written on, one of the future would be refused by brokers, one of long ago would
    have what follows from it deleted at once.
    """
    return YEAR_2000_MS <= timestamp <= now_ms + MAX_AHEAD_MS


Partition = TypeVar("Partition")
_FOREVER = 2**63

MOST_WAITING = 65_536
"""Records that wait, of all topic-partitions in equal shares; the last fetch of each comes on top."""


class EventTimeAligner(Generic[Partition]):
    """Records that wait for their turn, handed out in chunks: the one that begins earliest comes next.

    A chunk holds records of one topic-partition, at most *chunk_size*, and reaches at most *skew_ms* of event
    time beyond the next record of any other. A record is anything with a `timestamp` in milliseconds.

    Where more than a chunk waits, a topic-partition goes ahead by *lead_ms* of event time. Else event time
    alone decides: nothing has long to wait then, and no context is heard before the calls of its time.
    """

    def __init__(self, chunk_size: int, skew_ms: int, lead_ms: Callable[[Partition], int] = lambda _: 0) -> None:
        self._chunk_size = chunk_size
        self._skew_ms = skew_ms
        self._lead_ms = lead_ms
        self._waiting: dict[Partition, _Buffer] = {}
        self._reached: dict[Partition, int] = {}
        self._latest = _FOREVER
        self._is_crowded = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._waiting

    def add(self, partition: Partition, records: Iterable[Any], latest_ms: int | None = None) -> None:
        """Line *records* up behind those of the same topic-partition.

        A time after *latest_ms* is a mistake or a trick: its record is taken to be as old as the one before
        it. Else it, and all that lie behind it, would wait until nothing else does.
        """
        self._latest = self._latest if latest_ms is None else latest_ms
        if records := list(records):
            self._waiting.setdefault(partition, _Buffer()).extend(records)

    def clear(self) -> None:
        """Forget everything that waits and how far each topic-partition has come."""
        self._waiting.clear()
        self._reached.clear()

    def partitions_with_room(self, partitions: Collection[Partition]) -> set[Partition]:
        """Return those of *partitions* whose share of the room is not used up: fetch for these."""
        room = max(2 * self._chunk_size, MOST_WAITING // max(1, len(partitions)))
        return {p for p in partitions if p not in self._waiting or len(self._waiting[p]) < room}

    def ahead_of(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Those of *partitions* for which the next chunk could be too early, if they have more to bring."""
        if not self._waiting:
            return []
        begins = min(map(self._begins_at, self._waiting.items()))
        reached, waiting, skew_ms = self._reached, self._waiting, self._skew_ms
        return [p for p in partitions if p not in waiting and (p not in reached or begins > reached[p] + skew_ms)]

    def next_chunk(self) -> tuple[Partition, Sequence[Any]]:
        """Take the chunk that begins earliest; raises `LookupError` when nothing waits."""
        if not self._waiting:
            raise LookupError("no records wait")
        self._is_crowded = sum(map(len, self._waiting.values())) > self._chunk_size
        (partition, line), *others = nsmallest(2, self._waiting.items(), key=self._turn_of)
        reach = None
        if others:
            reach = self._turn_of(others[0]) + self._lead_of(partition) + self._skew_ms
        chunk = self._cut(partition, line, reach)
        if not line:
            del self._waiting[partition]
        return partition, chunk

    def _turn_of(self, waiting: tuple[Partition, _Buffer]) -> int:
        return self._begins_at(waiting) - self._lead_of(waiting[0])

    def _lead_of(self, partition: Partition) -> int:
        return self._lead_ms(partition) if self._is_crowded else 0

    def _begins_at(self, waiting: tuple[Partition, _Buffer]) -> int:
        partition, line = waiting
        return line.begins if line.begins <= self._latest else self._reached.get(partition, 0)

    def _cut(self, partition: Partition, line: _Buffer, reach: int | None) -> list[Any]:
        begins = self._begins_at((partition, line))
        most = self._latest if reach is None else min(reach, self._latest)
        chunk, times = line.next(self._chunk_size)
        if max(times) > most:
            end = next((at for at, number in enumerate(times) if at and most < number <= self._latest), len(times))
            chunk, times = chunk[:end], times[:end]
        self._reached[partition] = next((time_ms for time_ms in reversed(times[1:]) if time_ms <= self._latest), begins)
        line.go_on(len(chunk))
        return chunk


class _Buffer:
    """Records that wait, in order, and their times: whole chunks of them are looked at and taken at once."""

    def __init__(self) -> None:
        self._records: list[Any] = []
        self._times: list[int] = []
        self._at = 0

    def __len__(self) -> int:
        return len(self._records) - self._at

    @property
    def begins(self) -> int:
        """The time of the first that waits."""
        return self._times[self._at]

    def extend(self, records: list[Any]) -> None:
        """Line *records* up behind the others."""
        del self._records[: self._at], self._times[: self._at]
        self._at = 0
        self._records += records
        self._times += [record.timestamp for record in records]

    def next(self, most: int) -> tuple[list[Any], list[int]]:
        """The next records, at most so many, and their times."""
        end = self._at + most
        return self._records[self._at : end], self._times[self._at : end]

    def go_on(self, count: int) -> None:
        """The next *count* are taken."""
        self._at += count
