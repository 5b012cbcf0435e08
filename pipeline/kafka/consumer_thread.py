"""Consumer thread: fetches what there is room for, knows what is unread, and keeps the lease alive.

The lower half of `pipeline.kafka.consumer`; it relies on the same private parts.
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
"""Share of one core (all that Python uses) above which a worker waits longer for each fetch."""
MAX_MULTIPLIER: Final = 5.0
"""Factor on the fetch wait when the core is fully used."""
CHECK_SECONDS: Final = 0.25
"""Time between two measurements of how busy the process is."""


def fetch_wait_multiplier(share: float) -> float:
    """Return the factor on the fetch wait of a worker that uses *share* of a core."""
    return 1.0 + (MAX_MULTIPLIER - 1.0) * min(1.0, max(0.0, (share - BUSY) / (1.0 - BUSY)))


class AdaptiveFetchWait:
    """Factor on the fetch wait by the processor time the process *used* since the last measurement."""

    def __init__(self, clock: Callable[[], float] = monotonic, used: Callable[[], float] = process_time) -> None:
        self._clock, self._used = clock, used
        self._measured_at, self._used_before = clock(), used()
        self._multiplier = 1.0

    def multiplier(self) -> float:
        """Return the factor; measures again after `CHECK_SECONDS`."""
        now = self._clock()
        if now - self._measured_at >= CHECK_SECONDS:
            used = self._used()
            self._multiplier = fetch_wait_multiplier((used - self._used_before) / (now - self._measured_at))
            self._measured_at, self._used_before = now, used
        return self._multiplier


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """How to read, and what must happen before offsets are committed.

    *drain* stops the work on chunks: those begun are finished or given up, the others forgotten. *lead_ms* is how far
    in event time a topic may be delivered ahead of topics without a lead, while much is buffered. While records
    arrive, a fetch is answered after *fetch_wait_ms*, for a busy worker later (`AdaptiveFetchWait`); after a time
    without records, at the first record or after *idle_wait_ms*.
    """

    lease: Lease
    drain: Callable[[], Awaitable[None]]
    chunk_size: int = 2048
    fetch_wait_ms: int = 5
    idle_wait_ms: int = 5
    skew_ms: int = 5_000
    lead_ms: Mapping[str, int] = field(default_factory=dict)


ENOUGH_BYTES = 1_000_000
"""A fetch of this size is answered at once."""

POLL_SECONDS = 0.25
"""How long one call for records may wait; stopping and seeking may have to wait as long."""

START_SECONDS = 10.0
"""How long to wait for a thread that is still starting when it is to stop."""


class DaemonThread(WorkerThread):
    """Thread that ends with the process at the latest; Faust's keeps the process from ending."""

    def __init__(self, service: ServiceThread, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread; fetches only what there is room for and watches heartbeats for the lease."""

    Worker = DaemonThread
    _fetched_partitions: tuple[object, frozenset[TP]] = (None, frozenset())
    _fetch_wait: AdaptiveFetchWait

    async def stop(self) -> None:
        """Stop, but not before the start is complete: a thread that is starting would miss the request."""
        deadline = monotonic() + START_SECONDS
        while self._is_starting() and monotonic() < deadline:  # noqa: ASYNC110 - it is set in a thread
            await asyncio.sleep(0.01)
        await super().stop()

    async def on_thread_stop(self) -> None:
        """Stop the consumer, and close the connections it leaves open when no broker answers."""
        with suppress(asyncio.CancelledError):  # raised by its own fetch, which it cancels and then awaits
            await super().on_thread_stop()
        if self._consumer is not None:
            await self._consumer._client.close()

    def _is_starting(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._started.is_set()

    @property
    def consumer_config(self) -> ConsumerConfig:
        """How to read."""
        config: ConsumerConfig = cast("Any", self.transport).consumer_config
        return config

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust sets 1,500 ms and has the broker answer for a single byte: under load that is a fetch for every
        # record, chunks of a few events each, and a worker busy with fetching.
        consumer._fetch_max_wait_ms = self.consumer_config.fetch_wait_ms
        consumer._fetch_min_bytes = ENOUGH_BYTES
        self._fetch_wait = AdaptiveFetchWait()
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        watch_heartbeats(self._ensure_consumer()._coordinator, self.consumer_config.lease)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.consumer_config.lease.grant(generation_id)
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
        self._set_fetch_wait(consumer._fetcher, idle=not found and timeout == POLL_SECONDS)
        return found

    def _set_fetch_wait(self, fetcher: Any, *, idle: bool) -> None:
        # An idle worker would otherwise fetch 200 times a second; and with a large minimum the next record would
        # wait.
        wait_ms = round(self.consumer_config.fetch_wait_ms * self._fetch_wait.multiplier())
        fetcher._fetch_max_wait_ms = self.consumer_config.idle_wait_ms if idle else wait_ms
        fetcher._fetch_min_bytes = 1 if idle else ENOUGH_BYTES

    def _fetch_only(self, consumer: aiokafka.AIOKafkaConsumer, wanted: set[TP]) -> None:
        # aiokafka fetches every partition that is not paused, and records that nobody takes delay all others.
        assignment = consumer._subscription.subscription.assignment
        fetching = (assignment, frozenset(wanted))
        if assignment is None or self._fetched_partitions == fetching:
            return
        for tp in assignment.tps:
            state = assignment.state_value(tp)
            if tp in wanted and state.paused:
                state.resume()
            elif tp not in wanted and not state.paused:
                state.pause()
        self._fetched_partitions = fetching

    async def rewind_to_committed(self, partitions: Iterable[TP]) -> Mapping[TP, int | None]:
        """Seek to the committed offset of each of *partitions*, or its beginning; return the committed offsets."""
        wanted = [aiokafka.TopicPartition(tp.topic, tp.partition) for tp in partitions]
        return cast("Mapping[TP, int | None]", await self.call_thread(self._rewind_to_committed, wanted))

    async def _rewind_to_committed(self, partitions: Sequence[aiokafka.TopicPartition]) -> Mapping[TP, int | None]:
        consumer = self._ensure_consumer()
        committed = await consumer.seek_to_committed(*partitions) if partitions else {}
        # Without a committed offset aiokafka leaves the position as it is, which may be past unprocessed records.
        uncommitted = [tp for tp, offset in committed.items() if not offset]
        if uncommitted:
            await consumer.seek_to_beginning(*uncommitted)
        return cast("Mapping[TP, int | None]", committed)

    def unread(self, tp: TP) -> int | None:
        """Return how many offsets of *tp* the broker has beyond those read, by its last answer; `None` if unknown."""
        state = self._partition_state(tp)
        if state is None or state.highwater is None or not state.has_valid_position:
            return None
        return max(0, int(state.highwater) - int(state.position))

    def last_fetch_at(self, tp: TP) -> float:
        """Return when the broker last answered a fetch of *tp*, in seconds since the epoch."""
        state = self._partition_state(tp)
        return 0.0 if state is None or state.timestamp is None else float(state.timestamp) / 1000.0

    def _partition_state(self, tp: TP) -> Any:
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return None if assignment is None else assignment.state_value(tp)


def watch_heartbeats(coordinator: Any, lease: Lease) -> None:
    """Renew *lease* with every successful heartbeat of *coordinator*; end it when the group continues without us."""
    beat = coordinator._do_heartbeat

    async def watched() -> bool:
        asked_at = monotonic()
        succeeded = bool(await beat())
        if coordinator.generation != lease.generation:
            lease.end()
        elif succeeded and not coordinator._rejoin_needed_fut.done():
            lease.renew(coordinator.generation, asked_at)
        return succeeded

    coordinator._do_heartbeat = watched
