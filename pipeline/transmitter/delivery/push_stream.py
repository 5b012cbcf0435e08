"""Push delivery of one stream (RFC 8935): several lanes at once, the tokens of each lane one after another.

A lane holds the tokens about one subject, whose order matters.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.circuit_breaker import CircuitBreaker
from pipeline.transmitter.delivery.http_client import ForbiddenUrlError, PushClient
from pipeline.transmitter.delivery.outcomes import PushResult, PushResultWriter, decide
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import PUSH, QueuedToken, Stream
from pipeline.transmitter.push_responses import PushResponse, of_failure
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.tokens import stream_events

logger = logging.getLogger(__name__)

DRY_RUN: Final = "dry_run"


def log_token(token: QueuedToken, stream: Stream) -> PushResult:
    """Log the claims of *token* in a dry run. It is not delivered, so its revocation command stays open."""
    text = json.dumps(_claims(token.jwt), ensure_ascii=True, separators=(",", ":"))
    logger.info("dry run: stream %s would get %s %s", stream.stream_id, token.event, text)
    return PushResult(token, "dead", DRY_RUN, "not sent: this transmitter is in a dry run")


def _claims(jwt: str) -> Any:
    """Decode the claims of a token of our own without verifying it."""
    body = jwt.split(".")[1]
    return json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@dataclass(frozen=True, slots=True)
class PushResources:
    """What the pushes of all streams share. *threads* read and write the store; *clock* returns ms."""

    store: Store
    settings: TransmitterSettings
    notifier: Notifier
    clock: Callable[[], int]
    rng: Random
    metrics: TransmitterMetrics
    results: PushResultWriter
    threads: Executor
    tls: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class _StoreRead:
    """A read of the store: the stream if it is to be pushed, the tokens to push now, and whether more wait."""

    stream: Stream | None
    heads: list[QueuedToken]
    more: bool = True


class StreamPusher:
    """Pushes the tokens of one stream until the stream is no longer a push stream, or `stop` is called."""

    def __init__(self, stream_id: str, resources: PushResources) -> None:
        self.stream_id = stream_id
        self._resources = resources
        self._client: PushClient | None = None
        self._in_progress: dict[str, asyncio.Task[None]] = {}  # by lane
        self._seqs: dict[str, int] = {}  # of tokens in progress, by lane
        self._ended_count = 0  # number of ended pushes
        self._more_waiting = True  # whether tokens wait besides those in progress
        self._due: list[int] = []  # when tokens of this stream are retried, ms: a heap
        self._target: tuple[str | None, str | None] | None = None  # address and authorization of the stream
        self._circuit_breaker = CircuitBreaker(resources.settings, resources.rng)
        self._wake = asyncio.Event()
        self._stopping = False

    @property
    def down_since(self) -> int | None:
        """When the receiver went down, ms; `None` while it is up."""
        return self._circuit_breaker.down_since

    def wake(self) -> None:
        """Make it read the store."""
        self._wake.set()

    def stop(self) -> None:
        """Make it start no more pushes."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Push until the stream is removed, disabled, polled or stopped, and no push is in progress."""
        try:
            while not self._stopping:
                self._wake.clear()
                if not await self._start_due():
                    break
                await self._sleep()
        finally:
            await self._finish()

    async def _start_due(self) -> bool:
        """Start the due pushes; return whether the stream is still a push stream."""
        ended_count = self._ended_count
        loop = asyncio.get_running_loop()
        store_read = await loop.run_in_executor(self._resources.threads, self._read, self._free_slots, dict(self._seqs))
        if store_read.stream is None:
            return False
        self._check_target(store_read.stream)
        if store_read.heads and (self._client is None or self._client.url != store_read.stream.endpoint_url):
            await self._connect(store_read.stream)
        for token in store_read.heads[: self._free_slots] if not self._stopping else ():
            self._seqs[token.lane] = token.seq
            self._in_progress[token.lane] = asyncio.create_task(self._push(token, store_read.stream))
        self._more_waiting = store_read.more
        if (
            store_read.more and self._ended_count != ended_count
        ):  # its lane may have a next token, which this read left out
            self._wake.set()
        return True

    def _read(self, limit: int, in_progress: Mapping[str, int]) -> _StoreRead:
        """Read the stream each time: after it was paused or removed, no further push starts."""
        resources = self._resources
        with resources.store.read() as conn:
            stream = streams.get(conn, resources.store.sealer, self.stream_id)
            if stream is None or stream.method != PUSH:
                return _StoreRead(None, [])
            if stream.status == "disabled" and not queue.waiting_seqs(conn, self.stream_id, 1):
                return _StoreRead(None, [])  # else its stream-updated waits
            if limit == 0:
                return _StoreRead(stream, [])
            if stream.status != "enabled":
                tokens = stream_events.first_due(conn, self.stream_id, resources.clock())
                return _StoreRead(stream, [queued for queued in tokens if queued.lane not in in_progress])
            heads = queue.heads(conn, self.stream_id, resources.clock(), limit, in_progress.keys())
            known = {*in_progress.values(), *(head.seq for head in heads)}
            return _StoreRead(stream, heads, not queue.waiting_seqs(conn, self.stream_id, len(known) + 1) <= known)

    def _check_target(self, stream: Stream) -> None:
        """Reset the circuit breaker when the stream's address or authorization changed."""
        target = stream.endpoint_url, stream.authorization
        if self._target not in (None, target):
            self._circuit_breaker = CircuitBreaker(self._resources.settings, self._resources.rng)
            self._wake.set()
        self._target = target

    async def _connect(self, stream: Stream) -> None:
        """Connect to the stream's current address, once the pushes to its old address have ended."""
        if self._in_progress:
            await asyncio.wait(self._in_progress.values())
        if self._client is not None:
            await self._client.close()
            self._client = None
        if stream.endpoint_url is not None:
            try:
                self._client = PushClient(stream.endpoint_url, self._resources.settings, self._resources.tls)
            except ForbiddenUrlError as error:
                logger.warning("stream %s: pushing to its address is not permitted: %s", self.stream_id, error)

    async def _push(self, token: QueuedToken, stream: Stream) -> None:
        """Push one token and write the result; its lane is free when the result is stored."""
        try:
            result = await self._attempt(token, stream)
            await self._resources.results.write(result)
            self._count(result)
        except Exception:
            logger.exception("stream %s: token %s is retried", self.stream_id, token.jti)
            await asyncio.sleep(1.0)
        finally:
            full = self._free_slots == 0
            del self._in_progress[token.lane], self._seqs[token.lane]
            self._ended_count += 1
            if self._more_waiting or full:
                self._wake.set()

    async def _attempt(self, token: QueuedToken, stream: Stream) -> PushResult:
        resources = self._resources
        started_ms = resources.clock()
        if token.error is None:
            resources.metrics.first_push_seconds.observe(max(0, started_ms - token.created_at) / 1000)
        if resources.settings.dry_run:
            return log_token(token, stream)
        response = await self._send(token, stream, started_ms)
        now_ms = resources.clock()
        resources.metrics.push_seconds.observe(max(0, now_ms - started_ms) / 1000)
        down_before = self._circuit_breaker.down_since
        result = self._circuit_breaker.record(token, response, started_ms, now_ms) or decide(
            token, response, resources.settings, now_ms, resources.rng
        )
        self._log_availability(down_before, response, now_ms)
        if result.state == "retry":
            heappush(self._due, result.due_at)
        if self._circuit_breaker.paused_until > now_ms:
            heappush(self._due, self._circuit_breaker.paused_until)
        return result

    async def _send(self, token: QueuedToken, stream: Stream, now_ms: int) -> PushResponse:
        if self._client is None:
            return of_failure("address_refused", "of this stream's endpoint_url")
        response, status = await self._client.push(token.jwt, stream.authorization, now_ms)
        if response.verdict == "delivered" and status != 202:
            self._resources.metrics.unexpected_statuses.labels(str(status)).inc()
        return response

    def _log_availability(self, down_before: int | None, response: PushResponse, now_ms: int) -> None:
        """Log when the receiver goes down, and when it is up again."""
        since = self._circuit_breaker.down_since
        if down_before is None and since is not None:
            logger.warning(
                "stream %s: its receiver is down (%s: %s); until it responds, one token at a time is pushed",
                self.stream_id,
                response.error,
                response.text,
            )
        elif down_before is not None and since is None:
            seconds = (now_ms - down_before) / 1000
            logger.info("stream %s: its receiver responds again, after %.0f s", self.stream_id, seconds)

    def _count(self, result: PushResult) -> None:
        outcome = "dry_run" if result.error == "dry_run" else result.state
        self._resources.metrics.deliveries.labels("push", outcome).inc()
        if result.state == "delivered":
            return
        log = logger.info
        if result.state == "dead" and outcome != "dry_run":
            self._resources.metrics.dead_letters.labels(result.error).inc()
            log = logger.warning
        log(
            "stream %s: token %s (%s), attempt %d: %s, %s: %s",
            self.stream_id,
            result.token.jti,
            result.token.event,
            result.token.attempts + 1,
            result.state,
            result.error,
            result.text,
        )

    @property
    def _free_slots(self) -> int:
        """How many pushes may start now."""
        return self._circuit_breaker.available_slots(self._resources.clock(), len(self._in_progress))

    async def _sleep(self) -> None:
        """Sleep until a push ends, the notifier or `wake` ends it, or a token is due."""
        while not self._wake.is_set():
            now_ms = self._resources.clock()
            if self._due and self._due[0] <= now_ms:
                while self._due and self._due[0] <= now_ms:
                    heappop(self._due)
                return
            seconds = min(1.0, (self._due[0] - now_ms) / 1000) if self._due else 1.0
            if await self._woken(seconds, listen=self._free_slots > 0 and not self._resources.notifier.closed):
                return

    async def _woken(self, seconds: float, *, listen: bool) -> bool:
        """Wait for `wake`, and for the notifier if *listen*, at most *seconds*; return whether either came."""
        coroutines: list[Coroutine[Any, Any, bool]] = [self._wake.wait()]
        if listen:
            coroutines.append(self._resources.notifier.wait(self.stream_id, seconds))
        tasks = [asyncio.create_task(wait) for wait in coroutines]
        done, pending = await asyncio.wait(tasks, timeout=seconds + 0.1, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return any(task.result() for task in done)

    async def _finish(self) -> None:
        """Wait for the pushes in progress: each ends in bounded time, and its result is written."""
        if self._in_progress:
            await asyncio.wait(self._in_progress.values())
        if self._client is not None:
            await self._client.close()
