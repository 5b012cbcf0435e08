"""One lane for each (kind, partition) this worker owns: its stage, and the chunks that wait for it, in order.

Lanes run side by side, a bounded number at once. Within a lane everything has its order: stage → messages
acknowledged → rows acknowledged → chunks acknowledged. What waits meanwhile goes the way together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, NamedTuple, Protocol

from pipeline.batch_consumer import Chunk
from pipeline.changelog import Changelog
from pipeline.lease import PartitionLost
from pipeline.observe import Observer, Work
from pipeline.producer import Outbox
from pipeline.stage import Outcome, Record, Stage


class Delivery(Protocol):
    """What Faust delivers a chunk in."""

    value: Any
    message: Any

    def ack(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What every lane of a worker works with.

    *slots* bounds how many lanes are at work at once, *records* how many records wait in each (one chunk more
    at most) and go the way together.
    """

    outbox: Outbox
    slots: asyncio.Semaphore
    records: int
    observer: Observer
    failed: Callable[[BaseException], None]


class Run(NamedTuple):
    """Chunks of one topic that waited one behind the other: one piece of work, little dearer than one."""

    arrived: float
    topic: str
    records: list[Record]


def _runs(taken: Sequence[tuple[float, Delivery]]) -> list[Run]:
    runs: list[Run] = []
    for arrived, delivery in taken:
        chunk: Chunk = delivery.value
        if runs and runs[-1].topic == chunk.topic:
            runs[-1].records.extend(chunk.records)
        else:
            runs.append(Run(arrived, chunk.topic, list(chunk.records)))
    return runs


