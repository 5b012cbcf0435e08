"""Results of pushes: whether and when a token is retried, and their batched writing to the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from typing import Final, Literal

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.protocol import QueuedToken
from pipeline.transmitter.push_responses import PushResponse
from pipeline.transmitter.store import queue
from pipeline.transmitter.store.database import Store, StoreError

MAX_RETRY_AFTER_S: Final = 3600.0
"""Longest `Retry-After` that is honoured, because the receiver's queue is held here meanwhile."""


def pause_ms(attempt: int, first_s: float, max_s: float, rng: Random) -> int:
    """Return the pause after failed *attempt*, counted from 1: random, up to a bound that doubles each time.

    Full jitter: a receiver that comes back does not get all retries at once.
    """
    doubled = first_s * 2.0 ** min(attempt - 1, 64)
    return round(1000 * rng.uniform(0.0, min(max_s, doubled)))


def retry_after_ms(value: str | None, now_ms: int) -> int | None:
    """Parse `Retry-After` (RFC 9110 §10.2.3), seconds or a date; `None` if it is absent or invalid."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        requested_ms = int(text[:12]) * 1000
    else:
        try:
            time = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # OverflowError: a zone offset out of range
            return None
        time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        requested_ms = round(time.timestamp() * 1000) - now_ms
    return max(0, min(requested_ms, round(MAX_RETRY_AFTER_S * 1000)))


logger = logging.getLogger(__name__)

STORE_PAUSE_S = 1.0
"""Seconds between two attempts to write while the store fails."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """What happens to a token: it is `delivered`, `retry` at *due_at* (ms), or `dead`.

    *counted*: whether the failure is one of its attempts.
    """

    token: QueuedToken
    state: Literal["delivered", "retry", "dead"]
    error: str = ""
    text: str = ""
    due_at: int = 0
    counted: bool = True


def decide(
    token: QueuedToken, response: PushResponse, settings: TransmitterSettings, now_ms: int, rng: Random
) -> PushResult:
    """Return what happens to *token* after *response*, which is about the token itself.

    `retry_once` waits for the longest pause, because by then a receiver that caches our keys has read them
    again. The same error a second time makes a dead letter.
    """
    attempt = token.attempts + 1
    if response.verdict == "delivered":
        return PushResult(token, "delivered")
    last = response.verdict == "retry_once" and token.error == response.error
    if response.verdict == "dead_letter" or attempt >= settings.push_attempts or last:
        return PushResult(token, "dead", response.error, response.text)
    if response.verdict == "retry_once":
        pause = round(settings.push_backoff_max_s * 1000)
    else:
        pause = pause_ms(attempt, settings.push_backoff_s, settings.push_backoff_max_s, rng)
    return PushResult(token, "retry", response.error, response.text, now_ms + max(pause, response.retry_after_ms or 0))


class PushResultWriter:
    """Writes results of pushes. While one transaction is in progress, further results gather for the next."""

    def __init__(self, store: Store, threads: Executor, clock: Callable[[], int]) -> None:
        self._store = store
        self._threads = threads
        self._clock = clock
        self._pending: list[tuple[PushResult, asyncio.Future[None]]] = []
        self._has_pending = asyncio.Event()

    async def write(self, result: PushResult) -> None:
        """Return when *result* is durably stored."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((result, written))
        self._has_pending.set()
        await written

    async def run(self) -> None:
        """Write until cancelled. A token whose result is not written by then is pushed again, with the same `jti`."""
        while True:
            await self._has_pending.wait()
            self._has_pending.clear()
            batch, self._pending = self._pending, []
            await self._write([result for result, _ in batch])
            for _, written in batch:
                if not written.done():
                    written.set_result(None)

    async def _write(self, results: Sequence[PushResult]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._threads, self._commit, results)
            except StoreError as error:
                logger.error("results of %d pushes wait to be written: %s", len(results), error)  # noqa: TRY400
                await asyncio.sleep(STORE_PAUSE_S)

    def _commit(self, results: Sequence[PushResult]) -> None:
        now_ms = self._clock()
        with self._store.begin() as conn:
            delivered = [result.token.seq for result in results if result.state == "delivered"]
            if delivered:
                queue.mark_delivered(conn, delivered, now_ms)
            for result in results:
                if result.state == "retry":
                    queue.retry_later(
                        conn,
                        result.token.seq,
                        result.due_at,
                        result.error,
                        result.text,
                        counted=result.counted,
                    )
                elif result.state == "dead":
                    queue.dead_letter(conn, result.token.seq, result.error, result.text, now_ms)
