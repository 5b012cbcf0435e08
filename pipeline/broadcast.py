"""Reads a small topic from its beginning in every worker, outside the consumer group: what all must know.

Used for `model-control`. What a record means is the callback's to know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiokafka
from aiokafka import TopicPartition
from mode import Service

from pipeline.connection import Connection
from pipeline.stage import Record


class Broadcast(Service):
    """Hands every record of *topic*, oldest first, to *on_record*; started when it has come to the end."""

    def __init__(
        self, connection: Connection, topic: str, on_record: Callable[[Record], None], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._connection = connection
        self._topic = topic
        self._on_record = on_record
        self._reader: Any = None

    async def on_start(self) -> None:
        """Read what is there now."""
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
        while partitions := await self._unread(ends):
            await self._read(partitions)

    @Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            await self._read(())

    async def on_stop(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            await self._reader.stop()

    async def _unread(self, ends: dict[TopicPartition, int]) -> list[TopicPartition]:
        return [tp for tp, end in ends.items() if end and await self._reader.position(tp) < end]

    async def _read(self, partitions: Any) -> None:
        for records in (await self._reader.getmany(*partitions, timeout_ms=500)).values():
            for record in records:
                self._on_record(record)
