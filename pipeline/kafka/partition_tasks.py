"""Partition tasks: one for each processor and partition that this worker owns, with its queue of chunks.

Tasks run concurrently, a bounded number at once. Within a task the order is: processor → messages acknowledged → rows
acknowledged → chunks acknowledged. While the outcome of a chunk is on its way to the brokers, the processor works on
the next one; its messages follow at once, its rows after those of the chunk before. Chunks that wait are processed
together.
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
    """The Faust event in which a chunk is delivered."""

    value: Any
    message: Any

    def ack(self) -> bool: ...


class TopicRun(NamedTuple):
    """Consecutive waiting chunks of one topic, processed as one, which costs little more than a single chunk."""

    arrived: float
    topic: str
    records: list[Record]


class WorkItem(NamedTuple):
    """What a processor has processed at once: the chunks, and the outcomes."""

    deliveries: Sequence[tuple[float, Delivery]]
    runs: list[TopicRun]
    outcomes: list[Outcome]

    @property
    def messages(self) -> list[Message]:
        """All messages to send, in order."""
        return [message for outcome in self.outcomes for message in outcome.messages]

    @property
    def rows(self) -> list[ChangelogRow]:
        """All changelog rows to write, in order."""
        return [row for outcome in self.outcomes for row in outcome.rows]

    def oldest_ms(self, now_ms: int) -> int | None:
        """Time of the oldest record, or `None` if it has no plausible time."""
        first = self.deliveries[0][1].value.records[0].timestamp if self.deliveries else 0
        return first if is_plausible_time(first, now_ms) else None

    def newest_ms(self, now_ms: int) -> int:
        """Time of the newest record, or *now_ms* if none has a plausible time."""
        last = [delivery.value.records[-1].timestamp for _, delivery in self.deliveries]
        return max((item for item in last if is_plausible_time(item, now_ms)), default=now_ms)


def topic_runs(deliveries: Sequence[tuple[float, Delivery]]) -> list[TopicRun]:
    """Group *deliveries*, each with the time it arrived, into runs."""
    runs: list[TopicRun] = []
    for arrived, delivery in deliveries:
        chunk: Chunk = delivery.value
        if runs and runs[-1].topic == chunk.topic:
            runs[-1].records.extend(chunk.records)
        else:
            runs.append(TopicRun(arrived, chunk.topic, list(chunk.records)))
    return runs


@dataclass(frozen=True, slots=True)
class TaskResources:
    """What all tasks of a worker share.

    *slots* bounds how many tasks have work under way at once; *records* how many records may wait in each task (plus
    at most one chunk) and are processed together. *failed* is called with the error of a task that cannot go on.
    """

    writer: BatchWriter
    slots: asyncio.Semaphore
    records: int
    observer: Observer
    failed: Callable[[BaseException], None]


MAX_IN_FLIGHT: Final = 2
"""Work items of one task whose outcome may be on its way to the brokers."""


class PartitionTask:
    """Runs one processor: queues its chunks, processes them in order, and writes their outcomes."""

    def __init__(
        self, processor_name: str, partition: int, processor: Processor, changelog: Changelog, resources: TaskResources
    ) -> None:
        self.processor_name = processor_name
        self.partition = partition
        self.processor = processor
        self.changelog = changelog
        self.is_settled = True
        """Whether the outcome of every chunk is written: then the processor's state equals its changelog."""
        self.applied_ms: dict[str, int] = {}
        """Time of the newest record applied, by topic."""
        self._resources = resources
        self._waiting: deque[tuple[float, Delivery]] = deque()
        self._waiting_records = 0
        self._timer_due = False
        self._change = asyncio.Event()
        self._closed = False
        self._quiet_since = monotonic()
        self._in_flight: deque[asyncio.Task[None]] = deque()
        self._send_lock = asyncio.Lock()
        self._failed = False
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to take chunks."""
        self._loop_task = asyncio.create_task(self._run())

    async def put(self, delivery: Delivery) -> None:
        """Queue a chunk; waits while the queue is full, and drops the chunk if the task is closed."""
        while self._waiting_records >= self._resources.records and not self._closed:
            await self._next_change()
        if not self._closed:
            self._waiting.append((monotonic(), delivery))
            self._waiting_records += len(delivery.value.records)
            self._change.set()

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way or waits."""
        return bool(self._in_flight or self._waiting or self._timer_due)

    def quiet_for(self) -> float:
        """Return for how many seconds nothing was processed and nothing waits."""
        return 0.0 if self.is_busy else monotonic() - self._quiet_since

    def on_timer(self) -> None:
        """Have the processor's timer called when no chunk waits."""
        self._timer_due = True
        self._change.set()

    async def close(self, deadline: float) -> None:
        """Drop what waits; let outcomes on their way arrive until *deadline* (monotonic), then cancel them."""
        self._closed = True
        self._change.set()
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.wait({self._loop_task})
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=max(0.0, deadline - monotonic()))
            for delivering in late:
                delivering.cancel()  # too slow: its chunks are not acknowledged, so they are read again
                self.is_settled = False

    async def _next_change(self) -> None:
        self._change.clear()
        await self._change.wait()

    async def _run(self) -> None:
        while True:
            while len(self._in_flight) >= MAX_IN_FLIGHT or not (self._waiting or self._timer_due):
                await self._next_change()
            await self._resources.slots.acquire()
            if self._failed:  # meanwhile an outcome on its way was refused
                self._resources.slots.release()
                return
            try:
                item = self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is, no later chunk may be acknowledged
                self._resources.slots.release()
                self._fail(error)
                return
            # Closing a task cancels `_run`, not what is on its way.
            before = self._in_flight[-1] if self._in_flight else None
            delivering = asyncio.create_task(self._deliver(item, before))
            self._in_flight.append(delivering)
            delivering.add_done_callback(self._delivered)
            await asyncio.sleep(0)

    def _work(self) -> WorkItem:
        timer_due, deliveries = self._next_chunks()
        now_ms = int(time() * 1000)
        runs = topic_runs(deliveries)
        outcomes = [self.processor.process(run.topic, run.records, now_ms) for run in runs]
        if timer_due:
            outcomes.append(self.processor.on_timer(now_ms))
        return WorkItem(deliveries, runs, outcomes)

    def _delivered(self, delivering: asyncio.Task[None]) -> None:
        self._resources.slots.release()
        self._in_flight.remove(delivering)
        self._quiet_since = monotonic()
        self._change.set()
        if delivering.cancelled():
            self.is_settled = False
        elif error := delivering.exception():
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.is_settled = False
        # A lost partition is no failure: its new owner reads the chunks again.
        if not (self._failed or isinstance(error, PartitionLost)):
            self._resources.failed(error)
        self._failed = True

    def _next_chunks(self) -> tuple[bool, Sequence[tuple[float, Delivery]]]:
        deliveries = []
        records = 0
        while self._waiting and records < self._resources.records:
            deliveries.append(self._waiting.popleft())
            records += len(deliveries[-1][1].value.records)
        self._waiting_records -= records
        timer_due, self._timer_due = self._timer_due and not deliveries, False
        self._change.set()
        return timer_due, deliveries

    async def _deliver(self, item: WorkItem, before: asyncio.Task[None] | None) -> None:
        """Send messages, write rows, then acknowledge; rows and acknowledgement come after those of *before*."""
        if messages := item.messages:
            async with self._send_lock:
                await self.changelog.confirm()
                # With the time of their cause, messages of a context are aligned among older records, not queued
                # behind all of them: after an outage calls must not be judged before the telemetry of their time.
                acknowledged = await self._resources.writer.send(messages, item.oldest_ms(int(time() * 1000)))
            await acknowledged
            hit("messages-safe")
            acked_ms = int(time() * 1000)
            self._resources.observer.sent(self.processor_name, messages, item.newest_ms(acked_ms), acked_ms)
        if before is not None:
            await asyncio.shield(before)
        if rows := item.rows:
            await self.changelog.write(rows)
        for _, delivery in item.deliveries:
            delivery.ack()
        hit("chunk-acknowledged")
        self._report(item.outcomes, item.runs)

    def _report(self, outcomes: Sequence[Outcome], runs: Sequence[TopicRun]) -> None:
        now = monotonic()
        done = self._resources.observer.done
        for run, outcome in zip(runs, outcomes, strict=False):
            self.applied_ms[run.topic] = self._applied_ms(run)
            done(Work(self.processor_name, self.partition, run.topic, len(run.records), now - run.arrived, outcome))
        for outcome in outcomes[len(runs) :]:
            done(Work(self.processor_name, self.partition, None, 0, 0.0, outcome))

    def _applied_ms(self, run: TopicRun) -> int:
        """Time of the newest record of *run*; if it is not plausible, of the run before, or now."""
        newest, now_ms = run.records[-1].timestamp, int(time() * 1000)
        return newest if is_plausible_time(newest, now_ms) else self.applied_ms.get(run.topic, now_ms)


