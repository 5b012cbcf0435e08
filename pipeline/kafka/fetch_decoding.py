"""Decoding of fetched record batches, tolerant of any header names, and in bulk.

aiokafka raises at a header name that is not UTF-8 and cannot get past that record: whoever may write to a topic could
stop every reader of it. Java clients decode such bytes as U+FFFD (Kafka's `DefaultRecord.readHeaders`), and so does
this module. It also decodes all records of a fetch at once, where aiokafka decodes them one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_LENGTH: Final = slice(8, 12)
"""Bytes of a batch that hold its length (KIP-98: after the offset)."""


class RecordBatches:
    """The batches of a broker's answer *raw*; takes the place of aiokafka's `MemoryRecords`."""

    def __init__(self, raw: bytes) -> None:
        self._raw = memoryview(raw)
        self._records: Any = MemoryRecords(raw)

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def next_batch(self) -> RecordBatch:
        """Return the next batch; raises `CorruptRecordException` if it is too short to be one."""
        batch = self._records.next_batch()
        end = _LENGTH.stop + int.from_bytes(self._raw[_LENGTH], "big")
        raw, self._raw = self._raw[:end], self._raw[end:]
        return RecordBatch(batch, raw)


class RecordBatch:
    """aiokafka's batch, except that its records are decoded with any header names."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except (UnicodeDecodeError, CorruptRecordException):
            return _with_any_names(self._raw)


def _with_any_names(raw: memoryview) -> Iterator[Any]:
    """Yield the records of a batch (KIP-98); raises `CorruptRecordException` at bytes that are no record."""
    batch: Any = _DefaultRecordBatchPy(raw)
    batch._maybe_uncompress()
    position = batch._pos
    for _ in range(batch._num_records):
        try:
            record, position = _record(batch, position)
        except (IndexError, ValueError) as error:
            raise CorruptRecordException(f"invalid record at byte {position}: {error!r}") from error
        yield record


def _record(batch: Any, position: int) -> tuple[Any, int]:
    data = batch._buffer
    length, position = decode_varint(data, position)
    end = position + length
    _, position = decode_varint(data, position)  # attributes: none are in use
    timestamp_delta, position = decode_varint(data, position)
    offset_delta, position = decode_varint(data, position)
    key, position = _bytes(data, position)
    value, position = _bytes(data, position)
    count, position = decode_varint(data, position)
    headers = []
    for _ in range(count):
        name, position = _bytes(data, position)
        payload, position = _bytes(data, position)
        headers.append(((name or b"").decode("utf-8", "replace"), payload))
    if position != end:
        raise ValueError(f"it ends at byte {position}, not {end}")
    timestamp_type = batch.timestamp_type
    appended = timestamp_type == batch.LOG_APPEND_TIME
    timestamp = batch.max_timestamp if appended else batch.first_timestamp + timestamp_delta
    return _DefaultRecordPy(batch.base_offset + offset_delta, timestamp, timestamp_type, key, value, headers), position


def _bytes(data: bytearray, position: int) -> tuple[bytes | None, int]:
    size, position = decode_varint(data, position)
    return (None, position) if size < 0 else (bytes(data[position : position + size]), position + size)


def install() -> None:
    """Make every aiokafka consumer of this process decode this way; aiokafka has no setting for it."""
    fetcher.MemoryRecords = RecordBatches


class Fetched(NamedTuple):
    """One record read from Kafka, a :class:`pipeline.processing.processor.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


_new: Final[Any] = tuple.__new__
"""Makes a named tuple at half the cost of calling its class."""


class EagerRecords:
    """Takes the place of the *lazy* records of a fetch from which nothing has been taken yet."""

    def __init__(self, lazy: PartitionRecords) -> None:
        self.next_fetch_offset: int = lazy.next_fetch_offset
        self._lazy = lazy
        # It and its generator refer to each other: unclosed, everything fetched would stay in memory until the cycle
        # is collected.
        lazy._records_iterator.close()

    def __iter__(self) -> Iterator[Fetched]:
        records, self.next_fetch_offset = unpack(self._lazy)
        return iter(records)


def unpack(lazy: PartitionRecords) -> tuple[list[Fetched], int]:
    """Return all records of the fetch *lazy*, and the offset after them.

    Raises `aiokafka.errors.CorruptRecordException` if the first batch is corrupt. Batches before a later corrupt one
    are returned, and the next fetch starts with the corrupt one.
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
            found += some if batch.base_offset >= offset else [item for item in some if item.offset >= offset]
        offset = max(offset, batch.next_offset)
    return found, offset


def unpack_at_once(fetched: dict[Any, Any]) -> None:
    """Make the results that a fetcher holds, *fetched*, decode all their records when they are taken.

    Not under isolation level READ_COMMITTED: only aiokafka's own code knows which records were aborted.
    """
    for result in fetched.values():
        if type(result) is not FetchResult:
            continue
        lazy = result._partition_records
        if type(lazy) is PartitionRecords and lazy._isolation_level != READ_COMMITTED:
            result._partition_records = EagerRecords(lazy)
