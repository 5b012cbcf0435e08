"""What is unpacked at once is what aiokafka unpacks one by one; no good record is lost beside a bad one."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.fetch_decoding import EagerRecords, Fetched, unpack, unpack_at_once

PLACE = TopicPartition("api-calls", 3)
CONTROL = 0b100000
"""The bit in a batch's attributes that says that it is the broker's own (KIP-98)."""
ATTRIBUTES, CRC, SUMMED = 22, slice(17, 21), slice(21, None)


def _batch(first: int, last: int, codec: int = 0) -> bytes:
    """A batch as brokers keep it: keys, values and headers of all kinds."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 10**6)
    for at in range(first, last):
        key = None if at % 5 == 0 else b"key-%d" % at
        value = None if at % 7 == 0 else b"value-%d" % at
        headers = [("tenant", b"acme"), ("empty", None)] if at % 3 == 0 else []
        builder.append(at - first, 1_772_409_600_000 + at, key, value, headers)
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def _control(batch: bytes) -> bytes:
    """The same as a batch of the broker's own, with a checksum that fits."""
    bytearray_read = bytearray(batch)
    bytearray_read[ATTRIBUTES] |= CONTROL
    bytearray_read[CRC] = calc_crc32c(bytes(bytearray_read[SUMMED])).to_bytes(4, "big")
    return bytes(bytearray_read)


def _spoilt(batch: bytes) -> bytes:
    return batch[:-1] + bytes([batch[-1] ^ 1])


def _lazy(batches: bytes, offset: int, isolation: int = READ_UNCOMMITTED) -> PartitionRecords:
    return PartitionRecords(PLACE, MemoryRecords(batches), [], offset, None, None, True, isolation)


def _same(one: Any) -> tuple[Any, ...]:
    return (
        one.topic,
        one.partition,
        one.offset,
        one.timestamp,
        one.timestamp_type,
        one.key,
        one.value,
        list(one.headers),
    )


@given(cuts=st.sets(st.integers(1, 59)), gone=st.sets(st.integers(0, 59)), begin=st.integers(0, 60))
def test_all_at_once_is_what_aiokafka_gives_one_by_one(cuts: set[int], gone: set[int], begin: int) -> None:
    """Batches in *gone* were compacted away, or are the broker's own; each other one is compressed."""
    begin, batches = begin % min(cuts, default=60), b""  # a broker begins with the batch that holds it
    for at, (first, last) in enumerate(pairwise([0, *sorted(cuts), 60])):
        whole = _batch(first, last, codec=at % 2)
        batches += whole if at not in gone else _control(whole) if at % 3 else b""
    slow = _lazy(batches, begin)
    expected = [_same(record) for record in slow]

    records, offset = unpack(_lazy(batches, begin))

    assert [_same(record) for record in records] == expected
    assert offset == slow.next_fetch_offset
    assert all(type(record) is Fetched for record in records)


def test_records_before_a_spoilt_batch_are_taken_and_it_is_refused_at_the_next_fetch() -> None:
    good, bad = _batch(0, 4), _spoilt(_batch(4, 8))

    records, offset = unpack(_lazy(good + bad, 0))

    assert ([record.offset for record in records], offset) == ([0, 1, 2, 3], 4)
    with pytest.raises(CorruptRecordException, match=r"api-calls\[3\] after offset 4"):
        unpack(_lazy(bad, offset))


@pytest.fixture
def fetched() -> Callable[[int], FetchResult]:
    def make(isolation: int) -> FetchResult:
        state = SimpleNamespace(paused=False, position=2)
        state.consumed_to = lambda offset: setattr(state, "position", offset)
        assignment = SimpleNamespace(active=True, state_value={PLACE: state}.__getitem__)
        lazy = _lazy(_batch(0, 6), 2, isolation)
        result = FetchResult(PLACE, assignment=assignment, partition_records=lazy, backoff=0)
        result.state = state
        return result

    return make


def test_a_fetch_is_taken_whole_and_the_position_moves_behind_it(fetched: Callable[[int], Any]) -> None:
    result = fetched(READ_UNCOMMITTED)
    unpack_at_once({PLACE: result, "refused": object()})
    assert isinstance(result._partition_records, EagerRecords)

    records = result.getall()

    assert [record.offset for record in records] == [2, 3, 4, 5]
    assert (result.state.position, result.has_more()) == (6, False)


def test_where_only_what_is_committed_is_read_aiokafka_says_what_that_is(
    fetched: Callable[[int], Any],
) -> None:
    result = fetched(READ_COMMITTED)
    lazy = result._partition_records
    unpack_at_once({PLACE: result})
    assert result._partition_records is lazy


def test_what_was_fetched_is_freed_as_soon_as_it_is_taken(fetched: Callable[[int], Any]) -> None:
    result = fetched(READ_UNCOMMITTED)
    raw = weakref.ref(result._partition_records)
    gc.disable()
    try:
        unpack_at_once({PLACE: result})
        result.getall()
        del result
        assert raw() is None
    finally:
        gc.enable()
