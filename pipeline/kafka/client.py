"""Kafka as the command line needs it: a few records written, a topic read to its end, outputs followed.

A worker reads and writes in its own way (`pipeline.kafka.app`).
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
from pipeline.kafka.topics import BrokerUnreachableError, RightsMissingError, TopicsNotReadyError, may_not
from pipeline.processing.processor import Message, Record
from schemas.tenancy import TENANT_HEADER

_EMBEDDED_WAIT_MS: Final = 10
"""The embedded broker does not wake a fetch that waits."""
_WAIT_MS: Final = 100


class Writer:
    """Writes records whose order within a key is kept."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._refusal: BaseException | None = None

    async def send(self, message: Message, timestamp_ms: int | None = None, tenants: Sequence[bytes] = ()) -> None:
        """Queue *message*, with the word that it is of *tenants*, usually one; it leaves at once."""
        topic, key, value = message
        headers = [(TENANT_HEADER, tenant) for tenant in tenants]
        sent = await self._producer.send(topic, value=value, key=key, timestamp_ms=timestamp_ms, headers=headers)
        sent.add_done_callback(self._answered)

    async def flush(self) -> None:
        """Return when the brokers have everything; raises what they say when they refused something."""
        await self._producer.flush()
        if self._refusal is not None:
            raise self._refusal

    def _answered(self, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled():
            self._refusal = self._refusal or sent.exception()


@asynccontextmanager
async def writing(connection: Connection) -> AsyncIterator[Writer]:
    """Give a writer; raises `BrokerUnreachableError`, or `RightsMissingError` where it may not write."""
    producer = aiokafka.AIOKafkaProducer(**connection.for_aiokafka(), acks="all", enable_idempotence=True)
    try:
        async with _answered(connection):
            await producer.start()
        with permitted(connection, "write"):
            yield Writer(producer)
    finally:
        await producer.stop()


@asynccontextmanager
async def following(connection: Connection, topics: Sequence[str]) -> AsyncIterator[AsyncIterator[Record]]:
    """Give the records that come to *topics* from now on, as they come.

    Raises `BrokerUnreachableError`, `TopicsNotReadyError` where a topic is missing, or `RightsMissingError`
    where it may not be read.
    """
    async with reading(connection, topics) as reader:
        partitions = reader.assignment()
        await reader.seek_to_end(*partitions)
        for partition in partitions:
            await reader.position(partition)  # only then is the end of now the beginning
        yield _records(reader)


async def matching(connection: Connection, topic: str, text: str) -> list[bytes]:
    """Return the values on *topic* in which *text* occurs, read up to its end of now, oldest first.

    Raises as `following` does.
    """
    wanted = text.encode()
    found: list[tuple[int, bytes]] = []
    async with reading(connection, [topic]) as reader:
        ends = await reader.end_offsets(reader.assignment())
        while unread := [tp for tp, end in ends.items() if end and await reader.position(tp) < end]:
            for records in (await reader.getmany(*unread, timeout_ms=1000)).values():
                found += [(r.timestamp, r.value) for r in records if r.value and wanted in r.value]
    return [value for _, value in sorted(found, key=itemgetter(0))]


@asynccontextmanager
async def history(connection: Connection, topic: str) -> AsyncIterator[tuple[int, AsyncIterator[list[bytes]]]]:
    """Give how many records *topic* holds, about, and their values up to its end of now, a fetch at a time.

    One partition comes after another, so that the same records always come in the same order. Raises as
    `following` does.
    """
    async with reading(connection, [topic]) as reader:
        partitions = sorted(reader.assignment())
        ends = await reader.end_offsets(partitions)
        begins = await reader.beginning_offsets(partitions)
        yield sum(ends[partition] - begins[partition] for partition in partitions), _up_to(reader, ends)


async def _up_to(reader: Any, ends: dict[Any, int]) -> AsyncIterator[list[bytes]]:
    for partition, end in sorted(ends.items()):
        while end and await reader.position(partition) < end:
            for records in (await reader.getmany(partition, timeout_ms=1000)).values():
                yield [r.value for r in records if r.value is not None and r.offset < end]


async def begin_at_end(connection: Connection, group: str, topics: Sequence[str]) -> None:
    """Let the consumer group *group*, which must be new, begin with what comes to *topics* from now on.

    Raises as `following` does.
    """
    async with reading(connection, topics) as reader:
        ends = await reader.end_offsets(reader.assignment())
    async with started(connection, (), group_id=group) as member:
        member.assign(list(ends))
        await member.commit(ends)


async def retained(connection: Connection, topics: Sequence[str], since_ms: int = 0) -> AsyncIterator[Record]:
    """Yield what *topics* hold up to their ends of now, of what was appended at *since_ms* or later.

    Each partition is in order. Raises as `following` does.
    """
    async with reading(connection, topics) as reader:
        ends = await reader.end_offsets(reader.assignment())
        if since_ms:
            found = await reader.offsets_for_times(dict.fromkeys(ends, since_ms))
            for partition, place in found.items():
                if place:  # the embedded broker does not know: there, what is older is read and left out
                    reader.seek(partition, place.offset)
        while unread := [tp for tp, end in ends.items() if end and await reader.position(tp) < end]:
            for partition, records in (await reader.getmany(*unread, timeout_ms=1000)).items():
                for record in records:
                    if record.offset < ends[partition] and record.timestamp >= since_ms:
                        yield record


async def remove(connection: Connection, topics: Sequence[str]) -> None:
    """Delete *topics* and what is on them; raises as `following` does."""
    admin = AIOKafkaAdminClient(**connection.for_aiokafka())
    try:
        async with _answered(connection):
            await admin.start()
            await admin.delete_topics(list(topics))
    finally:
        await admin.close()


@asynccontextmanager
async def reading(connection: Connection, topics: Sequence[str]) -> AsyncIterator[Any]:
    """Give a consumer of all partitions of *topics*, from their beginning."""
    async with started(connection, topics, group_id=None) as reader:
        found = {partition.topic for partition in reader.assignment()}
        if missing := [topic for topic in topics if topic not in found]:
            raise TopicsNotReadyError(
                f"{connection.bootstrap} has no topic {', '.join(missing)}; make what is missing with "
                "`session-risk topics create`"
            )
        partitions = list(reader.assignment())
        reader.unsubscribe()  # or whatever changes in the cluster would let it begin anew
        reader.assign(partitions)
        yield reader


@asynccontextmanager
async def started(
    connection: Connection, topics: Sequence[str], group_id: str | None, wait_ms: int = _WAIT_MS
) -> AsyncIterator[Any]:
    """Give a consumer, of aiokafka, that commits nothing by itself; raises as `following` does.

    A broker is asked anew after *wait_ms*: a partition that gave something is not asked again before.
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
        with permitted(connection, "read"):
            yield reader
    finally:
        await reader.stop()


@contextmanager
def permitted(connection: Connection, what: str) -> Iterator[None]:
    """Raise `RightsMissingError`, that this client may not do *what*, where the brokers say so."""
    try:
        yield
    except TopicAuthorizationFailedError as error:
        topics = [str(name) for part in error.args for name in ([part] if isinstance(part, str) else part)]
        raise RightsMissingError(may_not(connection, what, topics)) from error
    except ClusterAuthorizationFailedError as error:  # of an idempotent producer that may write nothing
        raise RightsMissingError(may_not(connection, "write", ["any"])) from error


@asynccontextmanager
async def _answered(connection: Connection) -> AsyncIterator[None]:
    try:
        with permitted(connection, "see"):
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
def on_topic(connection: Connection, topic: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Give about how many records *topic* holds, and their values, partition after partition.

    Raises as `pipeline.kafka.client.following` does. Not for use where an event loop runs.
    """
    with asyncio.Runner() as runner:
        context = history(connection, topic)
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
