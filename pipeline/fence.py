# ruff: noqa: SLF001 - as in batch_consumer.py
"""Stops rows at the last moment before they leave: their lease may be lost while they wait in the producer.

A process that is frozen after it handed rows to the producer would send them when it wakes up, behind those
of the partition's new owner, and so undo what that one remembers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pipeline.lease import PartitionLost

Confirm = Callable[[], Awaitable[None]]
"""Returns while the partition is this worker's; raises `PartitionLost` when it is not any more."""


class Fences:
    """Who must agree before anything leaves for a topic-partition, by topic and partition."""

    def __init__(self) -> None:
        self._confirm: dict[tuple[str, int], Confirm] = {}

    def put(self, topic: str, partition: int, confirm: Confirm) -> None:
        """Have *confirm* asked before anything leaves for this partition."""
        self._confirm[topic, partition] = confirm

    def guard(self, kafka: Any) -> None:
        """Have the started aiokafka producer *kafka* ask; a batch that may not leave fails, `PartitionLost`.

        The broker then refuses what this producer writes there later, for there is a gap in its numbers: a
        worker that gets the partition back before it is restarted ends, and the next one goes on.
        """
        sender = kafka._sender
        send = sender._send_produce_req

        async def send_what_may(node_id: int, batches: dict[Any, Any]) -> None:
            kept = [tp for tp, batch in batches.items() if not await self._may_leave(tp, batch)]
            left = {tp: batch for tp, batch in batches.items() if tp not in kept}
            if left:
                await send(node_id, left)
            else:
                sender._in_flight.remove(node_id)
            sender._muted_partitions.difference_update(kept)

        sender._send_produce_req = send_what_may

    async def _may_leave(self, tp: Any, batch: Any) -> bool:
        confirm = self._confirm.get((tp.topic, tp.partition))
        if confirm is None:
            return True
        try:
            await confirm()
        except PartitionLost as lost:
            batch.failure(exception=lost)
            return False
        return True
