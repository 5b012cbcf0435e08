"""The pushes of one stream (RFC 8935): some subjects at once, the tokens of each one after another."""

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
    """Log what *token* says. It is not delivered, and no revocation is: its commands stay open."""
    text = json.dumps(_claims(token.jwt), ensure_ascii=True, separators=(",", ":"))
    logger.info("dry run: stream %s would be sent %s %s", stream.stream_id, token.event, text)
    return PushResult(token, "dead", DRY_RUN, "not sent: this transmitter is set to a dry run")


def _claims(jwt: str) -> Any:
    """Read the claims of a token of our own: no need to verify it."""
    body = jwt.split(".")[1]
    return json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@dataclass(frozen=True, slots=True)
class PushResources:
    """What the pushes of all streams share. *threads* read and write the store; *clock* gives ms."""

    store: Store
    settings: TransmitterSettings
    bell: Notifier
    clock: Callable[[], int]
    rng: Random
    metrics: TransmitterMetrics
    results: PushResultWriter
    threads: Executor
    tls: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class _Look:
    """What the store says: the stream, if it is to be pushed, tokens to push now, and whether more wait."""

    stream: Stream | None
    heads: list[QueuedToken]
    more: bool = True


class StreamPusher:
    """Pushes what waits for one stream until the stream is not to be pushed any more, or `stop` is called."""

    def __init__(self, stream_id: str, parts: PushResources) -> None:
        self.stream_id = stream_id
        self._parts = parts
        self._outgoing: PushClient | None = None
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by lane
        self._seqs: dict[str, int] = {}  # of what is under way, by lane
        self._ended = 0  # pushes, so far
        self._more = True  # waits, beside what is under way
        self._due: list[int] = []  # when something here is tried again, ms: a heap
        self._where: tuple[str | None, str | None] | None = None  # its address and authorization
        self._circuit = CircuitBreaker(parts.settings, parts.rng)
        self._awake = asyncio.Event()
        self._stopping = False

    @property
    def down_since(self) -> int | None:
        """Since when the receiver is down as a whole, ms; `None` while it is not."""
        return self._circuit.down_since

    def nudge(self) -> None:
        """Have it look at the store."""
        self._awake.set()

    def stop(self) -> None:
        """Have it begin nothing more."""
        self._stopping = True
        self._awake.set()

    async def run(self) -> None:
        """Push until the stream is gone, disabled, polled or told to stop, and nothing is under way."""
        try:
            while not self._stopping:
                self._awake.clear()
                if not await self._look():
                    break
                await self._rest()
        finally:
            await self._finish()

    async def _look(self) -> bool:
        """Begin to push what is due; return whether the stream is still one to push."""
        ended = self._ended
        loop = asyncio.get_running_loop()
        look = await loop.run_in_executor(self._parts.threads, self._read, self._free, dict(self._seqs))
        if look.stream is None:
            return False
        self._follow(look.stream)
        if look.heads and (self._outgoing is None or self._outgoing.url != look.stream.endpoint_url):
            await self._turn_to(look.stream)
        for token in look.heads[: self._free] if not self._stopping else ():
            self._seqs[token.lane] = token.seq
            self._under_way[token.lane] = asyncio.create_task(self._push(token, look.stream))
        self._more = look.more
        if look.more and self._ended != ended:  # its lane may have a next one, which this look left out
            self._awake.set()
        return True

    def _read(self, most: int, under_way: Mapping[str, int]) -> _Look:
        """Read the stream anew each time: after a word to pause or end it, nothing more is begun."""
        parts = self._parts
        with parts.store.read() as conn:
            stream = streams.get(conn, parts.store.sealer, self.stream_id)
            if stream is None or stream.method != PUSH:
                return _Look(None, [])
            if stream.status == "disabled" and not queue.waiting_seqs(conn, self.stream_id, 1):
                return _Look(None, [])  # else there is a word that it was disabled
            if most == 0:
                return _Look(stream, [])
            if stream.status != "enabled":
                held = stream_events.first(conn, self.stream_id, parts.clock())
                return _Look(stream, [queued for queued in held if queued.lane not in under_way])
            heads = queue.heads(conn, self.stream_id, parts.clock(), most, under_way.keys())
            known = {*under_way.values(), *(head.seq for head in heads)}
            return _Look(stream, heads, not queue.waiting_seqs(conn, self.stream_id, len(known) + 1) <= known)

    def _follow(self, stream: Stream) -> None:
        """Where the stream goes now, nothing has failed yet."""
        where = stream.endpoint_url, stream.authorization
        if self._where not in (None, where):
            self._circuit = CircuitBreaker(self._parts.settings, self._parts.rng)
            self._awake.set()
        self._where = where

    async def _turn_to(self, stream: Stream) -> None:
        """Open connections to where the stream goes now, once those to where it went have ended."""
        if self._under_way:
            await asyncio.wait(self._under_way.values())
        if self._outgoing is not None:
            await self._outgoing.close()
            self._outgoing = None
        if stream.endpoint_url is not None:
            try:
                self._outgoing = PushClient(stream.endpoint_url, self._parts.settings, self._parts.tls)
            except ForbiddenUrlError as error:
                logger.warning("stream %s: nothing can be pushed to its address: %s", self.stream_id, error)

    async def _push(self, token: QueuedToken, stream: Stream) -> None:
        """Push one token and write what came of it; its lane is free when that is in the store."""
        try:
            result = await self._tried(token, stream)
            await self._parts.results.write(result)
            self._count(result)
        except Exception:
            logger.exception("stream %s: token %s is tried again", self.stream_id, token.jti)
            await asyncio.sleep(1.0)
        finally:
            full = self._free == 0
            del self._under_way[token.lane], self._seqs[token.lane]
            self._ended += 1
            if self._more or full:
                self._awake.set()

    async def _tried(self, token: QueuedToken, stream: Stream) -> PushResult:
        parts = self._parts
        begun_ms = parts.clock()
        if token.error is None:
            parts.metrics.first_push_seconds.observe(max(0, begun_ms - token.created_at) / 1000)
        if parts.settings.dry_run:
            return log_token(token, stream)
        answer = await self._answer(token, stream, begun_ms)
        now_ms = parts.clock()
        parts.metrics.push_seconds.observe(max(0, now_ms - begun_ms) / 1000)
        before = self._circuit.down_since
        result = self._circuit.record(token, answer, begun_ms, now_ms) or decide(
            token, answer, parts.settings, now_ms, parts.rng
        )
        self._tell(before, answer, now_ms)
        if result.state == "retry":
            heappush(self._due, result.due_at)
        if self._circuit.paused_until > now_ms:
            heappush(self._due, self._circuit.paused_until)
        return result

    async def _answer(self, token: QueuedToken, stream: Stream, now_ms: int) -> PushResponse:
        if self._outgoing is None:
            return of_failure("address_refused", "of this stream's endpoint_url")
        answer, status = await self._outgoing.push(token.jwt, stream.authorization, now_ms)
        if answer.verdict == "delivered" and status != 202:
            self._parts.metrics.odd_answers.labels(str(status)).inc()
        return answer

    def _tell(self, before: int | None, answer: PushResponse, now_ms: int) -> None:
        """Say that the receiver is down as a whole, or is there again, when that is new."""
        since = self._circuit.down_since
        if before is None and since is not None:
            logger.warning(
                "stream %s: its receiver is down (%s: %s); until it answers one token at a time is tried",
                self.stream_id,
                answer.error,
                answer.text,
            )
        elif before is not None and since is None:
            seconds = (now_ms - before) / 1000
            logger.info("stream %s: its receiver answers again, after %.0f s", self.stream_id, seconds)

    def _count(self, result: PushResult) -> None:
        outcome = "dry_run" if result.error == "dry_run" else result.state
        self._parts.metrics.deliveries.labels("push", outcome).inc()
        if result.state == "delivered":
            return
        tell = logger.info
        if result.state == "dead" and outcome != "dry_run":
            self._parts.metrics.dead_letters.labels(result.error).inc()
            tell = logger.warning
        tell(
            "stream %s: token %s (%s), try %d: %s, %s: %s",
            self.stream_id,
            result.token.jti,
            result.token.event,
            result.token.attempts + 1,
            result.state,
            result.error,
            result.text,
        )

    @property
    def _free(self) -> int:
        """How many pushes may begin now."""
        return self._circuit.available_slots(self._parts.clock(), len(self._under_way))

    async def _rest(self) -> None:
        """Sleep until a push ends, the bell rings, something is due, or somebody nudges."""
        while not self._awake.is_set():
            now_ms = self._parts.clock()
            if self._due and self._due[0] <= now_ms:
                while self._due and self._due[0] <= now_ms:
                    heappop(self._due)
                return
            seconds = min(1.0, (self._due[0] - now_ms) / 1000) if self._due else 1.0
            if await self._rung(seconds, listen=self._free > 0 and not self._parts.bell.closed):
                return

    async def _rung(self, seconds: float, *, listen: bool) -> bool:
        """Wait for `nudge`, and the bell if *listen*, at most so long; return whether either came."""
        waits: list[Coroutine[Any, Any, bool]] = [self._awake.wait()]
        if listen:
            waits.append(self._parts.bell.wait(self.stream_id, seconds))
        tasks = [asyncio.create_task(wait) for wait in waits]
        done, open_ = await asyncio.wait(tasks, timeout=seconds + 0.1, return_when=asyncio.FIRST_COMPLETED)
        for task in open_:
            task.cancel()
        return any(this_task.result() for this_task in done)

    async def _finish(self) -> None:
        """Wait for what is under way: each push ends in its own time, and what came of it is written."""
        if self._under_way:
            await asyncio.wait(self._under_way.values())
        if self._outgoing is not None:
            await self._outgoing.close()