class Lane:
    """The work on one stage."""

    def __init__(self, kind: str, partition: int, stage: Stage, changelog: Changelog, means: Means) -> None:
        self.kind = kind
        self.partition = partition
        self.stage = stage
        self.changelog = changelog
        self.is_settled = True
        """Whether everything the stage was given is written: then it is what its changelog says."""
        self.applied_ms: dict[str, int] = {}
        """Time of the newest record applied, by topic."""
        self._means = means
        self._waiting: deque[tuple[float, Delivery]] = deque()
        self._waiting_records = 0
        self._sweep_due = False
        self._changed = asyncio.Event()
        self._closed = False
        self._quiet_since = monotonic()
        self._begun: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take chunks."""
        self._running = asyncio.create_task(self._run())

    async def put(self, delivery: Delivery) -> None:
        """Line a chunk up; waits while the lane is full, and forgets the chunk when the lane is closed."""
        while self._waiting_records >= self._means.records and not self._closed:
            await self._next_change()
        if not self._closed:
            self._waiting.append((monotonic(), delivery))
            self._waiting_records += len(delivery.value.records)
            self._changed.set()

    @property
    def is_busy(self) -> bool:
        """Whether something is under way or waits."""
        return self._begun is not None or bool(self._waiting) or self._sweep_due

    def quiet_for(self) -> float:
        """Return for how many seconds nothing was done and nothing waits."""
        return 0.0 if self.is_busy else monotonic() - self._quiet_since

    def sweep(self) -> None:
        """Have the stage swept."""
        self._sweep_due = True
        self._changed.set()

    async def close(self, deadline: float) -> None:
        """Forget what waits; let what has begun finish until *deadline* (monotonic), then give it up."""
        self._closed = True
        self._changed.set()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        if self._begun is not None:
            await asyncio.wait({self._begun}, timeout=max(0.0, deadline - monotonic()))
            self._conclude(self._begun)

    def _conclude(self, begun: asyncio.Task[None]) -> None:
        if not begun.done():
            begun.cancel()  # too slow: not acknowledged, so it is read again
            self.is_settled = False
        elif error := begun.exception():
            self._report(error)

    def _report(self, error: BaseException) -> None:
        self.is_settled = False
        # A lost partition is no failure: whoever has it now reads the chunks again.
        if not isinstance(error, PartitionLost):
            self._means.failed(error)

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _run(self) -> None:
        while True:
            while not (self._waiting or self._sweep_due):
                await self._next_change()
            # Closing a lane cancels the waiting for what has begun, not what has begun.
            self._begun = asyncio.create_task(self._work())
            try:
                await asyncio.shield(self._begun)
            except Exception as error:  # noqa: BLE001 - whatever it is, no later chunk may be acknowledged
                self._begun = None
                self._report(error)
                return
            self._begun = None
            self._quiet_since = monotonic()

    async def _work(self) -> None:
        async with self._means.slots:
            swept, taken = self._take()
            now_ms = int(time() * 1000)
            runs = _runs(taken)
            outcomes = [self.stage.process(run.topic, run.records, now_ms) for run in runs]
            if swept:
                outcomes.append(self.stage.sweep(now_ms))
            await self._make_it_so(outcomes, taken)
        for _, delivery in taken:
            delivery.ack()
        self._tell(outcomes, runs)

    def _take(self) -> tuple[bool, Sequence[tuple[float, Delivery]]]:
        taken = []
        records = 0
        while self._waiting and records < self._means.records:
            taken.append(self._waiting.popleft())
            records += len(taken[-1][1].value.records)
        self._waiting_records -= records
        swept, self._sweep_due = self._sweep_due and not taken, False
        self._changed.set()
        return swept, taken

    async def _make_it_so(self, outcomes: Sequence[Outcome], taken: Sequence[tuple[float, Delivery]]) -> None:
        messages = [message for outcome in outcomes for message in outcome.messages]
        if messages:
            await self.changelog.confirm()
            # With the time of its cause, what a context says waits for its turn among older records, not
            # behind all of them: after an outage calls must not be judged before the telemetry of their time.
            oldest_ms = taken[0][1].value.records[0].timestamp if taken else None
            await self._means.outbox.send(messages, oldest_ms)
            acked_ms = int(time() * 1000)
            newest_ms = max((d.value.records[-1].timestamp for _, d in taken), default=acked_ms)
            self._means.observer.sent(self.kind, messages, newest_ms, acked_ms)
        rows = [row for outcome in outcomes for row in outcome.rows]
        if rows:
            await self.changelog.write(rows)

    def _tell(self, outcomes: Sequence[Outcome], runs: Sequence[Run]) -> None:
        now = monotonic()
        done = self._means.observer.done
        for run, outcome in zip(runs, outcomes, strict=False):
            self.applied_ms[run.topic] = run.records[-1].timestamp
            done(Work(self.kind, self.partition, run.topic, len(run.records), now - run.arrived, outcome))
        for outcome in outcomes[len(runs) :]:
            done(Work(self.kind, self.partition, None, 0, 0.0, outcome))


Place = tuple[str, int]
"""A kind and a partition."""


class Lanes:
    """The lanes of the partitions this worker owns, in the generation it owns them."""

    def __init__(self, observer: Observer, drain_seconds: float) -> None:
        self._observer = observer
        self._drain_seconds = drain_seconds
        self._lanes: dict[Place, Lane] = {}
        self._generation = -1
        self._settled: dict[Place, Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(tuple(self._lanes.values()))

    def open(self, lanes: Iterable[Lane], generation: int) -> None:
        """Start *lanes*, in place of all there were; what comes from an earlier generation finds no lane."""
        self._lanes = {(lane.kind, lane.partition): lane for lane in lanes}
        self._generation = generation
        self._settled.clear()
        for lane in self:
            lane.start()
            self._observer.ready(lane.kind, lane.partition)

    def settled(self, place: Place) -> Lane | None:
        """Return the lane of *place* before the rebalance, if its stage is what its changelog says."""
        return self._settled.get(place)

    async def put(self, kind: str, delivery: Delivery) -> None:
        """Line a chunk up in its lane; one of another generation is forgotten: its owner reads it again."""
        lane = self._lanes.get((kind, delivery.value.partition))
        if lane is not None and delivery.message.generation_id == self._generation:
            await lane.put(delivery)

    async def settle(self) -> None:
        """Close all lanes, at the latest after the drain time."""
        lanes, self._lanes = self._lanes, {}
        deadline = monotonic() + self._drain_seconds
        await asyncio.gather(*(lane.close(deadline) for lane in lanes.values()))
        self._settled.update((place, lane) for place, lane in lanes.items() if lane.is_settled)
        for lane in lanes.values():
            self._observer.gone(lane.kind, lane.partition)
