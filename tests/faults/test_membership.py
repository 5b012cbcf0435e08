"""Workers come, go and take each other's places under load: nothing is lost, nothing doubled or repeated."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Player
from tests.faults.group import until
from tests.faults.known import PARTITIONS
from tests.faults.outcome import Wrong
from tests.faults.trial import JOIN_SECONDS, Trial

pytestmark = pytest.mark.faults


def test_a_second_and_a_third_worker_join_and_the_first_leaves(play: Player) -> None:
    async def join_and_leave(one: Trial) -> None:
        await one.moment(1.0, 2.0)
        await one.hurt()
        for workers in (2, 3):
            one.start()
            await one.join(workers)
        shares = sorted(map(len, (await one.group.held()).values()))
        assert (sum(shares), shares[0] > 0) == (PARTITIONS, True)
        one.fleet.workers[0].stop()
        assert await one.fleet.workers[0].ended() == 0

    run = play(join_and_leave)
    assert (run.wrong, run.repeated) == (Wrong(), 0)


def test_workers_are_replaced_one_after_the_other(play: Player) -> None:
    async def roll(one: Trial) -> None:
        await one.moment(1.0, 2.0)
        await one.hurt()
        for old in list(one.fleet.workers):
            old.stop()
            assert await old.ended() == 0
            one.start()
            await one.join(2)

    run = play(roll, [None, None])
    assert (run.wrong, run.repeated) == (Wrong(), 0)


def test_workers_swap_their_partitions_and_then_both_are_killed(play: Player) -> None:
    """Who leaves is chosen so that who stays is given, by Faust, exactly what that one had."""

    async def join(one: Trial) -> None:
        one.start()
        await one.join(2)

    async def swap(one: Trial) -> None:
        first, second = one.fleet.workers
        before = await one.group.held()
        await one.moment(0.5, 1.5)
        first.stop()
        assert await first.ended() == 0
        await one.join(1)
        newcomer = one.start()
        await one.join(2)
        after = await one.group.held()
        (stays,) = before.keys() & after.keys()
        (left,), (came,) = before.keys() - {stays}, after.keys() - {stays}
        assert after == {stays: before[left], came: before[stays]}
        for worker in (newcomer, second):
            worker.kill()
        await one.hurt()
        for _ in range(2):
            one.start()

        async def succeeded() -> bool:
            held = await one.group.held()
            return len(held) == 2 and not held.keys() & after.keys()

        # The group counts the killed ones until their sessions expire.
        await until("two others have the partitions", succeeded, JOIN_SECONDS)

    assert play(swap, before=join).wrong == Wrong()