TaskKey = tuple[str, int]
"""A processor's name and a partition."""


class TaskManager:
    """The tasks of the partitions this worker owns, in the generation in which it owns them."""

    def __init__(self, observer: Observer, drain_seconds: float) -> None:
        self._observer = observer
        self._drain_seconds = drain_seconds
        self._tasks: dict[TaskKey, PartitionTask] = {}
        self._generation = -1
        self._settled: dict[TaskKey, PartitionTask] = {}

    def __iter__(self) -> Iterator[PartitionTask]:
        return iter(tuple(self._tasks.values()))

    def open(self, tasks: Iterable[PartitionTask], generation: int) -> None:
        """Start *tasks* in place of all earlier ones; chunks of an earlier generation are dropped from now on."""
        self._tasks = {(task.processor_name, task.partition): task for task in tasks}
        self._generation = generation
        self._settled.clear()
        for task in self:
            task.start()
            self._observer.ready(task.processor_name, task.partition)

    def current(self, key: TaskKey) -> PartitionTask | None:
        """Return the task of *key* from before the rebalance, if its processor's state equals its changelog."""
        return self._settled.get(key)

    async def put(self, processor_name: str, delivery: Delivery) -> None:
        """Queue a chunk in its task; one of another generation is dropped: the partition's owner reads it again."""
        task = self._tasks.get((processor_name, delivery.value.partition))
        if task is not None and delivery.message.generation_id == self._generation:
            await task.put(delivery)

    async def drain(self) -> None:
        """Close all tasks, at the latest after the drain time."""
        tasks, self._tasks = self._tasks, {}
        deadline = monotonic() + self._drain_seconds
        await asyncio.gather(*(task.close(deadline) for task in tasks.values()))
        self._settled.update((key, task) for key, task in tasks.items() if task.is_settled)
        for task in tasks.values():
            self._observer.closed(task.processor_name, task.partition)
