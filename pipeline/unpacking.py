# ruff: noqa: SLF001 - as in batch_consumer.py
"""Unpacks what was fetched from a topic-partition at once, where aiokafka goes from record to record.

Two objects are made of a record there, at the price of all that is done to find out what it says; here it is
one, and a small one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException


class Fetched(NamedTuple):
    """One record read from Kafka, as :class:`pipeline.stage.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


_new: Final[Any] = tuple.__new__
"""A named tuple at half the price of calling its class."""


class Unpacked:
    """Stands for the *lazy* records of a fetch that nobody has begun to take."""

    def __init__(self, lazy: PartitionRecords) -> None:
        self.next_fetch_offset: int = lazy.next_fetch_offset
        self._lazy = lazy
        # It holds its generator, which holds it: a circle, and all that was fetched would wait for a search.
        lazy._records_iterator.close()

    def __iter__(self) -> Iterator[Fetched]:
        records, self.next_fetch_offset = unpack(self._lazy)
        return iter(records)


def unpack(lazy: PartitionRecords) -> tuple[list[Fetched], int]:
    """Return what was fetched, and the offset after it.

    Raises `aiokafka.errors.CorruptRecordException` where the first batch is spoilt; what lies before a spoilt
    one is returned, and the next fetch begins with that.
    """
    topic, partition = lazy._tp
    batches, offset = lazy._records, lazy.next_fetch_offset
    found: list[Any] = []
    while batches.has_next():
        batch = batches.next_batch()
        if lazy._check_crcs and not batch.validate_crc():
            if found:
                break
            raise CorruptRecordException(f"{topic}[{partition}] after offset {offset}")
        if not batch.is_control_batch:
            some = [
                _new(
                    Fetched,
                    (topic, partition, r.offset, r.timestamp, r.timestamp_type, r.key, r.value, r.headers),
                )
                for r in batch
            ]
            found += some if batch.base_offset >= offset else [one for one in some if one.offset >= offset]
        offset = max(offset, batch.next_offset)
    return found, offset


def unpack_at_once(fetched: dict[Any, Any]) -> None:
    """Have what a fetcher holds, *fetched*, unpacked at once when it is taken.

    Not where only what is committed may be read: what was taken back is known to aiokafka alone.
    """
    for result in fetched.values():
        if type(result) is not FetchResult:
            continue
        lazy = result._partition_records
        if type(lazy) is PartitionRecords and lazy._isolation_level != READ_COMMITTED:
            result._partition_records = Unpacked(lazy)
