"""One lane for each (kind, partition) this worker owns: its stage, and the chunks waiting for it, one at a time.

Lanes run side by side, a bounded number at once; within a lane everything is strictly in order:
stage → messages acknowledged → rows acknowledged → chunk acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Protocol

from pipeline.batch_consumer import Chunk
from pipeline.changelog import Changelog
from pipeline.lease import PartitionLost
from pipeline.observe import Observer, Work
from pipeline.producer import Outbox
from pipeline.stage import Outcome, Stage


class Delivery(Protocol):
    """What Faust delivers a chunk in."""

    value: Any
    message: Any

    def ack(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What every lane of a worker works with. *slots* bounds how many chunks are under way at once."""

    outbox: Outbox
    slots: asyncio.Semaphore
    observer: Observer
    failed: Callable[[BaseException], None]


class Lane:
    """The work on one stage."""

    WAITING = 2
    """Chunks that may wait while one is under way; more would only age here."""

    def __init__(self, kind: str, partition: int, stage: Stage, changelog: Changelog, means: Means) -> None:
        self.kind = kind
        self.partition = partition
        self.stage = stage
        self._changelog = changelog
        self._means = means
        self._queue: asyncio.Queue[Delivery | None] = asyncio.Queue(self.WAITING)
        self._quiet_since = monotonic()
        self._begun: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take chunks."""
        self._running = asyncio.create_task(self._run())

    async def put(self, delivery: Delivery) -> None:
        """Line a chunk up; waits while the lane is full."""
        await self._queue.put(delivery)

    def quiet_for(self) -> float:
        """Return for how many seconds nothing was done and nothing waits."""
        busy = self._begun is not None or not self._queue.empty()
        return 0.0 if busy else monotonic() - self._quiet_since

    def sweep(self) -> None:
        """Line a sweep up, if nothing else waits."""
        if self._queue.empty():
            self._queue.put_nowait(None)

    async def close(self, deadline: float) -> None:
        """Forget what waits; let what has begun finish until *deadline* (monotonic seconds), then give it up."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        while not self._queue.empty():  # also lets go of whoever waits to put another
            self._queue.get_nowait()
        if self._begun is not None:
            await asyncio.wait({self._begun}, timeout=max(0.0, deadline - monotonic()))
            self._conclude(self._begun)

    def _conclude(self, begun: asyncio.Task[None]) -> None:
        if not begun.done():
            begun.cancel()  # too slow: not acknowledged, so it is read again
        elif not begun.cancelled():
            self._report(begun.exception())

    def _report(self, error: BaseException | None) -> None:
        # A lost partition is no failure: whoever has it now reads the chunk again.
        if error is not None and not isinstance(error, PartitionLost):
            self._means.failed(error)

    async def _run(self) -> None:
        while True:
            delivery = await self._queue.get()
            # Closing a lane cancels what waits for the chunk, not the chunk.
            self._begun = asyncio.create_task(self._handle(delivery))
            try:
                await asyncio.shield(self._begun)
            except Exception as error:  # noqa: BLE001 - whatever it is, no later chunk may be acknowledged
                self._begun = None
                self._report(error)
                return
            self._begun = None
            self._quiet_since = monotonic()

    async def _handle(self, delivery: Delivery | None) -> None:
        arrived = monotonic()
        chunk: Chunk | None = None if delivery is None else delivery.value
        async with self._means.slots:
            outcome = self._outcome(chunk)
            await self._make_it_so(outcome, chunk)
        if delivery is not None:
            delivery.ack()
        topic, records = (None, 0) if chunk is None else (chunk.topic, len(chunk.records))
        work = Work(self.kind, self.partition, topic, records, monotonic() - arrived, outcome)
        self._means.observer.done(work)

    def _outcome(self, chunk: Chunk | None) -> Outcome:
        now_ms = int(time() * 1000)
        if chunk is None:
            return self.stage.sweep(now_ms)
        return self.stage.process(chunk.topic, chunk.records, now_ms)

    async def _make_it_so(self, outcome: Outcome, chunk: Chunk | None) -> None:
        if outcome.messages:
            await self._changelog.confirm()
            await self._means.outbox.send(outcome.messages)
            acked_ms = int(time() * 1000)
            newest_ms = acked_ms if chunk is None else chunk.records[-1].timestamp
            self._means.observer.sent(self.kind, outcome.messages, newest_ms, acked_ms)
        if outcome.rows:
            await self._changelog.write(outcome.rows)


Place = tuple[str, int]
"""A kind and a partition."""


class Lanes:
    """The lanes of the partitions this worker owns, in the generation it owns them."""

    def __init__(self, observer: Observer, drain_seconds: float) -> None:
        self._observer = observer
        self._drain_seconds = drain_seconds
        self._lanes: dict[Place, Lane] = {}
        self._generation = -1

    def __iter__(self) -> Iterator[Lane]:
        return iter(tuple(self._lanes.values()))

    def open(self, lanes: Iterable[Lane], generation: int) -> None:
        """Start *lanes*, in place of all there were; what comes from an earlier generation finds no lane."""
        self._lanes = {(lane.kind, lane.partition): lane for lane in lanes}
        self._generation = generation
        for lane in self:
            lane.start()
            self._observer.ready(lane.kind, lane.partition)

    async def put(self, kind: str, delivery: Delivery) -> None:
        """Line a chunk up in its lane; one of another generation is forgotten, and read again by its owner."""
        lane = self._lanes.get((kind, delivery.value.partition))
        if lane is not None and delivery.message.generation_id == self._generation:
            await lane.put(delivery)

    async def settle(self) -> None:
        """Close all lanes, at the latest after the drain time, and drop their stages."""
        lanes, self._lanes = self._lanes, {}
        deadline = monotonic() + self._drain_seconds
        await asyncio.gather(*(lane.close(deadline) for lane in lanes.values()))
        for lane in lanes.values():
            self._observer.gone(lane.kind, lane.partition)
