"""Push delivery of all streams: one task per push stream, so that a receiver that hangs delays no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Final

from sqlalchemy import exists, or_, select

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.http_client import tls_context
from pipeline.transmitter.delivery.outcomes import PushResultWriter
from pipeline.transmitter.delivery.push_stream import PushResources, StreamPusher
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import PUSH
from pipeline.transmitter.store.database import Store, StoreError
from pipeline.transmitter.store.tables import sets, streams

logger = logging.getLogger(__name__)

CHECK_S: Final = 1.0
"""Seconds between two checks for streams: other processes write to the same store and notify nobody here."""

STOP_MARGIN_S: Final = 5.0
"""Seconds, beyond the longest push, that a stop waits; unfinished pushes are repeated."""


class PushDelivery:
    """Pushes the waiting tokens of *store*, stream by stream. Only the leader of a store runs it.

    *clock* returns ms since the epoch, *rng* the jitter of pauses.
    """

    def __init__(
        self,
        store: Store,
        settings: TransmitterSettings,
        notifier: Notifier,
        metrics: TransmitterMetrics,
        clock: Callable[[], int],
        rng: Random,
    ) -> None:
        self._threads = ThreadPoolExecutor(
            2, "pushing"
        )  # of its own, so that a lookup that hangs elsewhere blocks none
        results = PushResultWriter(store, self._threads, clock)
        self._resources = PushResources(
            store, settings, notifier, clock, rng, metrics, results, self._threads, tls_context()
        )
        self._pushers: dict[str, tuple[StreamPusher, asyncio.Task[None]]] = {}
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Make `run` return once the pushes in progress have ended, in bounded time."""
        self._stop.set()

    async def run(self) -> None:
        """Push until `stop` is called; the results of all ended pushes are stored by then."""
        writer_task = asyncio.create_task(self._resources.results.run())
        try:
            while not self._stop.is_set():
                await self._check_streams()
                await self._wait()
                if writer_task.done():
                    writer_task.result()  # a bug: ending the process is better than losing the results of pushes
        finally:
            await self._stop_all()
            writer_task.cancel()
            await asyncio.gather(writer_task, return_exceptions=True)
            # In a thread, because the store may hang, and the rest of this process goes on.
            await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def _check_streams(self) -> None:
        """Start tasks for new streams, and wake those for which tokens wait."""
        try:
            waiting_by_stream = await asyncio.get_running_loop().run_in_executor(self._threads, self._push_streams)
        except StoreError as error:
            logger.error("streams cannot be read: %s", error)  # noqa: TRY400 - the message says everything
            return
        for stream_id, waiting in waiting_by_stream.items():
            pusher, task = self._pushers.get(stream_id, (None, None))
            if task is not None and task.done():
                self._reap(stream_id, task)
                pusher = None
            if pusher is not None:
                if waiting:
                    pusher.wake()
            else:
                started = StreamPusher(stream_id, self._resources)
                self._pushers[stream_id] = started, asyncio.create_task(started.run())
        for stream_id in [name for name in self._pushers if name not in waiting_by_stream]:
            pusher, task = self._pushers[stream_id]
            pusher.stop()
            if task.done():
                self._reap(stream_id, task)
                self._resources.notifier.forget(stream_id)
        self._set_down_metric(waiting_by_stream)

    def _set_down_metric(self, waiting: Mapping[str, bool]) -> None:
        """Set the metric of the longest time that a receiver with waiting tokens has been down."""
        since = [pusher.down_since for name, (pusher, _) in self._pushers.items() if waiting.get(name)]
        down = [self._resources.clock() - down_since for down_since in since if down_since is not None]
        self._resources.metrics.down_seconds.set(max(down, default=0) / 1000)

    def _reap(self, stream_id: str, task: asyncio.Task[None]) -> None:
        """Log why a stream's task ended; the next check restarts it if the stream still exists."""
        del self._pushers[stream_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("stream %s: pushing failed and is restarted", stream_id, exc_info=error)

    def _push_streams(self) -> dict[str, bool]:
        """Return the push streams, and whether tokens wait for each.

        A disabled stream is included while its stream-updated waits.
        """
        has_waiting = exists().where(sets.c.stream_id == streams.c.stream_id, sets.c.state == "queued")
        query = select(streams.c.stream_id, has_waiting.label("has_waiting")).where(
            streams.c.method == PUSH, or_(streams.c.status != "disabled", has_waiting)
        )
        with self._resources.store.read() as conn:
            return {row.stream_id: bool(row.has_waiting) for row in conn.execute(query)}

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(CHECK_S):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _stop_all(self) -> None:
        self._resources.metrics.down_seconds.set(0)
        tasks = [task for _, task in self._pushers.values()]
        for pusher, _ in self._pushers.values():
            pusher.stop()
        if not tasks:
            return
        seconds = self._resources.settings.push_timeout_s + STOP_MARGIN_S
        _, unfinished = await asyncio.wait(tasks, timeout=seconds)
        for task in unfinished:
            task.cancel()
        if unfinished:
            logger.warning("%d streams did not end in %.0f s; their pushes are repeated", len(unfinished), seconds)
        await asyncio.gather(*tasks, return_exceptions=True)
