"""Changelog of a processor: its topic, its bulk restore, and its writer, which only the owner of the partition may use.

One partition of one compacted topic holds the state of one partition of one kind of processor: each key with its
newest value, or a tombstone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Final, NamedTuple, Self

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest

from models.state.table import UnreadableRow
from pipeline.kafka.connection import Connection
from pipeline.kafka.fencing import Lease
from pipeline.kafka.fetch_decoding import RecordBatches
from pipeline.kafka.producer import BatchWriter
from pipeline.processing.failpoints import hit
from pipeline.processing.processor import ChangelogRow

FETCH_BYTES = 4 * 1024 * 1024
"""Bytes requested by one fetch; a record larger than that is returned alone."""

_MOVED = (LeaderNotAvailableError, NotLeaderForPartitionError, UnknownTopicOrPartitionError)


class Rows(NamedTuple):
    """Keys and values in order, and the next offset, which is also after rows that compaction removed."""

    rows: list[ChangelogRow]
    next_offset: int


async def fetch(kafka: aiokafka.AIOKafkaConsumer, tp: TopicPartition, offset: int, wait_ms: int) -> bytes:
    """Return the record batches of *tp* from the one that holds *offset* on, undecoded.

    The broker waits up to *wait_ms* for the first. Raises `aiokafka.errors.KafkaError` if the broker refuses.
    """
    client = kafka._client
    node = client.cluster.leader_for_partition(tp)
    if node is None or node < 0:
        client.force_metadata_update()
        raise LeaderNotAvailableError(f"{tp.topic}[{tp.partition}]")
    topics = [(tp.topic, [(tp.partition, offset, FETCH_BYTES)])]
    response = await client.send(node, FetchRequest(wait_ms, 1, FETCH_BYTES, 0, topics))
    ((_, ((_, code, *_, batches),)),) = response.topics
    if code:
        error = for_code(code)
        if issubclass(error, _MOVED):
            client.force_metadata_update()
        raise error(f"{tp.topic}[{tp.partition}]")
    return bytes(batches)


def offsets(batches: bytes, offset: int) -> list[int]:
    """Return the offsets of the rows that :func:`unpack` returns, to name one of them in an error."""
    records = RecordBatches(batches)
    found_offsets: list[int] = []
    while records.has_next():
        batch = records.next_batch()
        if not batch.is_control_batch:
            found_offsets += [item.offset for item in batch if item.offset >= offset]
    return found_offsets


def unpack(batches: bytes, offset: int, tp: TopicPartition) -> Rows:
    """Return the rows in *batches* of *tp* from *offset* on; raises `CorruptRecordException`."""
    records = RecordBatches(batches)
    rows: list[ChangelogRow] = []
    while records.has_next():
        batch = records.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException(f"{tp.topic}[{tp.partition}] after offset {offset}")
        if not batch.is_control_batch:
            if batch.base_offset < offset:
                rows += [(item.key, item.value) for item in batch if item.offset >= offset]
            else:
                rows += [(item.key, item.value) for item in batch]
        offset = max(offset, batch.next_offset)
    return Rows(rows, offset)


logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 5_000
"""Rows passed to a processor in one call; the event loop runs between two calls."""

STUCK_SECONDS = 60.0
"""How long a restore may make no progress before it fails."""

FETCHES_AT_ONCE = 3
"""Concurrent fetches, of different partitions: a broker answers one while another is being restored."""

RETRY_SECONDS = 0.1
"""How long to wait before a fetch that failed is sent again."""


Restore = Callable[[list[ChangelogRow]], None]
"""Function that restores rows."""


LOST_STATE: Final = {
    "session": "what is known of every live session: scores, episodes, revocations that are not acknowledged yet",
    "device": "what is known of every device, and that live sessions are on it",
    "principal": "the learned baseline of every principal, and every suppression in force",
    "network": "which principals signed in, or failed to, from which network in the last month",
}
"""What is lost with the changelog of each kind of processor."""


class ChangelogStuckError(Exception):
    """A changelog cannot be read to its end."""


class UnreadableChangelogError(Exception):
    """A changelog has a row that this worker must not guess at; the message says where, why and what to do."""


def table_name(processor_name: str) -> str:
    """Return the name of the Faust table of a processor."""
    return f"{processor_name}-state"


def _processor_of(topic: str) -> str:
    return next(
        (name for name in LOST_STATE if topic.endswith(f"-{table_name(name)}-changelog")),
        "",
    )


def changelog_topic(app_id: str, processor_name: str) -> str:
    """Return the changelog topic of a processor, as Faust names it."""
    return f"{app_id}-{table_name(processor_name)}-changelog"


class Changelog:
    """Writer to the changelog partition of one processor, usable as long as *lease* holds for *generation*.

    *end* is the offset after its newest row; comparing it later shows whether another worker wrote in between.
    """

    def __init__(self, writer: BatchWriter, tp: TopicPartition, lease: Lease, generation: int, end: int) -> None:
        self.tp = tp
        self.end = end
        self._writer = writer
        self._lease = lease
        self._generation = generation

    async def confirm(self) -> None:
        """Return if this worker still owns the partition; raises `PartitionLost` if not."""
        await self._lease.confirm(self._generation)

    async def write(self, rows: Iterable[ChangelogRow]) -> None:
        """Write *rows* and wait for the brokers; raises `PartitionLost` if another worker owns the partition."""
        hit("rows-due")
        last = await self._writer.append(self.tp.topic, self.tp.partition, rows, self.confirm)
        hit("rows-safe")
        self.end = self.end if last is None else last + 1


class ChangelogReader:
    """Reads changelog partitions in bulk; an async context manager."""

    def __init__(self, connection: Connection, fetch_wait_ms: int = 100) -> None:
        self._kafka = aiokafka.AIOKafkaConsumer(**connection.for_aiokafka(), group_id=None, enable_auto_commit=False)
        self._fetch_wait_ms = fetch_wait_ms
        self._warned: set[TopicPartition] = set()

    async def __aenter__(self) -> Self:
        await self._kafka.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._kafka.stop()

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset after the newest row of each of *tps*."""
        return dict(await self._kafka.end_offsets(list(tps)))

    async def read(self, restore: Mapping[TopicPartition, Restore], ends: Mapping[TopicPartition, int]) -> None:
        """Read each partition up to its end in *ends*, and pass its rows to its function in *restore*.

        Raises `ChangelogStuckError` after a minute without progress, `UnreadableChangelogError` for a row that cannot
        be decoded.
        """
        if not restore:
            return
        next_offset = dict(await self._kafka.beginning_offsets(list(restore)))
        unread = deque(tp for tp in restore if next_offset[tp] < ends[tp])
        fetches: dict[asyncio.Task[bytes | None], TopicPartition] = {}
        progressed_at = monotonic()
        try:
            while unread or fetches:
                while unread and len(fetches) < FETCHES_AT_ONCE:
                    tp = unread.popleft()
                    fetches[asyncio.create_task(self._fetch(tp, next_offset))] = tp
                done, _ = await asyncio.wait(fetches, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                for tp, batches in [(fetches.pop(task), task.result()) for task in done]:
                    if batches:
                        next_offset[tp] = await _restore_batches(batches, next_offset[tp], tp, restore[tp])
                        progressed_at = monotonic()
                    if next_offset[tp] < ends[tp]:
                        unread.append(tp)
                if monotonic() - progressed_at > STUCK_SECONDS:
                    raise ChangelogStuckError(_stuck([*unread, *fetches.values()], ends))
        finally:
            for fetching in fetches:
                fetching.cancel()

    async def _fetch(self, tp: TopicPartition, next_offset: dict[TopicPartition, int]) -> bytes | None:
        """Fetch the batches from the next offset on; `None` if the broker has none or cannot answer just now."""
        try:
            return await fetch(self._kafka, tp, next_offset[tp], self._fetch_wait_ms)
        except OffsetOutOfRangeError:  # the oldest rows were deleted meanwhile
            next_offset[tp] = (await self._kafka.beginning_offsets([tp]))[tp]
        except KafkaError as error:
            if not error.retriable:
                raise
            if tp not in self._warned:  # logged once: it is requested up to ten times a second
                self._warned.add(tp)
                logger.warning("%s[%d] cannot be read just now: %r", tp.topic, tp.partition, error)
            await asyncio.sleep(RETRY_SECONDS)
        return None


def _stuck(unread: Iterable[TopicPartition], ends: Mapping[TopicPartition, int]) -> str:
    where = ", ".join(f"{tp.topic}[{tp.partition}] ends at {ends[tp]}" for tp in sorted(unread))
    return f"no changelog record came for {STUCK_SECONDS:.0f} s: {where}"


async def _restore_batches(batches: bytes, offset: int, tp: TopicPartition, restore: Restore) -> int:
    """Restore the rows in *batches* from *offset* on; return the offset after them."""
    rows, after = unpack(batches, offset, tp)
    try:
        await _restore_rows(rows, restore)
    except UnreadableRow:
        _raise_for_first_unreadable(tp, rows, offsets(batches, offset), restore)
        raise
    return after


async def _restore_rows(rows: list[ChangelogRow], restore: Restore) -> None:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        restore(rows[start : start + ROWS_AT_ONCE])
        await asyncio.sleep(0)


def _raise_for_first_unreadable(
    tp: TopicPartition, rows: list[ChangelogRow], row_offsets: list[int], restore: Restore
) -> None:
    """Raise `UnreadableChangelogError` for the first of *rows* (at *row_offsets*) that cannot be restored."""
    for row, offset in zip(rows, row_offsets, strict=True):
        try:
            restore([row])
        except UnreadableRow as error:
            raise unreadable(tp, error, offset) from error


def unreadable(tp: TopicPartition, error: UnreadableRow, offset: int | None = None) -> UnreadableChangelogError:
    """Return an error for people: which row is unreadable (no *offset*: found at the end), why, and what to do."""
    at = "" if offset is None else f", offset {offset}"
    lost = LOST_STATE.get(_processor_of(tp.topic), "all that is in it")
    return UnreadableChangelogError(
        f"{tp.topic}, partition {tp.partition}{at}: {error}. Run the version of session-risk that "
        "wrote it. Or start with empty state: stop all workers, delete this topic, "
        f"make it with `session-risk topics create`, start them; what is lost is {lost}"
    )
