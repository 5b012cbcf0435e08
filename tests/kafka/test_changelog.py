"""A changelog is written in few large batches, read back whole, and written by nobody but its owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiokafka
import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.changelog import ROWS_AT_ONCE, Changelog, ChangelogReader, changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.kafka.fencing import Lease, PartitionLost
from pipeline.kafka.partitioner import partition_of
from pipeline.kafka.producer import MAX_REQUEST_BYTES, BatchWriter, RecordTooLargeError
from pipeline.processing.processor import ChangelogRow, Message
from tests.support.counting_processor import read_all


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with EmbeddedBroker() as broker:
        yield Connection(broker.bootstrap, embedded=True)


@asynccontextmanager
async def _writer(connection: Connection, batch_bytes: int = MAX_REQUEST_BYTES) -> AsyncIterator[BatchWriter]:
    async with aiokafka.AIOKafkaProducer(
        **connection.for_aiokafka(),
        acks="all",
        enable_idempotence=True,
        max_batch_size=batch_bytes,
        max_request_size=MAX_REQUEST_BYTES,
    ) as producer:
        yield BatchWriter(lambda: producer)


async def _write(connection: Connection, topic: str, rows: list[ChangelogRow], batch_bytes: int) -> None:
    lease = Lease(60.0)
    lease.grant(1)
    async with _writer(connection, batch_bytes) as writer:
        await Changelog(writer, TopicPartition(topic, 2), lease, 1, 0).write(rows)


async def _restored(connection: Connection, topic: str) -> tuple[list[ChangelogRow], list[int]]:
    rows: list[ChangelogRow] = []
    sizes: list[int] = []

    def restore(some: list[ChangelogRow]) -> None:
        rows.extend(some)
        sizes.append(len(some))

    places = [TopicPartition(topic, p) for p in range(4)]
    async with ChangelogReader(connection, fetch_wait_ms=10) as reader:
        await reader.read(dict.fromkeys(places, restore), await reader.ends(places))
    return rows, sizes


def test_what_is_written_is_read_back_in_its_order_tombstones_and_all(connection: Connection) -> None:
    rows: list[ChangelogRow] = [
        (b"a", b"1"),
        (b"b", b""),
        (b"a", b"2"),
        (b"b", None),
        (b"\x00\xff", bytes(1_000)),
    ]
    asyncio.run(_write(connection, "whole", rows, MAX_REQUEST_BYTES))
    assert asyncio.run(_restored(connection, "whole"))[0] == rows


def test_rows_that_do_not_fit_one_batch_go_in_several_and_one_larger_than_a_batch_alone(
    connection: Connection,
) -> None:
    rows: list[ChangelogRow] = [(b"%d" % i, bytes(300)) for i in range(200)]
    rows[77] = (b"large", bytes(100_000))
    asyncio.run(_write(connection, "split", rows, 4_096))
    assert asyncio.run(_restored(connection, "split"))[0] == rows


def test_many_rows_are_restored_in_bounded_portions(connection: Connection) -> None:
    rows: list[ChangelogRow] = [(b"%d" % i, b"x") for i in range(3 * ROWS_AT_ONCE)]
    asyncio.run(_write(connection, "many", rows, MAX_REQUEST_BYTES))
    restored, sizes = asyncio.run(_restored(connection, "many"))
    assert restored == rows
    assert max(sizes) <= ROWS_AT_ONCE


def test_an_empty_changelog_restores_nothing(connection: Connection) -> None:
    assert asyncio.run(_restored(connection, "empty")) == ([], [])


def test_a_row_larger_than_brokers_take_is_refused_by_name_before_anything_is_sent(
    connection: Connection,
) -> None:
    with pytest.raises(RecordTooLargeError, match="refused has 1,000,104 bytes, 4 of them its key"):
        asyncio.run(_write(connection, "refused", [(b"huge", bytes(1_000_000))], MAX_REQUEST_BYTES))
    assert asyncio.run(_restored(connection, "refused"))[0] == []


def test_a_worker_that_lost_the_partition_writes_nothing(connection: Connection) -> None:
    async def write_after_the_end() -> None:
        lease = Lease(60.0)
        lease.grant(2)  # a rebalance since
        async with _writer(connection) as writer:
            await Changelog(writer, TopicPartition("fenced", 2), lease, 1, 0).write([(b"a", b"old")])

    with pytest.raises(PartitionLost):
        asyncio.run(write_after_the_end())
    assert asyncio.run(_restored(connection, "fenced"))[0] == []


def test_a_partition_lost_between_two_batches_is_not_written_on(connection: Connection) -> None:
    calls = []

    async def lose_it() -> None:
        calls.append(1)
        if len(calls) > 2:
            raise PartitionLost

    async def write() -> None:
        async with _writer(connection, 1_000) as writer:
            await writer.append("halfway", 0, [(b"%d" % i, bytes(900)) for i in range(5)], lose_it)

    with pytest.raises(PartitionLost):
        asyncio.run(write())
    assert len(asyncio.run(_restored(connection, "halfway"))[0]) == 2


def test_the_owner_knows_where_its_changelog_ends(connection: Connection) -> None:
    async def write_twice() -> tuple[list[int], int]:
        place = TopicPartition("ends", 1)
        lease = Lease(60.0)
        lease.grant(1)
        async with _writer(connection, 1_000) as writer, ChangelogReader(connection, 10) as reader:
            await writer.append(place.topic, place.partition, [(b"earlier", b"row")])
            changelog = Changelog(writer, place, lease, 1, (await reader.ends([place]))[place])
            known = [changelog.end]
            for rows in ([(b"%d" % i, bytes(400)) for i in range(5)], []):
                await changelog.write(rows)
                known.append(changelog.end)
            return known, (await reader.ends([place]))[place]

    assert asyncio.run(write_twice()) == ([1, 6, 6], 6)


def test_messages_reach_the_partition_of_their_key_in_order(connection: Connection) -> None:
    messages = [Message("sent", b"key-%d" % (i % 5), b"%d" % i) for i in range(100)]
    messages.append(Message("sent", None, b"without a key"))

    async def send() -> None:
        async with _writer(connection) as writer:
            await (await writer.send(messages))

    asyncio.run(send())
    received = asyncio.run(read_all(connection, "sent"))
    assert {r.partition == partition_of(r.key, 4) for r in received if r.key is not None} == {True}
    by_key = {key: [r.value for r in received if r.key == key] for key in {m.key for m in messages}}
    assert by_key == {key: [m.value for m in messages if m.key == key] for key in {m.key for m in messages}}


@pytest.mark.parametrize(
    ("key", "partition"),
    [(b"21", 8), (b"foobar", 9), (b"a-little-bit-long-string", 9), (b"", 1)],
)
def test_partitions_are_those_of_the_java_client(key: bytes, partition: int) -> None:
    # murmur2 values from Kafka's own UtilsTest: -973932308, -790332482, -985981536, 275646681.
    java = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"": 275646681}
    assert partition_of(key, 11) == (java[key] & 0x7FFFFFFF) % 11


@given(st.binary(max_size=64), st.integers(1, 1024))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_a_changelog_topic_is_named_as_faust_names_it() -> None:
    assert changelog_topic("session-risk", "device") == "session-risk-device-state-changelog"
