"""Group reader: the single reader of a consumer group, which continues where the previous one stopped.

The reader assigns itself every partition and commits the group's offsets: no rebalance is needed, and a reader that
takes over starts at once. The caller ensures that only one reads at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from pipeline.kafka.client import open_reader, rights_checked, start_consumer
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import BrokerUnreachableError, RightsMissingError, TopicsNotReadyError, ping_broker
from pipeline.processing.processor import Record

log = logging.getLogger(__name__)

RESPONSE_TIMEOUT_S: Final = 10.0
"""Seconds the brokers may take to answer one request."""
_WAIT_MS: Final = 10
"""How soon a partition that just returned a command is fetched again."""


class GroupReader:
    """Returns records, and commits for the group how far they were returned.

    Each method raises `RightsMissingError` if the brokers do not authorize it, and `BrokerUnreachableError` if they
    refuse it otherwise or do not answer. After `chunk` raised, this reader must not be used again, since records it
    had fetched may be lost to it; a new one starts at the last commit.
    """

    def __init__(self, reader: Any, connection: Connection, topics: Sequence[str]) -> None:
        self._reader = reader
        self._connection = connection
        self._topic_order = {topic: index for index, topic in enumerate(topics)}
        self._commit_task: asyncio.Task[None] | None = None

    async def chunk(self, limit: int, wait_ms: int) -> list[Record]:
        """Return at most *limit* records, none after *wait_ms*: topic by topic, each partition in order."""
        async with _responding(self._connection, "returns no records"):
            found = await self._reader.getmany(timeout_ms=wait_ms, max_records=limit)
        in_order = sorted(found, key=lambda item: (self._topic_order[item.topic], item.partition))
        return [record for partition in in_order for record in found[partition]]

    async def commit(self) -> None:
        """Commit the offsets after all records that were returned."""
        async with _responding(self._connection, "does not commit offsets"):
            if self._commit_task is not None:  # a commit under way does not include what was returned since
                await self._wait_for(self._commit_task)
            self._commit_task = asyncio.create_task(self._reader.commit())
            await self._wait_for(self._commit_task)

    async def _wait_for(self, commit_task: asyncio.Task[None]) -> None:
        """Wait for *commit_task* without cancelling it: aiokafka would not clean up what it has begun."""
        try:
            await asyncio.shield(commit_task)
        finally:
            if commit_task.done():
                self._commit_task = None

    async def end(self) -> None:
        """Cancel a commit that is still under way; to be called after the reader has stopped."""
        if self._commit_task is not None:
            self._commit_task.cancel()
            await asyncio.gather(self._commit_task, return_exceptions=True)

    async def lag(self) -> dict[tuple[str, int], int]:
        """Return how many records of each topic and partition were not returned yet, as of the last fetch."""
        found = {}
        async with _responding(self._connection, "does not report how much is unread"):
            for item in self._reader.assignment():
                if (end := self._reader.highwater(item)) is not None:
                    found[item.topic, item.partition] = max(0, end - await self._reader.position(item))
        return found


@asynccontextmanager
async def group_reader(
    connection: Connection, group: str, topics: Sequence[str], since_ms: int
) -> AsyncIterator[GroupReader]:
    """Yield a reader that continues for *group* on *topics*; without a committed offset it starts at *since_ms*.

    Raises `BrokerUnreachableError` if no broker answers, or not every request; `TopicsNotReadyError` if a topic is
    missing, or `RightsMissingError` if it may not be read.
    """
    try:
        starts = await _start_offsets(connection, topics, since_ms)
    except TopicsNotReadyError:
        await ping_broker(connection)  # brokers that stopped answering do not report topics either
        raise
    async with start_consumer(connection, (), group_id=group, wait_ms=_WAIT_MS) as reader:
        reader.assign(list(starts))
        new_offsets = {}
        for partition, start in starts.items():
            async with _responding(connection, "does not return the committed offsets"):
                known = await reader.committed(partition)
            if known is None:
                new_offsets[partition] = start
                reader.seek(partition, start)
        if new_offsets:  # committed at once: a reader stopped before its first commit continues here
            async with _responding(connection, "does not commit offsets"):
                await reader.commit(new_offsets)
            log.info("group %s is new to %d of %d partitions", group, len(new_offsets), len(starts))
        read = GroupReader(reader, connection, topics)
        try:
            yield read
        finally:
            await reader.stop()
            await read.end()


async def _start_offsets(connection: Connection, topics: Sequence[str], since_ms: int) -> dict[TopicPartition, int]:
    """The offset of each partition at which a group starts that has no committed offset there."""
    async with open_reader(connection, topics) as reader:
        async with _responding(connection, "does not report the offsets of its topics"):
            if connection.embedded:  # it cannot look offsets up by time, and holds no old records
                return dict(await reader.beginning_offsets(list(reader.assignment())))
            ends = await reader.end_offsets(list(reader.assignment()))
        async with _responding(connection, "does not look offsets up by time"):
            found = await reader.offsets_for_times(dict.fromkeys(ends, since_ms))
    return {item: found[item].offset if found.get(item) else end for item, end in ends.items()}


@asynccontextmanager
async def _responding(connection: Connection, failure: str) -> AsyncIterator[None]:
    """Limit requests to the brokers to `RESPONSE_TIMEOUT_S`, and translate errors.

    Aiokafka retries some requests forever.

    Raises `RightsMissingError` for a missing authorization, which lasts until people change it. Any other failure may
    be gone the next time: it becomes a `BrokerUnreachableError` that says that the broker *failure*.
    """
    try:
        with rights_checked(connection, "read"):
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                yield
    except GroupAuthorizationFailedError as error:
        raise RightsMissingError(
            f"{connection.bootstrap} does not let {connection.kafka_principal} read as group {_named(error)}; "
            "`session-risk topics acls` lists the rights of each role, and grants them"
        ) from error
    except TimeoutError as error:
        raise BrokerUnreachableError(
            f"{connection.bootstrap} {failure}: no answer in {RESPONSE_TIMEOUT_S:g} s"
        ) from error
    except (KafkaError, OSError) as error:
        raise BrokerUnreachableError(f"{connection.bootstrap} {failure}: {error!r}") from error


def _named(error: GroupAuthorizationFailedError) -> str:
    return " ".join(map(str, error.args)) or "of its own"
