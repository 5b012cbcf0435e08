"""Kafka client of the commands and the transmitter: writes records, reads topics to their end, follows topics.

A worker reads and writes differently (`pipeline.kafka.app`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from operator import itemgetter
from typing import Any, Final

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import BrokerUnreachableError, RightsMissingError, TopicsNotReadyError, not_authorized
from pipeline.processing.processor import Message, Record
from schemas.tenancy import TENANT_HEADER

_EMBEDDED_WAIT_MS: Final = 10
"""The embedded broker does not answer a waiting fetch when a record arrives, so fetches must be short."""
_WAIT_MS: Final = 100


class Writer:
    """Writes records; records with the same key stay in order."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._refusal: BaseException | None = None

    async def send(self, message: Message, timestamp_ms: int | None = None, tenants: Sequence[bytes] = ()) -> None:
        """Queue *message*, with a header for each of *tenants* (usually one); it is sent without delay."""
        topic, key, value = message
        headers = [(TENANT_HEADER, tenant) for tenant in tenants]
        sent = await self._producer.send(topic, value=value, key=key, timestamp_ms=timestamp_ms, headers=headers)
        sent.add_done_callback(self._answered)

    async def flush(self) -> None:
        """Return when the brokers have acknowledged everything; raises the first error if they refused something."""
        await self._producer.flush()
        if self._refusal is not None:
            raise self._refusal

    def _answered(self, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled():
            self._refusal = self._refusal or sent.exception()


@asynccontextmanager
async def open_writer(connection: Connection) -> AsyncIterator[Writer]:
    """Yield a writer; raises `BrokerUnreachableError`, or `RightsMissingError` if it may not write."""
    producer = aiokafka.AIOKafkaProducer(**connection.for_aiokafka(), acks="all", enable_idempotence=True)
    try:
        async with _answered(connection):
            await producer.start()
        with rights_checked(connection, "write"):
            yield Writer(producer)
    finally:
        await producer.stop()


@asynccontextmanager
async def follow_topics(connection: Connection, topics: Sequence[str]) -> AsyncIterator[AsyncIterator[Record]]:
    """Yield the records that are appended to *topics* from now on.

    Raises `BrokerUnreachableError`, `TopicsNotReadyError` if a topic is missing, or `RightsMissingError` if it may
    not be read.
    """
    async with open_reader(connection, topics) as reader:
        partitions = reader.assignment()
        await reader.seek_to_end(*partitions)
        for partition in partitions:
            await reader.position(partition)  # this resolves the seek: the reader starts at the present end
        yield _records(reader)


async def values_containing(connection: Connection, topic: str, text: str) -> list[bytes]:
    """Return the values on *topic* that contain *text*, up to its present end, oldest first.

    Raises as `follow_topics` does.
    """
    wanted = text.encode()
    found: list[tuple[int, bytes]] = []
    async with open_reader(connection, [topic]) as reader:
        ends = await reader.end_offsets(reader.assignment())
        while unread := [tp for tp, end in ends.items() if end and await reader.position(tp) < end]:
            for records in (await reader.getmany(*unread, timeout_ms=1000)).values():
                found += [(r.timestamp, r.value) for r in records if r.value and wanted in r.value]
    return [value for _, value in sorted(found, key=itemgetter(0))]


@asynccontextmanager
async def open_history(connection: Connection, topic: str) -> AsyncIterator[tuple[int, AsyncIterator[list[bytes]]]]:
    """Yield about how many records *topic* holds, and their values up to its present end, a fetch at a time.

    One partition comes after another, so the same records always come in the same order. Raises as `follow_topics`
    does.
    """
    async with open_reader(connection, [topic]) as reader:
        partitions = sorted(reader.assignment())
        ends = await reader.end_offsets(partitions)
        begins = await reader.beginning_offsets(partitions)
        yield sum(ends[partition] - begins[partition] for partition in partitions), _up_to(reader, ends)


async def _up_to(reader: Any, ends: dict[Any, int]) -> AsyncIterator[list[bytes]]:
    for partition, end in sorted(ends.items()):
        while end and await reader.position(partition) < end:
            for records in (await reader.getmany(partition, timeout_ms=1000)).values():
                yield [r.value for r in records if r.value is not None and r.offset < end]


async def start_group_at_end(connection: Connection, group: str, topics: Sequence[str]) -> None:
    """Let the new consumer group *group* start with the records that are appended to *topics* from now on.

    Raises as `follow_topics` does.
    """
    async with open_reader(connection, topics) as reader:
        ends = await reader.end_offsets(reader.assignment())
    async with start_consumer(connection, (), group_id=group) as member:
        member.assign(list(ends))
        await member.commit(ends)


async def read_retained(connection: Connection, topics: Sequence[str], since_ms: int = 0) -> AsyncIterator[Record]:
    """Yield the records on *topics* up to their present ends that were appended at *since_ms* or later.

    Each partition is in order. Raises as `follow_topics` does.
    """
    async with open_reader(connection, topics) as reader:
        ends = await reader.end_offsets(reader.assignment())
        if since_ms:
            found = await reader.offsets_for_times(dict.fromkeys(ends, since_ms))
            for partition, place in found.items():
                if place:  # the embedded broker cannot look offsets up by time: older records are read and skipped
                    reader.seek(partition, place.offset)
        while unread := [tp for tp, end in ends.items() if end and await reader.position(tp) < end]:
            for partition, records in (await reader.getmany(*unread, timeout_ms=1000)).items():
                for record in records:
                    if record.offset < ends[partition] and record.timestamp >= since_ms:
                        yield record


async def delete_topics(connection: Connection, topics: Sequence[str]) -> None:
    """Delete *topics* with everything on them; raises as `follow_topics` does."""
    admin = AIOKafkaAdminClient(**connection.for_aiokafka())
    try:
        async with _answered(connection):
            await admin.start()
            await admin.delete_topics(list(topics))
    finally:
        await admin.close()


@asynccontextmanager
async def open_reader(connection: Connection, topics: Sequence[str]) -> AsyncIterator[Any]:
    """Yield a consumer of all partitions of *topics*, at their beginning."""
    async with start_consumer(connection, topics, group_id=None) as reader:
        found = {partition.topic for partition in reader.assignment()}
        if missing := [topic for topic in topics if topic not in found]:
            raise TopicsNotReadyError(
                f"{connection.bootstrap} has no topic {', '.join(missing)}; make what is missing with "
                "`session-risk topics create`"
            )
        partitions = list(reader.assignment())
        reader.unsubscribe()  # a subscription would start again at every change in the cluster
        reader.assign(partitions)
        yield reader


@asynccontextmanager
async def start_consumer(
    connection: Connection, topics: Sequence[str], group_id: str | None, wait_ms: int = _WAIT_MS
) -> AsyncIterator[Any]:
    """Yield an aiokafka consumer that commits nothing by itself; raises as `follow_topics` does.

    A fetch of a partition waits up to *wait_ms*; a partition that just returned records is not fetched again before.
    """
    reader = aiokafka.AIOKafkaConsumer(
        *topics,
        **connection.for_aiokafka(),
        group_id=group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
        fetch_max_wait_ms=_EMBEDDED_WAIT_MS if connection.embedded else wait_ms,
    )
    try:
        async with _answered(connection):
            await reader.start()
        with rights_checked(connection, "read"):
            yield reader
    finally:
        await reader.stop()


@contextmanager
def rights_checked(connection: Connection, what: str) -> Iterator[None]:
    """Translate authorization errors into a `RightsMissingError` that this client may not do *what*."""
    try:
        yield
    except TopicAuthorizationFailedError as error:
        topics = [str(name) for part in error.args for name in ([part] if isinstance(part, str) else part)]
        raise RightsMissingError(not_authorized(connection, what, topics)) from error
    except ClusterAuthorizationFailedError as error:  # raised by an idempotent producer that may not write anywhere
        raise RightsMissingError(not_authorized(connection, "write", ["any"])) from error


@asynccontextmanager
async def _answered(connection: Connection) -> AsyncIterator[None]:
    try:
        with rights_checked(connection, "see"):
            yield
    except (KafkaConnectionError, TimeoutError, OSError) as error:
        raise BrokerUnreachableError(
            f"no broker answers at {connection.bootstrap}; name yours in SESSION_RISK_BROKER"
        ) from error
    except KafkaError as error:
        raise TopicsNotReadyError(f"{connection.bootstrap} refuses: {error!r}") from error


async def _records(reader: Any) -> AsyncIterator[Record]:
    while True:
        for records in (await reader.getmany(timeout_ms=500)).values():
            for record in records:
                yield record


@contextmanager
def read_topic(connection: Connection, topic: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Yield about how many records *topic* holds, and their values, partition after partition.

    Raises as `follow_topics` does. Not for use inside a running event loop.
    """
    with asyncio.Runner() as runner:
        context = open_history(connection, topic)
        total, fetches = runner.run(context.__aenter__())
        try:
            yield total, _values(runner, fetches)
        finally:
            runner.run(context.__aexit__(None, None, None))


def _values(runner: asyncio.Runner, fetches: AsyncIterator[list[bytes]]) -> Iterator[bytes]:
    async def fetch() -> list[bytes] | None:
        return await anext(fetches, None)

    while (fetched := runner.run(fetch())) is not None:
        yield from fetched
