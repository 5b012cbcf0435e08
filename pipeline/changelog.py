"""A stage's changelog: where it is, how it is read back in bulk, and that only its owner writes to it.

One partition of one compacted topic holds the state of one (kind, partition): key to newest value, or a tombstone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

import aiokafka
from aiokafka import TopicPartition

from pipeline.connection import Connection
from pipeline.lease import Lease
from pipeline.producer import Outbox
from pipeline.stage import ChangelogRow

ROWS_AT_ONCE = 5_000
"""Rows handed to a stage in one call; between two calls the event loop turns."""

STUCK_SECONDS = 60.0
"""How long reading back may make no progress before it is given up."""


class ChangelogStuckError(Exception):
    """A changelog cannot be read to its end."""


def table_name(kind: str) -> str:
    """Return the name of the Faust table of a kind of stage."""
    return f"{kind}-state"


def changelog_topic(app_id: str, kind: str) -> str:
    """Return the changelog topic of a kind of stage, as Faust names it."""
    return f"{app_id}-{table_name(kind)}-changelog"


class Changelog:
    """The changelog partition of one stage, writable as long as *lease* holds for *generation*."""

    def __init__(self, outbox: Outbox, topic: str, partition: int, lease: Lease, generation: int) -> None:
        self._outbox = outbox
        self._topic = topic
        self._partition = partition
        self._lease = lease
        self._generation = generation

    async def confirm(self) -> None:
        """Return if this worker still owns the partition; raises `PartitionLost` if not."""
        await self._lease.confirm(self._generation)

    async def write(self, rows: Iterable[ChangelogRow]) -> None:
        """Write *rows* and return when the brokers have them; raises `PartitionLost` before it writes another's."""
        await self._outbox.append(self._topic, self._partition, rows, self.confirm)


async def read_back(
    connection: Connection,
    restore: Mapping[TopicPartition, Callable[[list[ChangelogRow]], None]],
    fetch_wait_ms: int = 100,
) -> None:
    """Read each changelog partition from its beginning to what is its end now, handing rows to its function.

    Raises `ChangelogStuckError` when there is no progress for a minute.
    """
    if not restore:
        return
    reader = aiokafka.AIOKafkaConsumer(
        **connection.for_aiokafka(),
        group_id=None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        fetch_max_wait_ms=fetch_wait_ms,
    )
    await reader.start()
    try:
        reader.assign(list(restore))
        await _read_to_end(reader, restore)
    finally:
        await reader.stop()


async def _read_to_end(
    reader: Any, restore: Mapping[TopicPartition, Callable[[list[ChangelogRow]], None]]
) -> None:
    ends = await reader.end_offsets(list(restore))
    begins = await reader.beginning_offsets(list(restore))
    unread = {tp for tp in restore if begins[tp] < ends[tp]}
    moved_at = monotonic()
    while unread:
        fetched = await reader.getmany(*unread, timeout_ms=1000)
        for tp, records in fetched.items():
            await _hand_over(records, restore[tp])
            moved_at = monotonic()
        # A position, unlike the last record's offset, also moves over what compaction took away.
        unread = {tp for tp in unread if await reader.position(tp) < ends[tp]}
        if unread and monotonic() - moved_at > STUCK_SECONDS:
            raise ChangelogStuckError(
                f"no changelog record for {STUCK_SECONDS:.0f} s, "
                + ", ".join(f"{tp.topic}[{tp.partition}] ends at {ends[tp]}" for tp in sorted(unread))
            )


async def _hand_over(records: list[Any], restore: Callable[[list[ChangelogRow]], None]) -> None:
    for start in range(0, len(records), ROWS_AT_ONCE):
        restore([(record.key, record.value) for record in records[start : start + ROWS_AT_ONCE]])
        await asyncio.sleep(0)
