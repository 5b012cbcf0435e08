"""The lease lives on good heartbeats of the consumer group."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from pipeline.kafka import consumer_thread
from pipeline.kafka.consumer_thread import watch_heartbeats
from pipeline.kafka.fencing import Lease


class Coordinator:
    """What aiokafka's group coordinator shows to who watches its heartbeats."""

    def __init__(self, answer: bool, generation: int = 7, rejoins: bool = False) -> None:
        self._answer = answer
        self.generation = generation
        self._rejoin_needed_fut = SimpleNamespace(done=lambda: rejoins)

    async def _do_heartbeat(self) -> bool:
        return self._answer


@pytest.mark.parametrize(
    ("coordinator", "generation", "prolonged"),
    [
        (Coordinator(answer=True), 7, True),
        (Coordinator(answer=False), 7, False),
        (Coordinator(answer=True, rejoins=True), 7, False),
        (Coordinator(answer=False, generation=-1), None, False),
    ],
    ids=["answered", "not answered", "the group rebalances", "the group goes on without us"],
)
def test_the_lease_lives_on_good_heartbeats(coordinator: Coordinator, generation: int | None, prolonged: bool) -> None:
    lease = Lease(10.0, clock=lambda: 0.0)
    lease.grant(7)
    watch_heartbeats(coordinator, lease)
    with patch.object(consumer_thread, "monotonic", lambda: 1_000.0):
        assert asyncio.run(coordinator._do_heartbeat()) == coordinator._answer
    assert lease.generation == generation
    assert (lease._held[1] == 1_010.0) == prolonged
