"""What a transmitter does from time to time: holds streams within their bounds, forgets what is old."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, func, select

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.backlog import Backlog, BacklogLimiter, Limits, needs_action, read
from pipeline.transmitter.delivery.push_stream import DRY_RUN
from pipeline.transmitter.metrics import METHODS, TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import Stream
from pipeline.transmitter.push_responses import CODES
from pipeline.transmitter.store import audit, receivers, revocations, signing_keys, streams, tables
from pipeline.transmitter.store.database import Store, StoreError
from pipeline.transmitter.store.queue import dead_letters
from pipeline.transmitter.store.signing_keys import Signer
from pipeline.transmitter.store.tables import sets
from pipeline.transmitter.tokens import device_compliance
from pipeline.transmitter.tokens.stream_events import Announcer

logger = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""How often streams are looked at, in seconds."""

PURGE_S: Final = 600.0
"""How often old rows are deleted, in seconds."""

SETTLED_MS: Final = 2000
"""After this, what has ended is committed and can be counted."""

UNPUSHED: Final = (dead_letters.HOLD_LIMIT, "stream_disabled")
"""Errors of tokens that no push gave up, whatever the stream's method."""
NAMED: Final = frozenset({*UNPUSHED, *CODES, DRY_RUN, "stream_removed"})
"""Errors that have a metric series of their own."""

KEY_KEPT_MS: Final = 86_400_000
"""A retired key is kept this long at least: by then every process has taken its successor."""


class Housekeeper:
    """Looks after the streams of *store* until `stop` is called. One at a time works on a store."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        settings: TransmitterSettings,
        bell: Notifier,
        metrics: TransmitterMetrics,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._settings = settings
        self._limits = Limits.of(settings)
        self._keeper = BacklogLimiter(Announcer(settings.issuer, signer), store.sealer, self._limits)
        self._bell = bell
        self._metrics = metrics
        self._clock = clock
        self._stop = asyncio.Event()
        self._purged_at = 0
        self._counted_to = clock()

    def stop(self) -> None:
        """Have `run` return when the look that is under way has ended."""
        self._stop.set()

    async def run(self) -> None:
        """Look, and look again; what the store does not take now is done later."""
        while not self._stop.is_set():
            try:
                await asyncio.to_thread(self.run_once)
                if self._clock() - self._purged_at >= PURGE_S * 1000:
                    await asyncio.to_thread(self.purge)
            except StoreError as error:
                logger.error("streams cannot be looked after: %s", error)  # noqa: TRY400 - it says it all
            try:
                async with asyncio.timeout(min(LOOK_S, self._settings.hold_s)):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def run_once(self) -> None:
        """Look at every stream once, and do what is next for those beyond their bounds."""
        now_ms = self._clock()
        with self._store.read() as conn:
            found = [
                (this_stream, read(conn, this_stream, self._limits, now_ms))
                for this_stream in streams.every(conn, self._store.sealer)
            ]
            ended = self._ended(conn, now_ms)
        self._count(ended)
        self._show(found, now_ms)
        for stream, held in found:
            if needs_action(stream, held, self._limits, now_ms):
                self._step(stream, now_ms)

    def purge(self) -> None:
        """Delete what is older than it is kept, some at a time: others write too."""
        now_ms = self._purged_at = self._clock()
        before_ms = now_ms - round(self._settings.keep_days * 86_400_000)
        for some in (dead_letters.purge, audit.purge, revocations.purge, device_compliance.purge):
            deleted = most = dead_letters.MOST
            while deleted == most and not self._stop.is_set():
                with self._store.begin() as conn:
                    deleted = some(conn, before_ms, most)
        with self._store.begin() as conn:
            receivers.purge(conn, now_ms)
            forgotten = signing_keys.forget(conn, now_ms - KEY_KEPT_MS)
        for kid in sorted(forgotten):
            logger.info("signing key %s is deleted: it is retired and nothing it signed waits", kid)

    def _step(self, stream: Stream, now_ms: int) -> None:
        with self._store.begin() as conn:
            done = self._keeper.step(conn, stream.stream_id, now_ms)
            after = streams.get(conn, self._store.sealer, stream.stream_id)
        self._bell.notify([stream.stream_id])
        if done is not None:
            logger.warning("stream %s: %s: %s", stream.stream_id, done.status, done.reason)
        if after is not None and after.status not in (stream.status, "enabled"):
            self._metrics.stopped_streams.labels(after.status).inc()

    def _ended(self, conn: Connection, now_ms: int) -> list[tuple[str, str, str | None, int]]:
        """Count what has come to an end since the last look, by method, state and error.

        The last moments are left for the next look: what ends then may not be committed yet.
        """
        since_ms, self._counted_to = self._counted_to, max(self._counted_to, now_ms - SETTLED_MS)
        rows = conn.execute(
            select(tables.streams.c.method, sets.c.state, sets.c.error, func.count())
            .join(tables.streams, tables.streams.c.stream_id == sets.c.stream_id)
            .where(sets.c.ended_at > since_ms, sets.c.ended_at <= self._counted_to)
            .group_by(tables.streams.c.method, sets.c.state, sets.c.error)
        )
        return [(METHODS[method], state, error, count) for method, state, error, count in rows]

    def _count(self, ended: list[tuple[str, str, str | None, int]]) -> None:
        """Show what was polled, and what was given up unpushed: pushes count what comes of them."""
        for method, state, error, count in ended:
            if method == "poll":
                self._metrics.deliveries.labels(method, state).inc(count)
            if state == "dead" and (method == "poll" or error in UNPUSHED):
                # A receiver that polls says what it likes: no series for each of its words.
                self._metrics.dead_letters.labels(error if error in NAMED else "other").inc(count)

    def _show(self, found: list[tuple[Stream, Backlog]], now_ms: int) -> None:
        """Show what waits, and how many streams there are of each kind."""
        count: Counter[tuple[str, str]] = Counter()
        waiting: Counter[str] = Counter()
        oldest = dict.fromkeys(METHODS.values(), 0.0)
        for stream, held in found:
            method = METHODS[stream.method]
            count[method, stream.status] += 1
            waiting[method] += held.count
            if held.oldest_at is not None:
                oldest[method] = max(oldest[method], (now_ms - held.oldest_at) / 1000)
        for method in METHODS.values():
            self._metrics.waiting.labels(method).set(waiting[method])
            self._metrics.oldest.labels(method).set(oldest[method])
            for status in ("enabled", "paused", "disabled"):
                self._metrics.streams.labels(method, status).set(count[method, status])
