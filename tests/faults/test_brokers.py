"""The broker dies, connections break or drag, writes are refused: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka.errors import (
    BrokerResponseError,
    KafkaStorageError,
    NotEnoughReplicasError,
    TopicAuthorizationFailedError,
)

from conftest import Player
from node import node
from outcome import Run, Wrong
from proxy import Proxy
from trial import Trial

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


def _through_proxy(play: Player, hurt: Callable[[Trial, Proxy], Awaitable[None]]) -> Run:
    async def behind() -> Run:
        async with Proxy(play.bootstrap) as proxy:

            async def fault(one: Trial) -> None:
                await one.moment()
                await one.hurt()
                await hurt(one, proxy)

            return await play.playing(fault, broker=proxy.address)

    return asyncio.run(behind())


def test_connections_are_cut(play: Player) -> None:
    async def cut(one: Trial, proxy: Proxy) -> None:
        assert proxy.cut() > 0
        await asyncio.sleep(BAD_SECONDS / 2)
        proxy.mend()
        await asyncio.sleep(one.chance.uniform(1.0, 2.0))
        assert proxy.cut() > 0
        proxy.mend()

    assert _through_proxy(play, cut).wrong == Wrong()


def test_connections_drag(play: Player) -> None:
    async def drag(one: Trial, proxy: Proxy) -> None:
        proxy.delay_s = one.chance.uniform(0.2, 0.4)
        await asyncio.sleep(BAD_SECONDS)
        proxy.delay_s = 0.0

    run = _through_proxy(play, drag)
    assert (run.wrong, run.restarts) == (Wrong(), 0)


@pytest.mark.parametrize("error", [KafkaStorageError, NotEnoughReplicasError], ids=["disk full", "replicas"])
def test_what_is_written_is_refused_for_a_while(play: Player, error: type[BrokerResponseError]) -> None:
    async def refuse(one: Trial, proxy: Proxy) -> None:
        proxy.refuse_with = error.errno
        await asyncio.sleep(BAD_SECONDS)
        proxy.refuse_with = 0
        assert proxy.refused > 0

    run = _through_proxy(play, refuse)
    assert (run.wrong, run.restarts) == (Wrong(), 0)


def test_a_worker_ends_when_what_it_writes_is_refused_for_good_and_the_next_goes_on(play: Player) -> None:
    async def refuse(one: Trial, proxy: Proxy) -> None:
        proxy.refuse_with = TopicAuthorizationFailedError.errno
        assert await one.fleet.workers[0].ended() == 1
        proxy.refuse_with = 0

    run = _through_proxy(play, refuse)
    assert (run.wrong, run.restarts) == (Wrong(), 1)
