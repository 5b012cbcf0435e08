"""Whether this worker may still write for the partitions it was given.

Kafka does not stop a worker that was taken for dead and wakes up (a paused machine, a stopped process) from
writing to a changelog that is another's by now. A lease does: it lives on the group coordinator's answers to
heartbeats, and whoever writes confirms it first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

_LOOK_AGAIN_SECONDS = 0.05


class PartitionLost(Exception):
    """The partition is another worker's by now; what was about to be written must not be."""


class Lease:
    """The right to write, for a generation of the group, until *seconds* after the last good heartbeat.

    *seconds* is the session timeout: the coordinator gives nobody's partitions away before it has passed. (It
    does to a process that joins by the same `group.instance.id`: workers have none.)
    Heartbeats are reported from the consumer's thread, confirmations asked for in the main one.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._held: tuple[int | None, float] = (None, 0.0)

    @property
    def generation(self) -> int | None:
        """The generation the lease is for; `None` when there is none."""
        return self._held[0]

    def grant(self, generation: int) -> None:
        """Start the lease: this worker is a member of *generation* now."""
        self._held = (generation, self._clock() + self._seconds)

    def renew(self, generation: int, asked_at: float) -> None:
        """Prolong the lease: a heartbeat sent at *asked_at* was answered well."""
        if generation == self._held[0]:
            self._held = (generation, asked_at + self._seconds)

    def end(self) -> None:
        """End the lease: the partitions are revoked, or the group goes on without this worker."""
        self._held = (None, 0.0)

    async def confirm(self, generation: int) -> None:
        """Return once it is certain that *generation* still holds; raises `PartitionLost` when it does not.

        With a lease run out nothing is certain: wait for the next heartbeat to tell.
        """
        while True:
            held, until = self._held
            if held != generation:
                raise PartitionLost(f"generation {generation} of the consumer group is over")
            if self._clock() < until:
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


Confirm = Callable[[], Awaitable[None]]
"""Returns while the partition is this worker's; raises `PartitionLost` when it is not any more."""


class ProducerFence:
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
