"""Fencing: keeps a worker that lost its partitions from writing to their changelogs.

Kafka does not stop a worker that was presumed dead and wakes up (a paused machine, a stopped process) from writing to
a changelog that another worker owns by now. A lease does: it is renewed by the group coordinator's answers to
heartbeats, and every writer confirms it first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

_RECHECK_SECONDS = 0.05


class PartitionLost(Exception):
    """Another worker owns the partition; the write must not happen."""


class Lease:
    """The right to write, for a generation of the group, until *seconds* after the last successful heartbeat.

    *seconds* is the session timeout: the coordinator gives no member's partitions away before it has passed. (It does
    to a process that joins with the same `group.instance.id`; workers have none.) Heartbeats are reported by the
    consumer's thread, confirmations are requested in the main thread.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._held: tuple[int | None, float] = (None, 0.0)

    @property
    def generation(self) -> int | None:
        """The generation the lease is for; `None` if there is no lease."""
        return self._held[0]

    def grant(self, generation: int) -> None:
        """Start the lease: this worker is a member of *generation* now."""
        self._held = (generation, self._clock() + self._seconds)

    def renew(self, generation: int, asked_at: float) -> None:
        """Extend the lease: the heartbeat sent at *asked_at* was answered without error."""
        if generation == self._held[0]:
            self._held = (generation, asked_at + self._seconds)

    def end(self) -> None:
        """End the lease: the partitions are revoked, or the group continues without this worker."""
        self._held = (None, 0.0)

    async def confirm(self, generation: int) -> None:
        """Return once it is certain that *generation* still holds; raises `PartitionLost` if it does not.

        While the lease has run out nothing is certain, and this waits for the next heartbeat.
        """
        while True:
            held, until = self._held
            if held != generation:
                raise PartitionLost(f"generation {generation} of the consumer group is over")
            if self._clock() < until:
                return
            await asyncio.sleep(_RECHECK_SECONDS)


Confirm = Callable[[], Awaitable[None]]
"""Returns while this worker owns the partition; raises `PartitionLost` when it no longer does."""


class ProducerFence:
    """Confirmations that the producer must get before a batch leaves, by topic and partition."""

    def __init__(self) -> None:
        self._confirm: dict[tuple[str, int], Confirm] = {}

    def put(self, topic: str, partition: int, confirm: Confirm) -> None:
        """Await *confirm* before any batch leaves for this partition."""
        self._confirm[topic, partition] = confirm

    def guard(self, kafka: Any) -> None:
        """Make the started aiokafka producer *kafka* confirm each batch.

        One that may not leave fails with `PartitionLost`.

        The broker then refuses later batches of this producer for that partition, because a sequence number is
        missing. So a worker that gets the partition back before it is restarted ends with a failure, and the next
        worker continues.
        """
        sender = kafka._sender
        send = sender._send_produce_req

        async def send_confirmed(node_id: int, batches: dict[Any, Any]) -> None:
            fenced = [tp for tp, batch in batches.items() if not await self._may_leave(tp, batch)]
            allowed = {tp: batch for tp, batch in batches.items() if tp not in fenced}
            if allowed:
                await send(node_id, allowed)
            else:
                sender._in_flight.remove(node_id)
            sender._muted_partitions.difference_update(fenced)

        sender._send_produce_req = send_confirmed

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
