"""Batches of records as aiokafka reads them, and whatever the names of their headers are.

aiokafka raises where such a name is no UTF-8, and gets past that record by no means: whoever may write to a
topic could end every reader of it. Clients in Java read U+FFFD for what is no text (Kafka's
`DefaultRecord.readHeaders`); here it is the same.
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
"""Where a batch tells how many bytes follow (KIP-98: after the offset)."""


class RecordBatches:
    """What a broker answered, *raw*, batch by batch; in place of aiokafka's `MemoryRecords`."""

    def __init__(self, raw: bytes) -> None:
        self._raw = memoryview(raw)
        self._records: Any = MemoryRecords(raw)

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def next_batch(self) -> RecordBatch:
        """The next batch; raises `CorruptRecordException` if it is too short to be one."""
        batch = self._records.next_batch()
        end = _LENGTH.stop + int.from_bytes(self._raw[_LENGTH], "big")
        raw, self._raw = self._raw[:end], self._raw[end:]
        return RecordBatch(batch, raw)


class RecordBatch:
    """One batch: aiokafka's in all, but that its records are read with any names."""

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
    """The records of a batch (KIP-98) one by one; raises `CorruptRecordException` at one that is none."""
    batch: Any = _DefaultRecordBatchPy(raw)
    batch._maybe_uncompress()
    at = batch._pos
    for _ in range(batch._num_records):
        try:
            record, at = _record(batch, at)
        except (IndexError, ValueError) as error:
            raise CorruptRecordException(f"what is no record begins at byte {at}: {error!r}") from error
        yield record


def _record(batch: Any, at: int) -> tuple[Any, int]:
    data = batch._buffer
    length, at = decode_varint(data, at)
    end = at + length
    _, at = decode_varint(data, at)  # attributes: none are in use
    later, at = decode_varint(data, at)
    further, at = decode_varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    count, at = decode_varint(data, at)
    headers = []
    for _ in range(count):
        name, at = _bytes(data, at)
        payload, at = _bytes(data, at)
        headers.append(((name or b"").decode("utf-8", "replace"), payload))
    if at != end:
        raise ValueError(f"it ends at byte {at}, not at {end}")
    kind = batch.timestamp_type
    timestamp = batch.max_timestamp if kind == batch.LOG_APPEND_TIME else batch.first_timestamp + later
    return _DefaultRecordPy(batch.base_offset + further, timestamp, kind, key, value, headers), at


def _bytes(data: bytearray, at: int) -> tuple[bytes | None, int]:
    size, at = decode_varint(data, at)
    return (None, at) if size < 0 else (bytes(data[at : at + size]), at + size)


def install() -> None:
    """Make every aiokafka consumer of this process read so; aiokafka has no setting for it."""
    fetcher.MemoryRecords = RecordBatches


class Fetched(NamedTuple):
    """One record read from Kafka, as :class:`pipeline.processing.processor.Record`."""

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


class EagerRecords:
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
            found += some if batch.base_offset >= offset else [item for item in some if item.offset >= offset]
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
            result._partition_records = EagerRecords(lazy)
