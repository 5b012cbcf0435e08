"""Housekeeping of the leader: keeps streams within their backlog limits, and deletes old rows."""

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

CHECK_S: Final = 5.0
"""Seconds between two checks of all streams."""

PURGE_S: Final = 600.0
"""Seconds between two deletions of old rows."""

COMMIT_DELAY_MS: Final = 2000
"""Age after which ended tokens are certainly committed and can be counted."""

ERRORS_WITHOUT_PUSH: Final = (dead_letters.HOLD_LIMIT, "stream_disabled")
"""Errors of dead letters that no push caused, whatever the stream's delivery method."""
ERRORS_WITH_SERIES: Final = frozenset({*ERRORS_WITHOUT_PUSH, *CODES, DRY_RUN, "stream_removed"})
"""Errors that have a metric series of their own."""

KEY_RETENTION_MS: Final = 86_400_000
"""Shortest time that a retired key is stored: by then every process signs with its successor."""


class Housekeeper:
    """Looks after the streams of *store* until `stop` is called. Only the leader of a store runs it."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        settings: TransmitterSettings,
        notifier: Notifier,
        metrics: TransmitterMetrics,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._settings = settings
        self._limits = Limits.of(settings)
        self._limiter = BacklogLimiter(Announcer(settings.issuer, signer), store.sealer, self._limits)
        self._bell = notifier
        self._metrics = metrics
        self._clock = clock
        self._stop = asyncio.Event()
        self._purged_at = 0
        self._counted_until = clock()

    def stop(self) -> None:
        """Make `run` return when the current check has ended."""
        self._stop.set()

    async def run(self) -> None:
        """Check all streams repeatedly; what the store refuses now is done later."""
        while not self._stop.is_set():
            try:
                await asyncio.to_thread(self.run_once)
                if self._clock() - self._purged_at >= PURGE_S * 1000:
                    await asyncio.to_thread(self.purge)
            except StoreError as error:
                logger.error("streams cannot be checked: %s", error)  # noqa: TRY400 - it says it all
            try:
                async with asyncio.timeout(min(CHECK_S, self._settings.hold_s)):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def run_once(self) -> None:
        """Check every stream once, and take the next step for those beyond their limits."""
        now_ms = self._clock()
        with self._store.read() as conn:
            backlogs = [
                (stream, read(conn, stream, self._limits, now_ms)) for stream in streams.every(conn, self._store.sealer)
            ]
            ended = self._ended(conn, now_ms)
        self._count(ended)
        self._show(backlogs, now_ms)
        for stream, backlog in backlogs:
            if needs_action(stream, backlog, self._limits, now_ms):
                self._step(stream, now_ms)

    def purge(self) -> None:
        """Delete rows past their retention, in batches, because others write too."""
        now_ms = self._purged_at = self._clock()
        before_ms = now_ms - round(self._settings.keep_days * 86_400_000)
        for purge_table in (dead_letters.purge, audit.purge, revocations.purge, device_compliance.purge):
            deleted = limit = dead_letters.PURGE_BATCH
            while deleted == limit and not self._stop.is_set():
                with self._store.begin() as conn:
                    deleted = purge_table(conn, before_ms, limit)
        with self._store.begin() as conn:
            receivers.purge(conn, now_ms)
            deleted_keys = signing_keys.delete_retired(conn, now_ms - KEY_RETENTION_MS)
        for kid in sorted(deleted_keys):
            logger.info("signing key %s is deleted: it is retired and no token it signed is waiting", kid)

    def _step(self, stream: Stream, now_ms: int) -> None:
        with self._store.begin() as conn:
            change = self._limiter.step(conn, stream.stream_id, now_ms)
            after = streams.get(conn, self._store.sealer, stream.stream_id)
        self._bell.notify([stream.stream_id])
        if change is not None:
            logger.warning("stream %s: %s: %s", stream.stream_id, change.status, change.reason)
        if after is not None and after.status not in (stream.status, "enabled"):
            self._metrics.stopped_streams.labels(after.status).inc()

    def _ended(self, conn: Connection, now_ms: int) -> list[tuple[str, str, str | None, int]]:
        """Count the tokens that ended since the last check, by method, state and error.

        The last moments are left for the next check, because they may not be committed yet.
        """
        since_ms, self._counted_until = self._counted_until, max(self._counted_until, now_ms - COMMIT_DELAY_MS)
        rows = conn.execute(
            select(tables.streams.c.method, sets.c.state, sets.c.error, func.count())
            .join(tables.streams, tables.streams.c.stream_id == sets.c.stream_id)
            .where(sets.c.ended_at > since_ms, sets.c.ended_at <= self._counted_until)
            .group_by(tables.streams.c.method, sets.c.state, sets.c.error)
        )
        return [(METHODS[method], state, error, count) for method, state, error, count in rows]

    def _count(self, ended: list[tuple[str, str, str | None, int]]) -> None:
        """Count polled tokens and dead letters that no push caused; pushes count their own results."""
        for method, state, error, count in ended:
            if method == "poll":
                self._metrics.deliveries.labels(method, state).inc(count)
            if state == "dead" and (method == "poll" or error in ERRORS_WITHOUT_PUSH):
                # A polling receiver may send any error code: an unknown one gets no series of its own.
                self._metrics.dead_letters.labels(error if error in ERRORS_WITH_SERIES else "other").inc(count)

    def _show(self, backlogs: list[tuple[Stream, Backlog]], now_ms: int) -> None:
        """Set the gauges of waiting tokens and of streams."""
        count: Counter[tuple[str, str]] = Counter()
        waiting: Counter[str] = Counter()
        oldest = dict.fromkeys(METHODS.values(), 0.0)
        for stream, backlog in backlogs:
            method = METHODS[stream.method]
            count[method, stream.status] += 1
            waiting[method] += backlog.count
            if backlog.oldest_at is not None:
                oldest[method] = max(oldest[method], (now_ms - backlog.oldest_at) / 1000)
        for method in METHODS.values():
            self._metrics.waiting.labels(method).set(waiting[method])
            self._metrics.oldest.labels(method).set(oldest[method])
            for status in ("enabled", "paused", "disabled"):
                self._metrics.streams.labels(method, status).set(count[method, status])
