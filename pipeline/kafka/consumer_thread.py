"""The consumer's own thread: fetches what there is room for, knows what is unread, and keeps the lease alive.

The lower half of `pipeline.kafka.consumer`; stands on the same private parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, process_time
from typing import Any, Final, cast

import aiokafka
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import ServiceThread, WorkerThread

from pipeline.kafka.fencing import Lease
from pipeline.kafka.fetch_decoding import unpack_at_once

BUSY: Final = 0.75
"""Share of a processor's time, which is all that Python uses, from which fetches are spared."""
MOST: Final = 5.0
"""How many times as long is collected when no time is left."""
LOOK_SECONDS: Final = 0.25
"""Between two looks at how busy the process is."""


def fetch_wait_multiplier(share: float) -> float:
    """Return how many times as long to collect when a worker uses *share* of a processor."""
    return 1.0 + (MOST - 1.0) * min(1.0, max(0.0, (share - BUSY) / (1.0 - BUSY)))


class AdaptiveFetchWait:
    """How many times as long to collect now, by the processor time that the process has *used* lately."""

    def __init__(self, clock: Callable[[], float] = monotonic, used: Callable[[], float] = process_time) -> None:
        self._clock, self._used = clock, used
        self._looked_at, self._had_used = clock(), used()
        self._stretch = 1.0

    def multiplier(self) -> float:
        """Return it; looks again after a while."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            used = self._used()
            self._stretch = fetch_wait_multiplier((used - self._had_used) / (now - self._looked_at))
            self._looked_at, self._had_used = now, used
        return self._stretch


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """How to read, and what must happen before offsets are committed.

    *settle* stops the work on chunks: those begun are finished or given up, the others forgotten. *lead_ms*
    is how much of event time a topic may be handed on ahead of those that have no lead, where much waits.
    While records flow a fetch is answered after *fetch_wait_ms*, of a busy worker later
    (`pipeline.kafka.consumer_thread`); where none came for a while, with the first or after *idle_wait_ms*.
    """

    lease: Lease
    settle: Callable[[], Awaitable[None]]
    chunk_size: int = 2048
    fetch_wait_ms: int = 5
    idle_wait_ms: int = 5
    skew_ms: int = 5_000
    lead_ms: Mapping[str, int] = field(default_factory=dict)


ENOUGH_BYTES = 1_000_000
"""A fetch of this size is answered at once."""

POLL_SECONDS = 0.25
"""How long one call for records may wait; also how long stopping and seeking may have to wait for it."""

START_SECONDS = 10.0
"""How long a thread that starts is waited for when it is to stop."""


class Thread(WorkerThread):
    """Ends with the process at the latest; Faust's keeps the process from ending."""

    def __init__(self, service: ServiceThread, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread; fetches only what there is room for and watches heartbeats for the lease."""

    Worker = Thread
    _fetching: tuple[object, frozenset[TP]] = (None, frozenset())
    _pace: AdaptiveFetchWait

    async def stop(self) -> None:
        """Stop, also what is still starting: the word would pass it by, and it would run on for ever."""
        deadline = monotonic() + START_SECONDS
        while self._is_starting() and monotonic() < deadline:  # noqa: ASYNC110 - it is set in a thread
            await asyncio.sleep(0.01)
        await super().stop()

    async def on_thread_stop(self) -> None:
        """Stop the consumer, and close what it leaves open when no broker answers."""
        with suppress(asyncio.CancelledError):  # of its own fetch, which it cancelled and then waits for
            await super().on_thread_stop()
        if self._consumer is not None:
            await self._consumer._client.close()

    def _is_starting(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._started.is_set()

    @property
    def reading(self) -> ConsumerConfig:
        """How to read."""
        reading: ConsumerConfig = cast("Any", self.transport).reading
        return reading

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust has 1,500 ms written into it, and has the broker answer for a single byte: under load that is
        # a fetch for every record, chunks of a few events each, and a worker busy with fetching.
        consumer._fetch_max_wait_ms = self.reading.fetch_wait_ms
        consumer._fetch_min_bytes = ENOUGH_BYTES
        self._pace = AdaptiveFetchWait()
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        watch_heartbeats(self._ensure_consumer()._coordinator, self.reading.lease)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.reading.lease.grant(generation_id)
        await super().on_partitions_assigned(assigned, generation_id)

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - as Faust has it
        max_records: int | None = None,
    ) -> Mapping[TP, list[Any]]:
        self._fetch_only(consumer, active_partitions)
        unpack_at_once(consumer._fetcher._records)
        found = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        self._ask(consumer._fetcher, idle=not found and timeout == POLL_SECONDS)
        return found

    def _ask(self, fetcher: Any, *, idle: bool) -> None:
        # A worker with nothing to do would ask 200 times a second, and the next record would wait.
        wait_ms = round(self.reading.fetch_wait_ms * self._pace.multiplier())
        fetcher._fetch_max_wait_ms = self.reading.idle_wait_ms if idle else wait_ms
        fetcher._fetch_min_bytes = 1 if idle else ENOUGH_BYTES

    def _fetch_only(self, consumer: aiokafka.AIOKafkaConsumer, wanted: set[TP]) -> None:
        # aiokafka fetches whatever is not paused, and records nobody takes slow down all the others.
        assignment = consumer._subscription.subscription.assignment
        fetching = (assignment, frozenset(wanted))
        if assignment is None or self._fetching == fetching:
            return
        for tp in assignment.tps:
            state = assignment.state_value(tp)
            if tp in wanted and state.paused:
                state.resume()
            elif tp not in wanted and not state.paused:
                state.pause()
        self._fetching = fetching

    async def seek_to_next(self, partitions: Iterable[TP]) -> Mapping[TP, int | None]:
        """Go to the committed offset of each of *partitions*, or its beginning; return what is committed."""
        wanted = [aiokafka.TopicPartition(tp.topic, tp.partition) for tp in partitions]
        return cast("Mapping[TP, int | None]", await self.call_thread(self._seek_to_next, wanted))

    async def _seek_to_next(self, partitions: Sequence[aiokafka.TopicPartition]) -> Mapping[TP, int | None]:
        consumer = self._ensure_consumer()
        committed = await consumer.seek_to_committed(*partitions) if partitions else {}
        # aiokafka leaves the position alone where nothing is committed, though it may have been read on.
        uncommitted = [tp for tp, offset in committed.items() if not offset]
        if uncommitted:
            await consumer.seek_to_beginning(*uncommitted)
        return cast("Mapping[TP, int | None]", committed)

    def unread(self, tp: TP) -> int | None:
        """Return how many offsets of *tp* the broker has beyond those read, by its last word, if known."""
        state = self._partition_state(tp)
        if state is None or state.highwater is None or not state.has_valid_position:
            return None
        return max(0, int(state.highwater) - int(state.position))

    def last_answer_at(self, tp: TP) -> float:
        """Return when the broker last answered a fetch of *tp*, in seconds since the epoch."""
        state = self._partition_state(tp)
        return 0.0 if state is None or state.timestamp is None else float(state.timestamp) / 1000.0

    def _partition_state(self, tp: TP) -> Any:
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return None if assignment is None else assignment.state_value(tp)


def watch_heartbeats(coordinator: Any, lease: Lease) -> None:
    """Renew *lease* with every good heartbeat of *coordinator*, end it when the group goes on without us."""
    beat = coordinator._do_heartbeat

    async def watched() -> bool:
        asked_at = monotonic()
        well = bool(await beat())
        if coordinator.generation != lease.generation:
            lease.end()
        elif well and not coordinator._rejoin_needed_fut.done():
            lease.renew(coordinator.generation, asked_at)
        return well

    coordinator._do_heartbeat = watched
