"""Reading on in Kafka, for a consumer group with one reader, where the last one stopped.

The reader takes every partition by itself and keeps the group's offsets: nobody has to be told of a newcomer,
and one that takes over begins at once. That no two read at a time is for others to see to.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.errors import KafkaError

from pipeline.client import permitted, reading, started
from pipeline.connection import Connection
from pipeline.stage import Record
from pipeline.topic_admin import BrokerUnreachableError

log = logging.getLogger(__name__)

_WAIT_MS: Final = 10
"""So soon the next command is fetched of a partition that just gave one."""


class Continued:
    """Gives records, and remembers for the group how far they were given."""

    def __init__(self, reader: Any, connection: Connection, topics: Sequence[str]) -> None:
        self._reader = reader
        self._connection = connection
        self._place = {topic: place for place, topic in enumerate(topics)}

    async def chunk(self, most: int, wait_ms: int) -> list[Record]:
        """Give at most *most* records, none after *wait_ms*: topic by topic, each partition in order.

        Raises `RightsMissingError` where they may not be read.
        """
        with permitted(self._connection, "read"):
            found = await self._reader.getmany(timeout_ms=wait_ms, max_records=most)
        in_order = sorted(found, key=lambda one: (self._place[one.topic], one.partition))
        return [record for partition in in_order for record in found[partition]]

    async def commit(self) -> None:
        """Let the group go on after all that was given; raises `BrokerUnreachableError` if it is not kept."""
        try:
            await self._reader.commit()
        except KafkaError as error:
            raise BrokerUnreachableError(
                f"{self._connection.bootstrap} does not keep how far was read: {error!r}"
            ) from error

    async def behind(self) -> dict[tuple[str, int], int]:
        """How many records of each topic and partition were not given yet, as of the last fetch."""
        found = {}
        for one in self._reader.assignment():
            if (end := self._reader.highwater(one)) is not None:
                found[one.topic, one.partition] = max(0, end - await self._reader.position(one))
        return found


@asynccontextmanager
async def continuing(
    connection: Connection, group: str, topics: Sequence[str], since_ms: int
) -> AsyncIterator[Continued]:
    """Read *topics* on for *group*; where it never read, from what came at *since_ms* or later.

    Raises `BrokerUnreachableError`, `TopicsNotReadyError` where a topic is missing, or `RightsMissingError`
    where it may not be read.
    """
    async with reading(connection, topics) as reader:
        ends = await reader.end_offsets(reader.assignment())
        # The embedded broker knows no times, and holds nothing from before it was started.
        times = {} if connection.embedded else dict.fromkeys(ends, since_ms)
        found = await reader.offsets_for_times(times) if times else {}
        begins = await reader.beginning_offsets(list(ends)) if connection.embedded else ends
    async with started(connection, (), group_id=group, wait_ms=_WAIT_MS) as reader:
        reader.assign(list(ends))
        news = {}
        for one in ends:
            if await reader.committed(one) is None:
                news[one] = found[one].offset if found.get(one) else begins[one]
                reader.seek(one, news[one])
        if news:  # kept at once: who is stopped before it has read anything goes on here
            await reader.commit(news)
            log.info("group %s is new to %d of %d partitions", group, len(news), len(ends))
        yield Continued(reader, connection, topics)
