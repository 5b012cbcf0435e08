"""What came of pushes: whether a token is tried again and when, and many of them written at once."""

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

LONGEST_RETRY_AFTER_S: Final = 3600.0
"""A receiver that asks for more is asked again after this: its queue is held here meanwhile."""


def pause_ms(attempt: int, first_s: float, most_s: float, rng: Random) -> int:
    """Return the pause after the failed *attempt*, counted from 1: anything up to twice as much each time.

    Full jitter: receivers that come back are not met by everybody at once.
    """
    doubled = first_s * 2.0 ** min(attempt - 1, 64)
    return round(1000 * rng.uniform(0.0, min(most_s, doubled)))


def retry_after_ms(value: str | None, now_ms: int) -> int | None:
    """Read `Retry-After` (RFC 9110 §10.2.3), seconds or a date; `None` where it is absent or unreadable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        asked_ms = int(text[:12]) * 1000
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # a zone of a thousand years, too
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        asked_ms = round(at.timestamp() * 1000) - now_ms
    return max(0, min(asked_ms, round(LONGEST_RETRY_AFTER_S * 1000)))


logger = logging.getLogger(__name__)

STORE_PAUSE_S = 1.0
"""Between two tries to write while the store does not take it."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """What becomes of a token: it is `delivered`, tried `again` at *due_at* (ms), or `dead`.

    *counted*: a failure is one of its tries.
    """

    token: QueuedToken
    state: Literal["delivered", "retry", "dead"]
    error: str = ""
    text: str = ""
    due_at: int = 0
    counted: bool = True


def decide(
    token: QueuedToken, answer: PushResponse, settings: TransmitterSettings, now_ms: int, rng: Random
) -> PushResult:
    """Return what becomes of *token* after *answer*, which speaks of it.

    `once` waits as long as a pause may be: by then, whoever keeps our keys has read them anew. Twice is dead.
    """
    attempt = token.attempts + 1
    if answer.verdict == "delivered":
        return PushResult(token, "delivered")
    last = answer.verdict == "retry_once" and token.error == answer.error
    if answer.verdict == "dead_letter" or attempt >= settings.push_attempts or last:
        return PushResult(token, "dead", answer.error, answer.text)
    if answer.verdict == "retry_once":
        pause = round(settings.push_backoff_max_s * 1000)
    else:
        pause = pause_ms(attempt, settings.push_backoff_s, settings.push_backoff_max_s, rng)
    return PushResult(token, "retry", answer.error, answer.text, now_ms + max(pause, answer.retry_after_ms or 0))


class PushResultWriter:
    """Writes what came of pushes. While one transaction is under way the next results gather for another."""

    def __init__(self, store: Store, threads: Executor, clock: Callable[[], int]) -> None:
        self._store = store
        self._threads = threads
        self._clock = clock
        self._gathered: list[tuple[PushResult, asyncio.Future[None]]] = []
        self._some = asyncio.Event()

    async def write(self, result: PushResult) -> None:
        """Return when *result* is in the store, durably."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.append((result, written))
        self._some.set()
        await written

    async def run(self) -> None:
        """Write, until cancelled. What is not written then is pushed again, under the same `jti`."""
        while True:
            await self._some.wait()
            self._some.clear()
            batch, self._gathered = self._gathered, []
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
                logger.error("what came of pushes (%d) waits to be written: %s", len(results), error)  # noqa: TRY400
                await asyncio.sleep(STORE_PAUSE_S)

    def _commit(self, results: Sequence[PushResult]) -> None:
        now_ms = self._clock()
        with self._store.begin() as conn:
            delivered = [this_result.token.seq for this_result in results if this_result.state == "delivered"]
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
