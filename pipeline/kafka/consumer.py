"""Batch consumer: gives Faust's agents one event per chunk of at most 2,048 records, instead of one per record.

It relies on private parts of Faust's aiokafka driver, listed in `faust_internals`, because Faust spends four asyncio
tasks on each record. What a chunk means is not known here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic, time
from typing import Any, cast

from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from pipeline.kafka.chunk import Chunk
from pipeline.kafka.consumer_thread import POLL_SECONDS, BatchConsumerThread, ConsumerConfig
from pipeline.kafka.fencing import ProducerFence
from pipeline.kafka.producer import BatchProducer
from pipeline.kafka.time_alignment import MAX_AHEAD_MS, EventTimeAligner
from pipeline.processing.failpoints import hit

logger = logging.getLogger(__name__)

MAX_HOLD_SECONDS = 0.5
"""How long records wait for those of a partition that is known to have older ones to come."""

CHECK_SECONDS = 0.005
"""Time between two checks whether priority topics have more to read."""

COMMIT_SECONDS = 5.0
"""How long a worker that stops tries to commit; aiokafka would try until a broker answers."""

HIGHWATER_TTL_SECONDS = 5.0
"""How long a broker's answer that there is nothing more to read is trusted."""


class BatchConsumer(driver.Consumer):
    """Faust's consumer with another inner loop: chunks, in the order of event time, acknowledged as a whole."""

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.consumer_config = cast("BatchTransport", self.transport).consumer_config
        self._aligner: EventTimeAligner[TP] = EventTimeAligner(
            self.consumer_config.chunk_size, self.consumer_config.skew_ms, self._lead_ms
        )
        self._next_offset: dict[TP, int] = {}
        self._delivered: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._held_since: float | None = None
        self._priority_waiting_since: float | None = None
        self._next_priority_check = 0.0
        self._reading_or_seeking = asyncio.Lock()

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # --- Reading

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if self.flow_active:
                    await self._read_and_deliver()
                else:
                    await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _read_and_deliver(self) -> None:
        sources = self._sources()
        if not sources:
            await self.sleep(POLL_SECONDS / 2)
            return
        async with self._reading_or_seeking:
            fetched = await self._fetch(sources)
        if not self.flow_active:
            return  # before the flow resumes, the consumer seeks back to what was fetched here
        for tp, records in fetched.items():
            self._enqueue(TP(tp.topic, tp.partition), records)
        priority = [tp for tp in sources if self._lead_ms(tp)]
        while self._aligner and not self._must_hold(sources):
            await self._deliver(*self._aligner.next_chunk())
            if self._priority_is_waiting(priority):
                return

    def _lead_ms(self, tp: TP) -> int:
        return self.consumer_config.lead_ms.get(tp.topic, 0)

    def _priority_is_waiting(self, priority: Iterable[TP]) -> bool:
        """Whether a priority partition has more to read, which shall not wait for all that is buffered.

        Checked again only after a moment, and true for no longer than records are held back: a broker that is down
        shall not block all others.
        """
        now = monotonic()
        if now < self._next_priority_check:
            return False
        self._next_priority_check = now + CHECK_SECONDS
        if not any(tp not in self._aligner and self._thread.unread(tp) for tp in priority):
            self._priority_waiting_since = None
            return False
        if self._priority_waiting_since is None:
            self._priority_waiting_since = now
        return now - self._priority_waiting_since < MAX_HOLD_SECONDS

    def _sources(self) -> set[TP]:
        return {tp for tp in self._get_active_partitions() if not self._is_changelog_tp(tp)}

    async def _fetch(self, sources: set[TP]) -> Mapping[TP, list[Any]]:
        wanted = self._aligner.partitions_with_room(sources)
        if not wanted:
            return {}
        wait = MAX_HOLD_SECONDS / 10 if self._aligner else POLL_SECONDS
        return await self._thread.getmany(wanted, wait)

    def _enqueue(self, tp: TP, records: list[Any]) -> None:
        start = self._next_offset.get(tp)
        if start is not None and records[0].offset < start:
            records = [record for record in records if record.offset >= start]
        if records:
            self._next_offset[tp] = records[-1].offset + 1
            self._aligner.add(tp, records, int(time() * 1000) + MAX_AHEAD_MS)
            if self._lead_ms(tp):
                self._priority_waiting_since = None

    def _must_hold(self, sources: set[TP]) -> bool:
        if not self.flow_active:
            return True
        # A partition of which nothing is buffered, but which has unread records, may have the oldest records of all.
        if not any(self._thread.unread(tp) != 0 for tp in self._aligner.ahead_of(sources)):
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = monotonic()
        return monotonic() - self._held_since < MAX_HOLD_SECONDS

    async def _deliver(self, tp: TP, records: Sequence[Any]) -> None:
        first, last = records[0], records[-1]
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            first.timestamp / 1000.0,
            last.timestamp_type,
            [],
            None,
            None,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.value = cast("bytes", Chunk(tp.topic, tp.partition, records))
        self._delivered[tp].append(last.offset)
        if self._agent_has_room(tp):
            await self.callback(message)
        else:  # wait while the agent is busy, unless a rebalance begins, which must not wait for that
            await self.wait_first(self.callback(message), self.suspend_flow.wait())
        self._read_offset[tp] = last.offset

    def _agent_has_room(self, tp: TP) -> bool:
        return self.app.flow_control.is_active() and not any(
            channel.queue.full() for channel in cast("Conductor", self.app.topics)._tp_index[tp]
        )

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a full queue blocks the reader, which keeps event time even over all partitions."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing, as above."""

    def at_end(self, topic: str, partition: int) -> bool:
        """Return whether everything there is read and delivered, by a broker's answer of the last seconds."""
        tp = TP(topic, partition)
        read = self._thread.unread(tp) == 0 and tp not in self._aligner
        return read and time() - self._thread.last_fetch_at(tp) < HIGHWATER_TTL_SECONDS

    # --- Offsets

    def _new_offset(self, tp: TP) -> int | None:
        # Offsets between two chunks (compacted away, or markers of a transaction) block nothing.
        acked, delivered = self._acked_index[tp], self._delivered[tp]
        done = None
        while delivered and delivered[0] in acked:
            done = delivered.popleft()
            acked.discard(done)
        self._acked[tp].clear()
        return None if done is None else done + 1

    async def _commit_offsets(
        self,
        offsets: Mapping[TP, int],
        start_new_transaction: bool = True,  # noqa: FBT001, FBT002 - as Faust has it
    ) -> bool:
        hit("offsets-due")
        done = await super()._commit_offsets(offsets, start_new_transaction)
        hit("offsets-committed")
        return bool(done)

    async def perform_seek(self) -> None:
        """Seek to the committed offsets and forget what was read beyond them.

        Waits for a fetch under way: it would continue from the new position, and its records would be taken for those
        at that position.
        """
        sources = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        async with self._reading_or_seeking:
            committed = await self._thread.rewind_to_committed(sources)
            self._discard()
        for tp, offset in ((TP(*tp), offset) for tp, offset in committed.items()):
            self._read_offset[tp] = self._committed_offset[tp] = offset or None
            if offset:
                self._next_offset[tp] = offset

    def _discard(self) -> None:
        self._aligner.clear()
        self._next_offset.clear()
        self._delivered.clear()
        self._held_since = self._priority_waiting_since = None

    # --- Giving partitions up

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish, commit and forget while this worker owns the partitions, then let Faust revoke them."""
        if revoked:
            self.app.tables.on_partitions_revoked(revoked)  # aborts a recovery that could resume the flow
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            await self.wait_empty()
            self._discard()
        await super().on_partitions_revoked(revoked)

    async def wait_empty(self) -> None:
        """Finish the work on chunks, for a bounded time, and commit what is finished.

        A worker that stops waits at most `COMMIT_SECONDS` for the brokers, and may write nothing afterwards.
        """
        await self.consumer_config.drain()
        hit("work-settled")
        self._unacked_messages.clear()
        if self.app.should_stop:
            await self._commit_before_exit()
        else:
            await self._commit_all()

    async def _commit_before_exit(self) -> None:
        committing = asyncio.ensure_future(self._commit_all())
        try:
            await asyncio.wait({committing}, timeout=COMMIT_SECONDS)
            if committing.done():
                committing.result()
            else:
                logger.error("no broker accepts the last offsets; their records will be read again")
        finally:
            committing.cancel()
            # Rows still on their way would come behind those of the next owner; and without an answer from the
            # brokers the producer would wait forever to know whether it may send them.
            self.consumer_config.lease.end()

    async def _commit_all(self) -> None:
        if self._thread.should_stop:
            return  # it failed and answers no calls; what is not committed is read again
        # A commit under way does not include what was finished last; Faust's own method would wait only for that
        # commit.
        await self.maybe_wait_for_commit_to_finish()
        await self.commit_and_end_transactions()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Check only topics that are read: changelogs are assigned but never fetched here."""
        if not self._is_changelog_tp(tp):
            super().verify_event_path(now, tp)


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with `BatchConsumer`, and the producer of `pipeline.kafka.producer`."""

    Consumer = BatchConsumer
    Producer = BatchProducer
    consumer_config: ConsumerConfig
    fences: ProducerFence
