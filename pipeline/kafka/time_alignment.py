"""Event-time alignment: orders buffered records so that event time advances evenly over all partitions.

After an outage a fetch spans seconds of a busy topic and hours of a quiet one. Delivered as fetched, API calls would
run minutes ahead of the telemetry that explains them. And when more arrives than can be processed, the few dangerous
records must not wait behind the mass. No I/O and no clock in here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import nsmallest
from typing import Any, Final, Generic, TypeVar

from schemas.fields import YEAR_2000_MS

MAX_AHEAD_MS: Final = 300_000
"""How far a record's time may be ahead of our clock: its producer's clock may be a little wrong."""


def is_plausible_time(timestamp: int, now_ms: int) -> bool:
    """Return whether *timestamp* is a time at which a record may have been made, from the year 2000 on.

    A producer may set any time. If it were passed on, brokers would refuse one in the future, and delete at once what
    follows from one long ago.
    """
    return YEAR_2000_MS <= timestamp <= now_ms + MAX_AHEAD_MS


Partition = TypeVar("Partition")
_FOREVER = 2**63

MAX_BUFFERED = 65_536
"""Records buffered, in equal shares of all partitions; the last fetch of each comes on top."""


class EventTimeAligner(Generic[Partition]):
    """Buffer that hands records out in chunks: the chunk that starts earliest comes next.

    A chunk holds at most *chunk_size* records of one partition, and extends at most *skew_ms* of event time beyond
    the next record of any other partition. A record is anything with a `timestamp` in milliseconds.

    While more than a chunk is buffered, a partition may go ahead by *lead_ms* of event time. Otherwise event time
    alone decides: nothing waits long then, and no context is delivered before the calls of its time.
    """

    def __init__(self, chunk_size: int, skew_ms: int, lead_ms: Callable[[Partition], int] = lambda _: 0) -> None:
        self._chunk_size = chunk_size
        self._skew_ms = skew_ms
        self._lead_ms = lead_ms
        self._buffers: dict[Partition, _Buffer] = {}
        self._delivered_until: dict[Partition, int] = {}
        self._latest_ms = _FOREVER
        self._is_crowded = False

    def __bool__(self) -> bool:
        return bool(self._buffers)

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._buffers

    def add(self, partition: Partition, records: Iterable[Any], latest_ms: int | None = None) -> None:
        """Append *records* to those of the same partition.

        A time after *latest_ms* is an error or an attack: its record is treated as being as old as the one before it.
        Otherwise it, and all records behind it, would wait until nothing else does.
        """
        self._latest_ms = self._latest_ms if latest_ms is None else latest_ms
        if records := list(records):
            self._buffers.setdefault(partition, _Buffer()).extend(records)

    def clear(self) -> None:
        """Drop all records, and how far each partition was delivered."""
        self._buffers.clear()
        self._delivered_until.clear()

    def partitions_with_room(self, partitions: Collection[Partition]) -> set[Partition]:
        """Return those of *partitions* whose share of the buffer is not used up: fetch from these."""
        room = max(2 * self._chunk_size, MAX_BUFFERED // max(1, len(partitions)))
        return {p for p in partitions if p not in self._buffers or len(self._buffers[p]) < room}

    def ahead_of(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Return those of *partitions* whose unread records, if any, could be older than the next chunk."""
        if not self._buffers:
            return []
        starts_at = min(map(self._start_of, self._buffers.items()))
        buffers, delivered_until, skew_ms = self._buffers, self._delivered_until, self._skew_ms
        return [
            p
            for p in partitions
            if p not in buffers and (p not in delivered_until or starts_at > delivered_until[p] + skew_ms)
        ]

    def next_chunk(self) -> tuple[Partition, Sequence[Any]]:
        """Take the chunk that starts earliest; raises `LookupError` when nothing is buffered."""
        if not self._buffers:
            raise LookupError("no records wait")
        self._is_crowded = sum(map(len, self._buffers.values())) > self._chunk_size
        (partition, buffer), *others = nsmallest(2, self._buffers.items(), key=self._turn_of)
        end_ms = None
        if others:
            end_ms = self._turn_of(others[0]) + self._lead_of(partition) + self._skew_ms
        chunk = self._cut(partition, buffer, end_ms)
        if not buffer:
            del self._buffers[partition]
        return partition, chunk

    def _turn_of(self, entry: tuple[Partition, _Buffer]) -> int:
        return self._start_of(entry) - self._lead_of(entry[0])

    def _lead_of(self, partition: Partition) -> int:
        return self._lead_ms(partition) if self._is_crowded else 0

    def _start_of(self, entry: tuple[Partition, _Buffer]) -> int:
        partition, buffer = entry
        return buffer.starts_at if buffer.starts_at <= self._latest_ms else self._delivered_until.get(partition, 0)

    def _cut(self, partition: Partition, buffer: _Buffer, end_ms: int | None) -> list[Any]:
        starts_at = self._start_of((partition, buffer))
        end_ms = self._latest_ms if end_ms is None else min(end_ms, self._latest_ms)
        chunk, times = buffer.next(self._chunk_size)
        if max(times) > end_ms:
            end = next(
                (index for index, time_ms in enumerate(times) if index and end_ms < time_ms <= self._latest_ms),
                len(times),
            )
            chunk, times = chunk[:end], times[:end]
        self._delivered_until[partition] = next(
            (time_ms for time_ms in reversed(times[1:]) if time_ms <= self._latest_ms), starts_at
        )
        buffer.consume(len(chunk))
        return chunk


class _Buffer:
    """Records of one partition in order, with their times; chunks of them are examined and taken at once."""

    def __init__(self) -> None:
        self._records: list[Any] = []
        self._times: list[int] = []
        self._taken = 0

    def __len__(self) -> int:
        return len(self._records) - self._taken

    @property
    def starts_at(self) -> int:
        """The time of the first record."""
        return self._times[self._taken]

    def extend(self, records: list[Any]) -> None:
        """Append *records*."""
        del self._records[: self._taken], self._times[: self._taken]
        self._taken = 0
        self._records += records
        self._times += [record.timestamp for record in records]

    def next(self, count: int) -> tuple[list[Any], list[int]]:
        """Return the next records, at most *count*, and their times."""
        end = self._taken + count
        return self._records[self._taken : end], self._times[self._taken : end]

    def consume(self, count: int) -> None:
        """Remove the next *count* records."""
        self._taken += count
