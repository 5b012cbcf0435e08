"""All pushes: a task for each stream that is pushed; a receiver that hangs keeps only itself waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Final

from sqlalchemy import exists, or_, select

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.http_client import trusted
from pipeline.transmitter.delivery.outcomes import PushResultWriter
from pipeline.transmitter.delivery.push_stream import PushResources, StreamPusher
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import PUSH
from pipeline.transmitter.store.database import Store, StoreError
from pipeline.transmitter.store.tables import sets, streams

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often streams are looked for, in seconds: other processes write to the same store and ring no bell."""

STOP_S: Final = 5.0
"""Beyond the longest push, what a stop waits for in seconds; what is open then is pushed again."""


class PushDelivery:
    """Pushes what waits in *store*, stream by stream. One at a time works on a store (`store.lead`).

    *clock* gives ms since the epoch, *rng* the jitter of pauses.
    """

    def __init__(
        self,
        store: Store,
        settings: TransmitterSettings,
        bell: Notifier,
        metrics: TransmitterMetrics,
        clock: Callable[[], int],
        rng: Random,
    ) -> None:
        self._threads = ThreadPoolExecutor(2, "pushing")  # its own: a look-up that hangs elsewhere takes none
        results = PushResultWriter(store, self._threads, clock)
        self._parts = PushResources(store, settings, bell, clock, rng, metrics, results, self._threads, trusted())
        self._pushers: dict[str, tuple[StreamPusher, asyncio.Task[None]]] = {}
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Have `run` return once what is under way has ended, in bounded time."""
        self._stop.set()

    async def run(self) -> None:
        """Push until `stop` is called; what came of every push that ended is in the store then."""
        writing = asyncio.create_task(self._parts.results.run())
        try:
            while not self._stop.is_set():
                await self._look()
                await self._wait()
                if writing.done():
                    writing.result()  # a bug: better the process ends than pushes whose outcome is lost
        finally:
            await self._end()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            # In a thread: the store may hang, and all else in this process goes on.
            await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def _look(self) -> None:
        """Begin with streams that are new, and have those look for which something waits."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, self._pushed)
        except StoreError as error:
            logger.error("streams cannot be looked for: %s", error)  # noqa: TRY400 - the sentence says it all
            return
        for stream_id, waiting in found.items():
            pusher, task = self._pushers.get(stream_id, (None, None))
            if task is not None and task.done():
                self._reap(stream_id, task)
                pusher = None
            if pusher is not None:
                if waiting:
                    pusher.nudge()
            else:
                started = StreamPusher(stream_id, self._parts)
                self._pushers[stream_id] = started, asyncio.create_task(started.run())
        for stream_id in [this_pusher for this_pusher in self._pushers if this_pusher not in found]:
            pusher, task = self._pushers[stream_id]
            pusher.stop()
            if task.done():
                self._reap(stream_id, task)
                self._parts.bell.forget(stream_id)
        self._show(found)

    def _show(self, waiting: Mapping[str, bool]) -> None:
        """Show how long receivers that something waits for have been down as a whole, the longest."""
        since = [pusher.down_since for name, (pusher, _) in self._pushers.items() if waiting.get(name)]
        down = [self._parts.clock() - number for number in since if number is not None]
        self._parts.metrics.down_seconds.set(max(down, default=0) / 1000)

    def _reap(self, stream_id: str, task: asyncio.Task[None]) -> None:
        """Tell what ended a stream's task; the next look begins it anew if the stream is still there."""
        del self._pushers[stream_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("stream %s: pushing failed and begins anew", stream_id, exc_info=error)

    def _pushed(self) -> dict[str, bool]:
        """Return the streams that are pushed, and whether something waits for each.

        In a disabled stream that is the word that it was disabled.
        """
        waits = exists().where(sets.c.stream_id == streams.c.stream_id, sets.c.state == "queued")
        wanted = select(streams.c.stream_id, waits.label("waits")).where(
            streams.c.method == PUSH, or_(streams.c.status != "disabled", waits)
        )
        with self._parts.store.read() as conn:
            return {row.stream_id: bool(row.waits) for row in conn.execute(wanted)}

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _end(self) -> None:
        self._parts.metrics.down_seconds.set(0)
        tasks = [task for _, task in self._pushers.values()]
        for pusher, _ in self._pushers.values():
            pusher.stop()
        if not tasks:
            return
        seconds = self._parts.settings.push_timeout_s + STOP_S
        _, open_ = await asyncio.wait(tasks, timeout=seconds)
        for task in open_:
            task.cancel()
        if open_:
            logger.warning("%d streams did not end in %.0f s; their pushes are made again", len(open_), seconds)
        await asyncio.gather(*tasks, return_exceptions=True)
