"""Queueing: writers to one partition take turns at the producer's queue, and wait for as long as it is full.

The producer holds one batch for each partition. Whoever comes while it is there waits, and gives up with
`KafkaTimeoutError` after a time that says nothing about the brokers: aiokafka's `add_batch` counts the time since its
start anew at every turn, so that several writers to one partition use 40 s up within seconds. Whether writing is
possible at all, only the brokers say, by the answer to a batch or by its absence.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import KafkaTimeoutError

Queued = TypeVar("Queued")


class PartitionQueues:
    """The turns of the writers to each topic and partition, first come, first served."""

    def __init__(self) -> None:
        self._turns: defaultdict[tuple[str, int | None], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def put(self, topic: str, partition: int | None, queue: Callable[[], Awaitable[Queued]]) -> Queued:
        """Return what *queue* returns, which hands something to the producer, once there is room.

        Raises what *queue* raises, but for the time-out of a full queue: then it is called again. One batch at a time
        waits there. If the brokers do not take the batch before it, the producer fails that batch in its own time, so
        this waits no longer than the brokers are waited for.
        """
        async with self._turns[topic, partition]:
            while True:
                try:
                    return await queue()
                except KafkaTimeoutError:
                    continue
