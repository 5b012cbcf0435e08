"""Whether this worker may still write for the partitions it was given.

Kafka does not stop a worker that was taken for dead and wakes up (a paused machine, a stopped process) from
writing to a changelog that is another's by now. A lease does: it lives on the group coordinator's answers to
heartbeats, and whoever writes confirms it first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

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
