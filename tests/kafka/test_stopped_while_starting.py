"""A worker that is told to stop while it starts ends: nothing begins behind its back and runs on for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any, cast

from mode.threads import ServiceThread

from pipeline.kafka.app import WorkerApp
from pipeline.kafka.consumer_thread import BatchConsumerThread, DaemonThread
from pipeline.worker import process


class Late(DaemonThread):
    """A thread that the machine lets begin only after a while."""

    def run(self) -> None:
        sleep(0.3)
        super().run()


class Consuming(BatchConsumerThread):
    """The consumer's thread, without a consumer."""

    Worker = Late

    def __init__(self) -> None:
        ServiceThread.__init__(self)

    def __post_init__(self) -> None:
        """No consumer says how to assign partitions."""

    async def on_start(self) -> None:
        """Nothing is to be connected to."""

    async def on_thread_stop(self) -> None:
        """Nothing was connected to."""


def test_a_thread_that_is_told_to_stop_before_it_began_ends() -> None:
    async def story() -> bool:
        thread = Consuming()
        starting = asyncio.ensure_future(thread.start())
        await asyncio.sleep(0.05)
        await asyncio.wait_for(thread.stop(), 30)
        await asyncio.wait_for(starting, 30)
        return cast("DaemonThread", thread._thread).is_alive()

    assert asyncio.run(story()) is False


def test_a_thread_that_never_ends_does_not_keep_the_process_from_ending() -> None:
    assert DaemonThread(cast("Any", None)).daemon


def test_a_start_that_is_under_way_is_over_before_anything_is_stopped(tmp_path: Path) -> None:
    lines: list[str] = []

    async def story() -> int:
        ended = asyncio.Event()

        async def start() -> None:
            ended.set()
            await asyncio.sleep(0.1)
            lines.append("started")

        async def stop() -> None:
            lines.append("stopped")

        app = SimpleNamespace(
            conf=SimpleNamespace(datadir=tmp_path),
            ended=ended,
            start=start,
            stop=stop,
            wait_until_stopped=asyncio.Event().wait,
            failure=None,
            crash_reason=None,
        )
        return await process.run_until_ended(cast("WorkerApp", app))

    assert (asyncio.run(story()), lines) == (0, ["started", "stopped"])
