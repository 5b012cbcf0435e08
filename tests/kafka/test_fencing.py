"""A worker writes while its lease holds, waits while that is uncertain, and never for another generation."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.kafka.fencing import Lease, PartitionLost


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> Lease:
    return Lease(10.0, clock)


async def _holds(lease: Lease, generation: int) -> bool:
    """Say whether the lease is confirmed at once; raises what it raises."""
    try:
        await asyncio.wait_for(lease.confirm(generation), 0.12)
    except TimeoutError:
        return False
    return True


def test_a_granted_lease_holds_for_its_generation_only(lease: Lease) -> None:
    lease.grant(7)
    assert asyncio.run(_holds(lease, 7))
    with pytest.raises(PartitionLost, match="generation 6"):
        asyncio.run(_holds(lease, 6))


def test_without_a_lease_nothing_may_be_written(lease: Lease) -> None:
    with pytest.raises(PartitionLost):
        asyncio.run(_holds(lease, 0))


def test_a_lease_that_ran_out_neither_holds_nor_is_lost(lease: Lease, clock: Clock) -> None:
    lease.grant(7)
    clock.now += 10.0
    assert not asyncio.run(_holds(lease, 7))


def test_a_good_heartbeat_prolongs_the_lease_from_when_it_was_sent(lease: Lease, clock: Clock) -> None:
    lease.grant(7)
    lease.renew(7, asked_at=105.0)
    clock.now = 114.9
    assert asyncio.run(_holds(lease, 7))
    clock.now = 115.0
    assert not asyncio.run(_holds(lease, 7))


def test_a_heartbeat_of_another_generation_prolongs_nothing(lease: Lease, clock: Clock) -> None:
    lease.grant(7)
    lease.renew(8, asked_at=200.0)
    clock.now = 110.0
    assert not asyncio.run(_holds(lease, 7))


def test_whoever_waits_learns_from_the_next_heartbeat(lease: Lease, clock: Clock) -> None:
    async def wait_and_renew() -> None:
        waiting = asyncio.ensure_future(lease.confirm(7))
        await asyncio.sleep(0.06)
        assert not waiting.done()
        lease.renew(7, asked_at=clock.now)
        await asyncio.wait_for(waiting, 1.0)

    async def wait_and_end() -> None:
        waiting = asyncio.ensure_future(lease.confirm(7))
        await asyncio.sleep(0.06)
        lease.end()
        with pytest.raises(PartitionLost):
            await asyncio.wait_for(waiting, 1.0)

    lease.grant(7)
    clock.now += 60.0
    asyncio.run(wait_and_renew())
    clock.now += 60.0
    asyncio.run(wait_and_end())
