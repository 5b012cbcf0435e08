"""One lane for each (kind, partition) this worker owns: its stage, and the chunks that wait for it, in order.

Lanes run side by side, a bounded number at once. Within a lane everything has its order: stage → messages
acknowledged → rows acknowledged → chunks acknowledged. While what a chunk brought is on its way to the
brokers, the stage works on the next; its messages follow at once, its rows after those of the chunk before.
What waits meanwhile goes the way together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Final, NamedTuple, Protocol

from pipeline.kafka.changelog import Changelog
from pipeline.kafka.chunk import Chunk
from pipeline.kafka.fencing import PartitionLost
from pipeline.kafka.producer import BatchWriter
from pipeline.kafka.time_alignment import is_plausible_time
from pipeline.processing.failpoints import hit
from pipeline.processing.observer import Observer, Work
from pipeline.processing.processor import ChangelogRow, Message, Outcome, Processor, Record


class Delivery(Protocol):
    """What Faust delivers a chunk in."""

    value: Any
    message: Any

    def ack(self) -> bool: ...


class TopicRun(NamedTuple):
    """Chunks of one topic that waited one behind the other: one piece of work, little dearer than one."""

    arrived: float
    topic: str
    records: list[Record]


class WorkItem(NamedTuple):
    """A piece of work that the stage has done: what it took, and what came of it."""

    taken: Sequence[tuple[float, Delivery]]
    runs: list[TopicRun]
    outcomes: list[Outcome]

    @property
    def messages(self) -> list[Message]:
        """Everything to send, in order."""
        return [message for outcome in self.outcomes for message in outcome.messages]

    @property
    def rows(self) -> list[ChangelogRow]:
        """Everything to remember, in order."""
        return [row for outcome in self.outcomes for row in outcome.rows]

    def oldest_ms(self, now_ms: int) -> int | None:
        """Time of the oldest record taken, if that is one."""
        first = self.taken[0][1].value.records[0].timestamp if self.taken else 0
        return first if is_plausible_time(first, now_ms) else None

    def newest_ms(self, now_ms: int) -> int:
        """Time of the newest record taken, or now."""
        last = [delivery.value.records[-1].timestamp for _, delivery in self.taken]
        return max((item for item in last if is_plausible_time(item, now_ms)), default=now_ms)


def topic_runs(taken: Sequence[tuple[float, Delivery]]) -> list[TopicRun]:
    """The runs that were *taken*, each chunk with when it arrived."""
    runs: list[TopicRun] = []
    for arrived, delivery in taken:
        chunk: Chunk = delivery.value
        if runs and runs[-1].topic == chunk.topic:
            runs[-1].records.extend(chunk.records)
        else:
            runs.append(TopicRun(arrived, chunk.topic, list(chunk.records)))
    return runs


@dataclass(frozen=True, slots=True)
class TaskResources:
    """What every lane of a worker works with.

    *slots* bounds how many lanes are at work at once, *records* how many records wait in each (one chunk more
    at most) and go the way together.
    """

    outbox: BatchWriter
    slots: asyncio.Semaphore
    records: int
    observer: Observer
    failed: Callable[[BaseException], None]


MAX_IN_FLIGHT: Final = 2
"""Pieces of work of one lane whose outcome may be on its way to the brokers."""


class PartitionTask:
    """The work on one stage."""

    def __init__(self, kind: str, partition: int, stage: Processor, changelog: Changelog, means: TaskResources) -> None:
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
        self._on_its_way: deque[asyncio.Task[None]] = deque()
        self._turn = asyncio.Lock()
        self._broken = False
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
        return bool(self._on_its_way or self._waiting or self._sweep_due)

    def quiet_for(self) -> float:
        """Return for how many seconds nothing was done and nothing waits."""
        return 0.0 if self.is_busy else monotonic() - self._quiet_since

    def on_timer(self) -> None:
        """Have the stage swept."""
        self._sweep_due = True
        self._changed.set()

    async def close(self, deadline: float) -> None:
        """Forget what waits; let what is done arrive until *deadline* (monotonic), then give it up."""
        self._closed = True
        self._changed.set()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        if self._on_its_way:
            _, late = await asyncio.wait(self._on_its_way, timeout=max(0.0, deadline - monotonic()))
            for delivering in late:
                delivering.cancel()  # too slow: not acknowledged, so it is read again
                self.is_settled = False

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _run(self) -> None:
        while True:
            while len(self._on_its_way) >= MAX_IN_FLIGHT or not (self._waiting or self._sweep_due):
                await self._next_change()
            await self._means.slots.acquire()
            if self._broken:  # meanwhile what is on its way was refused
                self._means.slots.release()
                return
            try:
                piece = self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is, no later chunk may be acknowledged
                self._means.slots.release()
                self._fail(error)
                return
            # Closing a lane cancels its running, not what is on its way.
            before = self._on_its_way[-1] if self._on_its_way else None
            delivering = asyncio.create_task(self._deliver(piece, before))
            self._on_its_way.append(delivering)
            delivering.add_done_callback(self._delivered)
            await asyncio.sleep(0)

    def _work(self) -> WorkItem:
        swept, taken = self._next_chunks()
        now_ms = int(time() * 1000)
        runs = topic_runs(taken)
        outcomes = [self.stage.process(run.topic, run.records, now_ms) for run in runs]
        if swept:
            outcomes.append(self.stage.on_timer(now_ms))
        return WorkItem(taken, runs, outcomes)

    def _delivered(self, delivering: asyncio.Task[None]) -> None:
        self._means.slots.release()
        self._on_its_way.remove(delivering)
        self._quiet_since = monotonic()
        self._changed.set()
        if delivering.cancelled():
            self.is_settled = False
        elif error := delivering.exception():
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.is_settled = False
        # A lost partition is no failure: whoever has it now reads the chunks again.
        if not (self._broken or isinstance(error, PartitionLost)):
            self._means.failed(error)
        self._broken = True

    def _next_chunks(self) -> tuple[bool, Sequence[tuple[float, Delivery]]]:
        taken = []
        records = 0
        while self._waiting and records < self._means.records:
            taken.append(self._waiting.popleft())
            records += len(taken[-1][1].value.records)
        self._waiting_records -= records
        swept, self._sweep_due = self._sweep_due and not taken, False
        self._changed.set()
        return swept, taken

    async def _deliver(self, piece: WorkItem, before: asyncio.Task[None] | None) -> None:
        """Send, then remember, then acknowledge; rows and acknowledgement come after those of *before*."""
        if messages := piece.messages:
            async with self._turn:
                await self.changelog.confirm()
                # With the time of its cause, what a context says waits for its turn among older records, not
                # behind all of them: after an outage calls must not be judged before the telemetry of their
                # time.
                acknowledged = await self._means.outbox.send(messages, piece.oldest_ms(int(time() * 1000)))
            await acknowledged
            hit("messages-safe")
            acked_ms = int(time() * 1000)
            self._means.observer.sent(self.kind, messages, piece.newest_ms(acked_ms), acked_ms)
        if before is not None:
            await asyncio.shield(before)
        if rows := piece.rows:
            await self.changelog.write(rows)
        for _, delivery in piece.taken:
            delivery.ack()
        hit("chunk-acknowledged")
        self._report(piece.outcomes, piece.runs)

    def _report(self, outcomes: Sequence[Outcome], runs: Sequence[TopicRun]) -> None:
        now = monotonic()
        done = self._means.observer.done
        for run, outcome in zip(runs, outcomes, strict=False):
            self.applied_ms[run.topic] = self._applied_ms(run)
            done(Work(self.kind, self.partition, run.topic, len(run.records), now - run.arrived, outcome))
        for outcome in outcomes[len(runs) :]:
            done(Work(self.kind, self.partition, None, 0, 0.0, outcome))

    def _applied_ms(self, run: TopicRun) -> int:
        """Time of the newest record of *run*; where that is none, of the one before, or now."""
        newest, now_ms = run.records[-1].timestamp, int(time() * 1000)
        return newest if is_plausible_time(newest, now_ms) else self.applied_ms.get(run.topic, now_ms)


Place = tuple[str, int]
"""A kind and a partition."""


class TaskManager:
    """The lanes of the partitions this worker owns, in the generation it owns them."""

    def __init__(self, observer: Observer, drain_seconds: float) -> None:
        self._observer = observer
        self._drain_seconds = drain_seconds
        self._lanes: dict[Place, PartitionTask] = {}
        self._generation = -1
        self._settled: dict[Place, PartitionTask] = {}

    def __iter__(self) -> Iterator[PartitionTask]:
        return iter(tuple(self._lanes.values()))

    def open(self, lanes: Iterable[PartitionTask], generation: int) -> None:
        """Start *lanes*, in place of all there were; what comes from an earlier generation finds no lane."""
        self._lanes = {(lane.kind, lane.partition): lane for lane in lanes}
        self._generation = generation
        self._settled.clear()
        for lane in self:
            lane.start()
            self._observer.ready(lane.kind, lane.partition)

    def current(self, place: Place) -> PartitionTask | None:
        """Return the lane of *place* before the rebalance, if its stage is what its changelog says."""
        return self._settled.get(place)

    async def put(self, kind: str, delivery: Delivery) -> None:
        """Line a chunk up in its lane; one of another generation is forgotten: its owner reads it again."""
        lane = self._lanes.get((kind, delivery.value.partition))
        if lane is not None and delivery.message.generation_id == self._generation:
            await lane.put(delivery)

    async def drain(self) -> None:
        """Close all lanes, at the latest after the drain time."""
        lanes, self._lanes = self._lanes, {}
        deadline = monotonic() + self._drain_seconds
        await asyncio.gather(*(lane.close(deadline) for lane in lanes.values()))
        self._settled.update((place, lane) for place, lane in lanes.items() if lane.is_settled)
        for lane in lanes.values():
            self._observer.closed(lane.kind, lane.partition)
