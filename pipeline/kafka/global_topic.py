"""Global topic: a small topic that every worker reads from its beginning, outside the consumer group.

Used for `model-control`. The callback knows what a record means. Of the records that were there before the worker
started only the newest of each key is used, as after compaction: orders that were withdrawn do not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiokafka
from aiokafka import TopicPartition
from mode import Service

from pipeline.kafka.connection import Connection
from pipeline.processing.processor import Record


class GlobalTopicReader(Service):
    """Passes the newest record of each key of *topic*, oldest first, then every new record, to *on_record*.

    It counts as started when it has reached the end of the topic.
    """

    def __init__(self, connection: Connection, topic: str, on_record: Callable[[Record], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._connection = connection
        self._topic = topic
        self._on_record = on_record
        self._reader: Any = None

    async def on_start(self) -> None:
        """Read the records that are there now."""
        self._reader = aiokafka.AIOKafkaConsumer(
            self._topic,
            **self._connection.for_aiokafka(),
            group_id=None,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await self._reader.start()
        partitions = self._reader.assignment()
        ends = await self._reader.end_offsets(partitions)
        newest: dict[bytes | int, Record] = {}
        while partitions := await self._unread(ends):
            for record in await self._read(partitions):
                key = record.offset if record.key is None else record.key
                newest.pop(key, None)
                newest[key] = record
        for record in newest.values():
            self._on_record(record)

    @Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            for record in await self._read(()):
                self._on_record(record)

    async def on_stop(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            await self._reader.stop()

    async def _unread(self, ends: dict[TopicPartition, int]) -> list[TopicPartition]:
        return [tp for tp, end in ends.items() if end and await self._reader.position(tp) < end]

    async def _read(self, partitions: Any) -> list[Record]:
        fetched = await self._reader.getmany(*partitions, timeout_ms=500)
        return [record for records in fetched.values() for record in records]
