"""A stage's changelog: where it is, how it is read back in bulk, and that only its owner writes to it.

One partition of one compacted topic holds the state of one (kind, partition): key to newest value, or a
tombstone.
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
"""Asked for at once; a record larger than that comes all the same, alone."""

_MOVED = (LeaderNotAvailableError, NotLeaderForPartitionError, UnknownTopicOrPartitionError)


class Rows(NamedTuple):
    """Keys and values in order, and the offset after them and after what compaction took away."""

    rows: list[ChangelogRow]
    next_offset: int


async def fetch(kafka: aiokafka.AIOKafkaConsumer, place: TopicPartition, offset: int, wait_ms: int) -> bytes:
    """Return the batches of *place* from the one that holds *offset* on, unread.

    The broker waits up to *wait_ms* for the first. Raises `aiokafka.errors.KafkaError` for what it refuses.
    """
    client = kafka._client
    node = client.cluster.leader_for_partition(place)
    if node is None or node < 0:
        client.force_metadata_update()
        raise LeaderNotAvailableError(f"{place.topic}[{place.partition}]")
    wanted = [(place.topic, [(place.partition, offset, FETCH_BYTES)])]
    response = await client.send(node, FetchRequest(wait_ms, 1, FETCH_BYTES, 0, wanted))
    ((_, ((_, code, *_, batches),)),) = response.topics
    if code:
        error = for_code(code)
        if issubclass(error, _MOVED):
            client.force_metadata_update()
        raise error(f"{place.topic}[{place.partition}]")
    return bytes(batches)


def offsets(batches: bytes, offset: int) -> list[int]:
    """Return the offsets of the rows that :func:`unpack` returns, for who must name one."""
    records = RecordBatches(batches)
    found: list[int] = []
    while records.has_next():
        batch = records.next_batch()
        if not batch.is_control_batch:
            found += [item.offset for item in batch if item.offset >= offset]
    return found


def unpack(batches: bytes, offset: int, place: TopicPartition) -> Rows:
    """Return what *batches* of *place* hold from *offset* on; raises `CorruptRecordException`."""
    records = RecordBatches(batches)
    rows: list[ChangelogRow] = []
    while records.has_next():
        batch = records.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException(f"{place.topic}[{place.partition}] after offset {offset}")
        if not batch.is_control_batch:
            if batch.base_offset < offset:
                rows += [(item.key, item.value) for item in batch if item.offset >= offset]
            else:
                rows += [(item.key, item.value) for item in batch]
        offset = max(offset, batch.next_offset)
    return Rows(rows, offset)


logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 5_000
"""Rows handed to a stage in one call; between two calls the event loop turns."""

STUCK_SECONDS = 60.0
"""How long reading back may make no progress before it is given up."""

FETCHES_AT_ONCE = 3
"""Of different partitions: the broker answers one while what another brought is restored."""

RETRY_SECONDS = 0.1
"""How long to wait before a broker that refused, or was not there, is asked again."""


Restore = Callable[[list[ChangelogRow]], None]
"""What rows are handed to."""


LOST: Final = {
    "session": "what is known of every live session: scores, episodes, revocations nobody acknowledged yet",
    "device": "what is known of every device, and that live sessions are on it",
    "principal": "what was learned to be usual for everybody, and every suppression in force",
    "network": "who came from which network, and who failed to, in the last month",
}
"""What goes with the changelog of a kind of stage."""


class ChangelogStuckError(Exception):
    """A changelog cannot be read to its end."""


class UnreadableChangelogError(Exception):
    """A changelog has a row that this worker must not guess at; the message says where, why, what to do."""


def table_name(kind: str) -> str:
    """Return the name of the Faust table of a kind of stage."""
    return f"{kind}-state"


def _kind_of(topic: str) -> str:
    return next((kind for kind in LOST if topic.endswith(f"-{table_name(kind)}-changelog")), "")


def changelog_topic(app_id: str, kind: str) -> str:
    """Return the changelog topic of a kind of stage, as Faust names it."""
    return f"{app_id}-{table_name(kind)}-changelog"


class Changelog:
    """The changelog partition of one stage, writable as long as *lease* holds for *generation*.

    *end* is the offset after its newest row; it tells later whether anybody else wrote since.
    """

    def __init__(self, outbox: BatchWriter, place: TopicPartition, lease: Lease, generation: int, end: int) -> None:
        self.place = place
        self.end = end
        self._outbox = outbox
        self._lease = lease
        self._generation = generation

    async def confirm(self) -> None:
        """Return if this worker still owns the partition; raises `PartitionLost` if not."""
        await self._lease.confirm(self._generation)

    async def write(self, rows: Iterable[ChangelogRow]) -> None:
        """Write *rows* and wait for the brokers; raises `PartitionLost` if they are not ours to write."""
        hit("rows-due")
        last = await self._outbox.append(self.place.topic, self.place.partition, rows, self.confirm)
        hit("rows-safe")
        self.end = self.end if last is None else last + 1


class ChangelogReader:
    """Reads changelog partitions in bulk; used in an ``async with`` block."""

    def __init__(self, connection: Connection, fetch_wait_ms: int = 100) -> None:
        self._kafka = aiokafka.AIOKafkaConsumer(**connection.for_aiokafka(), group_id=None, enable_auto_commit=False)
        self._fetch_wait_ms = fetch_wait_ms
        self._refused: set[TopicPartition] = set()

    async def __aenter__(self) -> Self:
        await self._kafka.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._kafka.stop()

    async def ends(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset after the newest row of each of *places*."""
        return dict(await self._kafka.end_offsets(list(places)))

    async def read(self, restore: Mapping[TopicPartition, Restore], ends: Mapping[TopicPartition, int]) -> None:
        """Read each place up to its end in *ends*, handing its rows to its function in *restore*.

        Raises `ChangelogStuckError` when there is no progress for a minute, `UnreadableChangelogError` for a
        row that cannot be read.
        """
        if not restore:
            return
        next_offset = dict(await self._kafka.beginning_offsets(list(restore)))
        unread = deque(place for place in restore if next_offset[place] < ends[place])
        fetches: dict[asyncio.Task[bytes | None], TopicPartition] = {}
        moved_at = monotonic()
        try:
            while unread or fetches:
                while unread and len(fetches) < FETCHES_AT_ONCE:
                    place = unread.popleft()
                    fetches[asyncio.create_task(self._fetch(place, next_offset))] = place
                done, _ = await asyncio.wait(fetches, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                for place, batches in [(fetches.pop(task), task.result()) for task in done]:
                    if batches:
                        next_offset[place] = await _take(batches, next_offset[place], place, restore[place])
                        moved_at = monotonic()
                    if next_offset[place] < ends[place]:
                        unread.append(place)
                if monotonic() - moved_at > STUCK_SECONDS:
                    raise ChangelogStuckError(_stuck([*unread, *fetches.values()], ends))
        finally:
            for fetching in fetches:
                fetching.cancel()

    async def _fetch(self, place: TopicPartition, next_offset: dict[TopicPartition, int]) -> bytes | None:
        """The batches from the next offset on; nothing, after a while, where the broker has none just now."""
        try:
            return await fetch(self._kafka, place, next_offset[place], self._fetch_wait_ms)
        except OffsetOutOfRangeError:  # the oldest rows were deleted meanwhile
            next_offset[place] = (await self._kafka.beginning_offsets([place]))[place]
        except KafkaError as error:
            if not error.retriable:
                raise
            if place not in self._refused:  # said once: it may be asked ten times a second
                self._refused.add(place)
                logger.warning("%s[%d] cannot be read just now: %r", place.topic, place.partition, error)
            await asyncio.sleep(RETRY_SECONDS)
        return None


def _stuck(unread: Iterable[TopicPartition], ends: Mapping[TopicPartition, int]) -> str:
    where = ", ".join(f"{place.topic}[{place.partition}] ends at {ends[place]}" for place in sorted(unread))
    return f"no changelog record came for {STUCK_SECONDS:.0f} s: {where}"


async def _take(batches: bytes, offset: int, place: TopicPartition, restore: Restore) -> int:
    """Restore what *batches* hold from *offset* on; the offset after it."""
    rows, after = unpack(batches, offset, place)
    try:
        await _hand_over(rows, restore)
    except UnreadableRow:
        _blame_one(place, rows, offsets(batches, offset), restore)
        raise
    return after


async def _hand_over(rows: list[ChangelogRow], restore: Restore) -> None:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        restore(rows[start : start + ROWS_AT_ONCE])
        await asyncio.sleep(0)


def _blame_one(place: TopicPartition, rows: list[ChangelogRow], places: list[int], restore: Restore) -> None:
    """Raise `UnreadableChangelogError` for the first of *rows*, at offsets *places*, that is not restored."""
    for row, offset in zip(rows, places, strict=True):
        try:
            restore([row])
        except UnreadableRow as error:
            lost = LOST.get(_kind_of(place.topic), "all that is in it")
            raise UnreadableChangelogError(
                f"{place.topic}, partition {place.partition}, offset {offset}: {error}. Run the "
                "version of session-risk that wrote it. Or begin anew: stop all workers, delete this topic, "
                f"make it with `session-risk topics create`, start them; what is lost is {lost}"
            ) from error
