"""Every fault is tried with each of the seeds in SEEDS (``SEEDS="1 2 3"``); all runs are told at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from tests.faults.outcome import Run
from tests.faults.proxy import Proxy
from tests.faults.summary import Received, table
from tests.faults.trial import Point, Trial, trial

Workers = Sequence[Point | None]
Fault = Callable[[Trial], Awaitable[None]]
RECEIVED = pytest.StashKey[list[Received]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to remember runs."""
    config.stash[RECEIVED] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell all runs in a table."""
    if received := config.stash[RECEIVED]:
        terminalreporter.section("what came of each fault")
        for line in table(received):
            terminalreporter.write_line(line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have every test that takes a seed run with each."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", [int(seed) for seed in os.environ.get("SEEDS", "1").split()])


@pytest.fixture(scope="session")
def bootstrap() -> str:
    return os.environ["SESSION_RISK_BROKER"]


class Player:
    """Plays the recording with a fault, and tells how it went."""

    def __init__(self, bootstrap: str, folder: Path, seed: int, tell: Callable[[Run | None], None]) -> None:
        self.bootstrap = bootstrap
        self.seed = seed
        self._folder = folder
        self._tell = tell

    def __call__(
        self,
        fault: Fault,
        workers: Workers = (None,),
        poison_share: float = 0.0,
        *,
        supervised: bool = False,
        before: Fault | None = None,
    ) -> Run:
        """Return what came of it; as `playing`."""
        playing = self.playing(fault, workers, poison_share=poison_share, supervised=supervised, before=before)
        return asyncio.run(playing)

    async def playing(
        self,
        fault: Fault,
        workers: Workers = (None,),
        broker: str = "",
        poison_share: float = 0.0,
        *,
        supervised: bool = False,
        before: Fault | None = None,
    ) -> Run:
        """Return what came of it. It begins when the *workers* share the partitions and *before* is done.

        In the end those that still run must end in order. When *supervised*, and with *broker*, where workers
        find the brokers instead of where they are, those that fail are followed by others.
        """
        async with trial(self.bootstrap, self._folder, self.seed, workers, broker) as this_trial:
            this_trial.poison_share = poison_share
            supervising = None
            if supervised or broker:
                supervising = asyncio.ensure_future(this_trial.fleet.restart_what_fails())
            try:
                await this_trial.join(len(workers))
                if before is not None:
                    await before(this_trial)
                run = await this_trial.play(self.seed, fault)
                codes = await this_trial.fleet.end()
            except BaseException:
                self._tell(None)
                for worker in this_trial.fleet.workers:
                    print(f"--- {worker.log.name} ended with {worker.process.poll()}\n{worker.output()}")
                raise
            finally:
                if supervising is not None:
                    supervising.cancel()
        self._tell(run)
        assert set(codes) == {0}
        return run

    def through_proxy(self, fault: Callable[[Trial, Proxy], Awaitable[None]], workers: Workers = (None,)) -> Run:
        """Return what came of it; as `playing`, the brokers being behind a proxy that *fault* is given."""

        async def behind() -> Run:
            async with Proxy(self.bootstrap) as proxy:
                return await self.playing(lambda this_trial: fault(this_trial, proxy), workers, broker=proxy.address)

        return asyncio.run(behind())


@pytest.fixture
def play(
    bootstrap: str,
    tmp_path: Path,
    seed: int,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> Player:
    def tell(run: Run | None) -> None:
        received_records = Received(_fault(request.node.name, seed), seed, run)
        request.config.stash[RECEIVED].append(received_records)
        with capsys.disabled():
            print(f"\n{received_records.line()}")

    return Player(bootstrap, tmp_path, seed, tell)


def _fault(test: str, seed: int) -> str:
    """Return the fault that *test* is named after."""
    name, _, parameters = test.removeprefix("test_").removesuffix("]").partition("[")
    rest = parameters.removeprefix(str(seed)).removesuffix(str(seed)).strip("-")
    return name.replace("_", " ") + (f": {rest}" if rest else "")
