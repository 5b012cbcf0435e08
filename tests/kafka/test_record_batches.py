"""Records are read whatever the names of their headers are, and are otherwise what aiokafka reads."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.connection import Connection
from pipeline.kafka.fetch_decoding import RecordBatches

AT = 1_772_409_600_000
LENGTH, CRC, SUMMED, LAST_OF_ATTRIBUTES, RECORDS_BEGIN = slice(8, 12), slice(17, 21), slice(21, None), 22, 61
"""Where a batch tells what (KIP-98)."""
NAMED = b"a name of some length"
"""Stands for a name of as many bytes while a batch is built: aiokafka writes no other than text."""
NAMES = st.binary(min_size=len(NAMED), max_size=len(NAMED))
HEADERS = st.tuples(st.sampled_from(["tenant", "\u00fc", NAMED.decode()]), st.none() | st.binary(max_size=3))
RECORDS = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=5),
        st.none() | st.binary(max_size=200),
        st.lists(HEADERS, max_size=3),
    ),
    min_size=1,
    max_size=6,
)
CODECS = [
    pytest.param(1, gzip_encode, id="gzip"),
    pytest.param(2, snappy_encode, id="snappy"),
    pytest.param(3, lz4_encode, id="lz4"),
    pytest.param(4, zstd_encode, id="zstd"),
]
Received = list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]


def _batch(records: Received, first: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10**6)
    for at, (key, value, headers) in enumerate(records):
        builder.append(at, AT + at, key, value, headers)
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def _signed(batch: bytes) -> bytes:
    bytearray_read = bytearray(batch)
    bytearray_read[CRC] = calc_crc32c(bytes(bytearray_read[SUMMED])).to_bytes(4, "big")
    return bytes(bytearray_read)


def _read(batches: Any) -> list[tuple[Any, ...]]:
    found = []
    while batches.has_next():
        batch = batches.next_batch()
        assert batch.validate_crc()
        found += [
            (item.offset, item.timestamp, item.timestamp_type, item.key, item.value, list(item.headers))
            for item in batch
        ]
    return found


@given(records=RECORDS, name=NAMES, again=RECORDS)
def test_a_name_that_is_no_text_is_read_with_signs_in_its_place_and_all_else_as_it_is(
    records: Received, name: bytes, again: Received
) -> None:
    good = _batch(records) + _batch(again, len(records))
    odd = _signed(_batch(records).replace(NAMED, name)) + _batch(again, len(records))
    read_as = name.decode("utf-8", "replace")

    expected = _read(MemoryRecords(good))
    for *_, headers in expected[: len(records)]:
        headers[:] = [(read_as if named == NAMED.decode() else named, details) for named, details in headers]
    assert _read(RecordBatches(odd)) == expected


@pytest.mark.parametrize(("codec", "pack"), CODECS)
def test_a_name_that_is_no_text_is_read_in_a_compressed_batch(codec: int, pack: Any) -> None:
    whole, name = _batch([(b"k", b"v" * 500, [(NAMED.decode(), b"1")])]), NAMED.replace(b"o", b"\xff")
    packed = bytearray(whole[:RECORDS_BEGIN] + pack(whole[RECORDS_BEGIN:].replace(NAMED, name)))
    packed[LENGTH] = (len(packed) - LENGTH.stop).to_bytes(4, "big")
    packed[LAST_OF_ATTRIBUTES] |= codec

    assert _read(RecordBatches(_signed(bytes(packed)))) == [
        (0, AT, 0, b"k", b"v" * 500, [(name.decode("utf-8", "replace"), b"1")])
    ]


def test_what_is_no_record_is_refused_after_those_before_it() -> None:
    batch = _batch([(b"k", b"1", []), (b"k", b"2", [("tenant", b"acme")])])
    payload = _signed(batch.replace(b"\x0ctenant", b"\x0etenant"))  # its name is a byte longer than it says

    records = iter(RecordBatches(payload).next_batch())

    assert next(records).value == b"1"
    with pytest.raises(CorruptRecordException, match="invalid record at byte "):
        next(records)


def test_every_consumer_reads_so() -> None:
    Connection("127.0.0.1:9092").for_aiokafka()
    assert fetcher.MemoryRecords is RecordBatches
