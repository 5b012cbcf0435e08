"""Gives Faust's agents chunks: one event per topic-partition and at most 2,048 records, not one per record.

Stands on private parts of Faust's aiokafka driver, because per record Faust spends four tasks; `faust_parts`
lists them. What a chunk means is not known here.
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

HOLD_SECONDS = 0.5
"""How long records wait for those of a topic-partition that is known to have older ones to come."""

LOOK_SECONDS = 0.005
"""Between two looks whether there is more of what goes first."""

COMMIT_SECONDS = 5.0
"""How long a worker that stops tries to commit; aiokafka would try until a broker answers."""

FRESH_SECONDS = 5.0
"""A broker's word that there is nothing more to read is believed for this long."""


class BatchConsumer(driver.Consumer):
    """Faust's consumer with another inner loop: chunks, in the order of event time, acknowledged whole."""

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reading = cast("BatchTransport", self.transport).reading
        self._lined_up: EventTimeAligner[TP] = EventTimeAligner(
            self.reading.chunk_size, self.reading.skew_ms, self._lead_ms
        )
        self._next_offset: dict[TP, int] = {}
        self._handed_on: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._held_since: float | None = None
        self._missed_since: float | None = None
        self._look_at = 0.0
        self._reading_or_seeking = asyncio.Lock()

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # --- Reading

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if self.flow_active:
                    await self._read_and_hand_on()
                else:
                    await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _read_and_hand_on(self) -> None:
        sources = self._sources()
        if not sources:
            await self.sleep(POLL_SECONDS / 2)
            return
        async with self._reading_or_seeking:
            fetched = await self._fetch(sources)
        if not self.flow_active:
            return  # what was fetched is sought back to before the flow resumes
        for tp, records in fetched.items():
            self._line_up(TP(tp.topic, tp.partition), records)
        leading = [tp for tp in sources if self._lead_ms(tp)]
        while self._lined_up and not self._hold_back(sources):
            await self._hand_on(*self._lined_up.next_chunk())
            if self._are_missed(leading):
                return

    def _lead_ms(self, tp: TP) -> int:
        return self.reading.lead_ms.get(tp.topic, 0)

    def _are_missed(self, leading: Iterable[TP]) -> bool:
        """Whether there is more to read of what goes first: it shall not wait for all that is lined up.

        Asked again only after a moment, and no longer than records are held back: a broker that is away shall
        not have all others wait.
        """
        now = monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        if not any(tp not in self._lined_up and self._thread.unread(tp) for tp in leading):
            self._missed_since = None
            return False
        if self._missed_since is None:
            self._missed_since = now
        return now - self._missed_since < HOLD_SECONDS

    def _sources(self) -> set[TP]:
        return {tp for tp in self._get_active_partitions() if not self._is_changelog_tp(tp)}

    async def _fetch(self, sources: set[TP]) -> Mapping[TP, list[Any]]:
        wanted = self._lined_up.partitions_with_room(sources)
        if not wanted:
            return {}
        wait = HOLD_SECONDS / 10 if self._lined_up else POLL_SECONDS
        return await self._thread.getmany(wanted, wait)

    def _line_up(self, tp: TP, records: list[Any]) -> None:
        start = self._next_offset.get(tp)
        if start is not None and records[0].offset < start:
            records = [record for record in records if record.offset >= start]
        if records:
            self._next_offset[tp] = records[-1].offset + 1
            self._lined_up.add(tp, records, int(time() * 1000) + MAX_AHEAD_MS)
            if self._lead_ms(tp):
                self._missed_since = None

    def _hold_back(self, sources: set[TP]) -> bool:
        if not self.flow_active:
            return True
        # A topic-partition that has run empty here but not at the broker may have the oldest records of all.
        if not any(self._thread.unread(tp) != 0 for tp in self._lined_up.ahead_of(sources)):
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = monotonic()
        return monotonic() - self._held_since < HOLD_SECONDS

    async def _hand_on(self, tp: TP, records: Sequence[Any]) -> None:
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
        self._handed_on[tp].append(last.offset)
        if self._has_room(tp):
            await self.callback(message)
        else:  # for as long as the agent is busy: a rebalance must not wait for that
            await self.wait_first(self.callback(message), self.suspend_flow.wait())
        self._read_offset[tp] = last.offset

    def _has_room(self, tp: TP) -> bool:
        return self.app.flow_control.is_active() and not any(
            channel.queue.full() for channel in cast("Conductor", self.app.topics)._tp_index[tp]
        )

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a full queue holds the reading up, which keeps event time even."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: as above."""

    def at_end(self, topic: str, partition: int) -> bool:
        """Say whether everything there is read and handed on, as a broker said no more than seconds ago."""
        tp = TP(topic, partition)
        read = self._thread.unread(tp) == 0 and tp not in self._lined_up
        return read and time() - self._thread.last_answer_at(tp) < FRESH_SECONDS

    # --- Offsets

    def _new_offset(self, tp: TP) -> int | None:
        # Offsets between two chunks (compacted away, or a transaction's marks) hold nothing up.
        acked, handed_on = self._acked_index[tp], self._handed_on[tp]
        done = None
        while handed_on and handed_on[0] in acked:
            done = handed_on.popleft()
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
        """Go to the committed offsets and forget what was read beyond them.

        A fetch under way is waited for: it would go on from where it is sought to, and what it brought would
        be taken for what is sought back to.
        """
        sources = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        async with self._reading_or_seeking:
            committed = await self._thread.seek_to_next(sources)
            self._forget()
        for tp, offset in ((TP(*tp), offset) for tp, offset in committed.items()):
            self._read_offset[tp] = self._committed_offset[tp] = offset or None
            if offset:
                self._next_offset[tp] = offset

    def _forget(self) -> None:
        self._lined_up.clear()
        self._next_offset.clear()
        self._handed_on.clear()
        self._held_since = self._missed_since = None

    # --- Leaving

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish, commit and forget while the partitions are this worker's, then let Faust revoke them."""
        if revoked:
            self.app.tables.on_partitions_revoked(revoked)  # gives up a recovery that could let records flow
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            await self.wait_empty()
            self._forget()
        await super().on_partitions_revoked(revoked)

    async def wait_empty(self) -> None:
        """Settle the work on chunks, for a bounded time, and commit what it finished.

        A worker that stops waits no longer than `COMMIT_SECONDS` for brokers, and may write nothing then.
        """
        await self.reading.settle()
        hit("work-settled")
        self._unacked_messages.clear()
        if self.app.should_stop:
            await self._commit_at_last()
        else:
            await self._commit_all()

    async def _commit_at_last(self) -> None:
        committing = asyncio.ensure_future(self._commit_all())
        try:
            await asyncio.wait({committing}, timeout=COMMIT_SECONDS)
            if committing.done():
                committing.result()
            else:
                logger.error("no broker takes the offsets of what was done last; it is read again")
        finally:
            committing.cancel()
            # Rows still on their way would come behind those of the next owner; and where no broker answers
            # the producer would wait for ever to know whether it may send them.
            self.reading.lease.end()

    async def _commit_all(self) -> None:
        if self._thread.should_stop:
            return  # it has fallen and answers nothing any more; what it did not commit is read again
        # A commit under way does not know of what was finished last; Faust's own would be content with it.
        await self.maybe_wait_for_commit_to_finish()
        await self.commit_and_end_transactions()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Look only after topics that are read; changelogs are assigned but never fetched here."""
        if not self._is_changelog_tp(tp):
            super().verify_event_path(now, tp)


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with the consumer above, and the producer of `pipeline.kafka.producer`."""

    Consumer = BatchConsumer
    Producer = BatchProducer
    reading: ConsumerConfig
    fences: ProducerFence
