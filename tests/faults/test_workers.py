"""Workers are killed, stopped, frozen, joined and replaced: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import signal

import pytest

from pipeline.processing.failpoints import POINTS
from tests.faults.conftest import Player
from tests.faults.outcome import Wrong
from tests.faults.proxy import Proxy
from tests.faults.trial import Point, Trial

pytestmark = pytest.mark.faults


def test_without_a_fault_all_is_as_in_a_replay(play: Player) -> None:
    async def nothing(one: Trial) -> None:
        await one.moment()
        await one.hurt()

    run = play(nothing)
    assert (run.wrong, run.repeated, run.restarts) == (Wrong(), 0, 0)


WORK, COMMITS = (30, 300), (2, 4)
"""Between which visits of a point workers die: of those at each piece of work, of those at each commit."""

DEATHS = (
    (Point("chunk-worked", *WORK), Point("messages-handed-over", *WORK)),
    (Point("messages-safe", *WORK), Point("rows-due", *WORK)),
    (Point("rows-handed-over", *WORK), Point("rows-safe", *WORK)),
    (Point("chunk-acknowledged", *WORK), Point("state-restored")),
    (Point("offsets-due", *COMMITS), Point("offsets-committed", *COMMITS)),
)
"""Where one worker dies, and then the one that takes its place."""


def test_there_is_no_point_at_which_no_worker_dies() -> None:
    tried = {point.name for deaths in DEATHS for point in deaths}
    assert tried | {"work-settled"} == set(POINTS)  # at that one when another worker joins


@pytest.mark.parametrize("deaths", DEATHS, ids=lambda deaths: " and ".join(point.name for point in deaths))
def test_a_worker_dies_and_the_next_one_too(play: Player, deaths: tuple[Point, Point]) -> None:
    async def die_twice(one: Trial) -> None:
        assert await one.fleet.workers[0].ended() == -signal.SIGKILL
        await one.hurt()
        assert await one.start(deaths[1]).ended() == -signal.SIGKILL
        one.start()

    assert play(die_twice, [deaths[0]]).wrong == Wrong()


def test_a_worker_is_killed_at_any_moment(play: Player) -> None:
    async def kill(one: Trial) -> None:
        await one.moment()
        one.fleet.workers[0].kill()
        await one.hurt()
        one.start()

    assert play(kill).wrong == Wrong()


def test_a_worker_dies_handing_partitions_over(play: Player) -> None:
    async def join_and_die(one: Trial) -> None:
        await one.moment()
        one.start()
        assert await one.fleet.workers[0].ended() == -signal.SIGKILL
        await one.hurt()

    assert play(join_and_die, [Point("work-settled")]).wrong == Wrong()


def test_a_worker_told_to_stop_repeats_nothing(play: Player) -> None:
    async def stop(one: Trial, proxy: Proxy) -> None:
        proxy.delay_writes_s = 0.2  # so that there is always something on its way
        await one.moment()
        one.fleet.workers[0].stop()
        await one.hurt()
        assert await one.fleet.workers[0].ended() == 0
        proxy.delay_writes_s = 0.0
        one.start()

    run = play.through_proxy(stop)
    assert (run.wrong, run.repeated) == (Wrong(), 0)


LATE_SECONDS = 1.5
"""How long a worker that woke up has for its late writes."""
EARLY = (10, 60)
"""Visits within the first second or two: when the worker wakes up, there must be more to come."""
FROZEN = (None, Point("rows-due", *EARLY, "STOP"), Point("rows-handed-over", *EARLY, "STOP"))
"""Where a worker stands still; `None`: wherever it is at some moment."""


@pytest.mark.parametrize("point", FROZEN, ids=lambda point: "anywhere" if point is None else point.name)
def test_a_worker_frozen_for_longer_than_its_session_undoes_nothing(play: Player, point: Point | None) -> None:
    async def freeze(one: Trial) -> None:
        frozen, other = one.fleet.workers
        if point is None:
            await one.moment(1.0, 2.0)
            frozen.freeze()
        await frozen.frozen()
        await one.hurt()
        await one.until_due_is_done()
        # Nobody writes after the one that wakes up: whoever reads the state back sees what it undid.
        other.kill()
        frozen.thaw()
        await asyncio.sleep(LATE_SECONDS)
        frozen.kill()
        one.start()

    assert play(freeze, [point, None]).wrong == Wrong()


@pytest.mark.parametrize("leaves", [True, False], ids=["alone", "with another"])
def test_a_worker_that_wakes_up_goes_on_with_what_others_wrote_meanwhile(play: Player, *, leaves: bool) -> None:
    async def wake(one: Trial) -> None:
        frozen, other = one.fleet.workers
        await one.moment(0.5, 1.0)
        frozen.freeze()
        await one.hurt()
        await one.until_due_is_done()
        if leaves:  # then it gets back, first of all, what it had when it was frozen
            other.stop()
            assert await other.ended() == 0
        frozen.thaw()
        # What it had handed to the producer may not leave: it may have to end, and then another goes on.
        await one.join(1 if leaves else 2)

    assert play(wake, [None, None], supervised=True).wrong == Wrong()
