"""Every fault is tried with each of the seeds in SEEDS (``SEEDS="1 2 3"``), and its run told in a line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from outcome import Run
from trial import Point, Trial, trial

Workers = Sequence[Point | None]
Fault = Callable[[Trial], Awaitable[None]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have every test that takes a seed run with each."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", [int(seed) for seed in os.environ.get("SEEDS", "1").split()])


@pytest.fixture(scope="session")
def bootstrap() -> str:
    return os.environ["SESSION_RISK_BROKER"]


class Player:
    """Plays the recording with a fault, and tells how it went."""

    def __init__(self, bootstrap: str, folder: Path, seed: int, tell: Callable[[Run], None]) -> None:
        self.bootstrap = bootstrap
        self.seed = seed
        self._folder = folder
        self._tell = tell

    def __call__(self, fault: Fault, workers: Workers = (None,), poison_share: float = 0.0) -> Run:
        """Return what came of it; as `playing`."""
        return asyncio.run(self.playing(fault, workers, poison_share=poison_share))

    async def playing(
        self, fault: Fault, workers: Workers = (None,), broker: str = "", poison_share: float = 0.0
    ) -> Run:
        """Return what came of it. It begins when the *workers* share the partitions.

        In the end those that still run must end in order. With *broker*, where workers find the brokers
        instead of where they are, those that fail are followed by others.
        """
        async with trial(self.bootstrap, self._folder, self.seed, workers, broker) as one:
            one.poison_share = poison_share
            supervising = asyncio.ensure_future(one.fleet.restart_what_fails()) if broker else None
            try:
                await one.join(len(workers))
                run = await one.play(self.seed, fault)
                codes = await one.fleet.end()
            except BaseException:
                for worker in one.fleet.workers:
                    print(f"--- {worker.log.name} ended with {worker.process.poll()}\n{worker.said()}")
                raise
            finally:
                if supervising is not None:
                    supervising.cancel()
        self._tell(run)
        assert set(codes) == {0}
        return run


@pytest.fixture
def play(
    bootstrap: str,
    tmp_path: Path,
    seed: int,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> Player:
    def tell(run: Run) -> None:
        with capsys.disabled():
            print(f"\n{run.line(request.node.name.removeprefix('test_').replace('_', ' '), seed)}")

    return Player(bootstrap, tmp_path, seed, tell)
