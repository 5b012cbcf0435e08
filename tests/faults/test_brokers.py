"""The broker dies, connections break or drag: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import Player
from tests.faults.node import node
from tests.faults.outcome import Wrong
from tests.faults.proxy import Proxy
from tests.faults.trial import Point, Trial

pytestmark = pytest.mark.faults

BAD_SECONDS = 4.0
"""How long a fault lasts."""


def test_the_broker_is_killed_and_comes_back(play: Player, tmp_path: Path) -> None:
    with node(tmp_path / "kafka") as broker:

        async def kill(one: Trial) -> None:
            await one.moment()
            await one.hurt()
            broker.kill()
            await asyncio.sleep(BAD_SECONDS / 2)
            broker.start()

        play.bootstrap = broker.address
        assert asyncio.run(play.playing(kill, broker=broker.address)).wrong == Wrong()


def test_the_broker_is_killed_while_partitions_change_hands(play: Player, tmp_path: Path) -> None:
    with node(tmp_path / "kafka") as broker:

        async def join_and_kill(one: Trial) -> None:
            await one.moment(1.0, 2.0)
            one.start()
            await one.until_shared_anew(1)
            await one.hurt()
            broker.kill()
            await asyncio.sleep(BAD_SECONDS / 4)
            broker.start()

        play.bootstrap = broker.address
        assert asyncio.run(play.playing(join_and_kill, broker=broker.address)).wrong == Wrong()


def test_connections_are_cut(play: Player) -> None:
    async def cut(one: Trial, proxy: Proxy) -> None:
        await one.moment()
        await one.hurt()
        assert proxy.cut() > 0
        await asyncio.sleep(BAD_SECONDS / 2)
        proxy.mend()
        await asyncio.sleep(one.chance.uniform(1.0, 2.0))
        assert proxy.cut() > 0
        proxy.mend()

    assert play.through_proxy(cut).wrong == Wrong()


def test_connections_drag(play: Player) -> None:
    async def drag(one: Trial, proxy: Proxy) -> None:
        await one.moment()
        await one.hurt()
        proxy.delay_s = one.chance.uniform(0.2, 0.4)
        await asyncio.sleep(BAD_SECONDS)
        proxy.delay_s = 0.0

    run = play.through_proxy(drag)
    assert (run.wrong, run.restarts) == (Wrong(), 0)


def test_a_worker_dies_just_after_a_commit_while_work_waits_for_what_it_writes(play: Player) -> None:
    async def drag_and_die(one: Trial, proxy: Proxy) -> None:
        proxy.delay_writes_s = one.chance.uniform(0.2, 0.4)
        assert await one.fleet.workers[0].ended() == -signal.SIGKILL
        await one.hurt()
        proxy.delay_writes_s = 0.0

    run = play.through_proxy(drag_and_die, [Point("offsets-committed", 3, 5)])
    assert (run.wrong, run.restarts) == (Wrong(), 1)
