"""Reading on in Kafka, for a consumer group with one reader, where the last one stopped.

The reader takes every partition by itself and keeps the group's offsets: nobody has to be told of a newcomer,
and one that takes over begins at once. That no two read at a time is for others to see to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from pipeline.kafka.client import permitted, reading, started
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import BrokerUnreachableError, RightsMissingError, TopicsNotReadyError, ping_broker
from pipeline.processing.processor import Record

log = logging.getLogger(__name__)

ANSWER_S: Final = 10.0
"""Seconds the brokers may take to answer one question."""
_WAIT_MS: Final = 10
"""So soon the next command is fetched of a partition that just gave one."""


class GroupReader:
    """Gives records, and remembers for the group how far they were given.

    A method raises `RightsMissingError` for
    what the brokers do not permit, and `BrokerUnreachableError` for what else they refuse, or do not answer.
    After `chunk` did so it is of no more use: what it had read may be lost to it. Another one begins where
    the last commit was.
    """

    def __init__(self, reader: Any, connection: Connection, topics: Sequence[str]) -> None:
        self._reader = reader
        self._connection = connection
        self._place = {topic: place for place, topic in enumerate(topics)}
        self._keeping: asyncio.Task[None] | None = None

    async def chunk(self, most: int, wait_ms: int) -> list[Record]:
        """Give at most *most* records, none after *wait_ms*: topic by topic, each partition in order."""
        async with _answered(self._connection, "gives no records"):
            found = await self._reader.getmany(timeout_ms=wait_ms, max_records=most)
        in_order = sorted(found, key=lambda item: (self._place[item.topic], item.partition))
        return [record for partition in in_order for record in found[partition]]

    async def commit(self) -> None:
        """Let the group go on after all that was given."""
        async with _answered(self._connection, "does not keep how far was read"):
            if self._keeping is not None:  # that says nothing of what was given since
                await self._kept(self._keeping)
            self._keeping = asyncio.create_task(self._reader.commit())
            await self._kept(self._keeping)

    async def _kept(self, keeping: asyncio.Task[None]) -> None:
        """Wait for *keeping*, which is not broken off: aiokafka would leave behind what it has begun."""
        try:
            await asyncio.shield(keeping)
        finally:
            if keeping.done():
                self._keeping = None

    async def end(self) -> None:
        """Give up what is not kept by now; to be called when the reader has stopped."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def lag(self) -> dict[tuple[str, int], int]:
        """How many records of each topic and partition were not given yet, as of the last fetch."""
        found = {}
        async with _answered(self._connection, "does not say how far there is to read"):
            for item in self._reader.assignment():
                if (end := self._reader.highwater(item)) is not None:
                    found[item.topic, item.partition] = max(0, end - await self._reader.position(item))
        return found


@asynccontextmanager
async def group_reader(
    connection: Connection, group: str, topics: Sequence[str], since_ms: int
) -> AsyncIterator[GroupReader]:
    """Read *topics* on for *group*; where it never read, from what came at *since_ms* or later.

    Raises `BrokerUnreachableError` where no broker answers, or not to all that is asked;
    `TopicsNotReadyError` where a topic is missing, or `RightsMissingError` where it may not be read.
    """
    try:
        begins = await _begins(connection, topics, since_ms)
    except TopicsNotReadyError:
        await ping_broker(connection)  # brokers that fell silent meanwhile do not say what there is either
        raise
    async with started(connection, (), group_id=group, wait_ms=_WAIT_MS) as reader:
        reader.assign(list(begins))
        news = {}
        for partition, begin in begins.items():
            async with _answered(connection, "does not say how far was read"):
                known = await reader.committed(partition)
            if known is None:
                news[partition] = begin
                reader.seek(partition, begin)
        if news:  # kept at once: who is stopped before it has read anything goes on here
            async with _answered(connection, "does not keep how far was read"):
                await reader.commit(news)
            log.info("group %s is new to %d of %d partitions", group, len(news), len(begins))
        read = GroupReader(reader, connection, topics)
        try:
            yield read
        finally:
            await reader.stop()
            await read.end()


async def _begins(connection: Connection, topics: Sequence[str], since_ms: int) -> dict[TopicPartition, int]:
    """The offset of each partition with which a group begins that never read there."""
    async with reading(connection, topics) as reader:
        async with _answered(connection, "does not say what it holds"):
            if connection.embedded:  # it knows no times, and holds nothing from before it was started
                return dict(await reader.beginning_offsets(list(reader.assignment())))
            ends = await reader.end_offsets(list(reader.assignment()))
        async with _answered(connection, "does not say what it holds since when"):
            found = await reader.offsets_for_times(dict.fromkeys(ends, since_ms))
    return {item: found[item].offset if found.get(item) else end for item, end in ends.items()}


@asynccontextmanager
async def _answered(connection: Connection, otherwise: str) -> AsyncIterator[None]:
    """Ask the brokers for something, in `ANSWER_S`; aiokafka by itself asks some things without end.

    Raises `RightsMissingError` for what they do not permit: that stays as it is until people change it. What
    fails otherwise may go well the next time: `BrokerUnreachableError`, as the brokers did *otherwise*.
    """
    try:
        with permitted(connection, "read"):
            async with asyncio.timeout(ANSWER_S):
                yield
    except GroupAuthorizationFailedError as error:
        raise RightsMissingError(
            f"{connection.bootstrap} does not let {connection.kafka_principal} read as group {_named(error)}; "
            "`session-risk topics acls` tells the rights of each role, and grants them"
        ) from error
    except TimeoutError as error:
        raise BrokerUnreachableError(f"{connection.bootstrap} {otherwise}: no answer in {ANSWER_S:g} s") from error
    except (KafkaError, OSError) as error:
        raise BrokerUnreachableError(f"{connection.bootstrap} {otherwise}: {error!r}") from error


def _named(error: GroupAuthorizationFailedError) -> str:
    return " ".join(map(str, error.args)) or "of its own"
