# ruff: noqa: SLF001 - aiokafka has no other way to its client
"""Fetches whole batches of records from a partition's leader: keys and values, and no object for each record.

Stands on aiokafka's client below its consumer, which makes a dozen Python objects of a record and lets its
fetches wait for one another; `faust_parts` lists what of it.
"""

from __future__ import annotations

from typing import NamedTuple

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest

from pipeline.record_batches import Batches
from pipeline.stage import ChangelogRow

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
    records = Batches(batches)
    found: list[int] = []
    while records.has_next():
        batch = records.next_batch()
        if not batch.is_control_batch:
            found += [one.offset for one in batch if one.offset >= offset]
    return found


def unpack(batches: bytes, offset: int, place: TopicPartition) -> Rows:
    """Return what *batches* of *place* hold from *offset* on; raises `CorruptRecordException`."""
    records = Batches(batches)
    rows: list[ChangelogRow] = []
    while records.has_next():
        batch = records.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException(f"{place.topic}[{place.partition}] after offset {offset}")
        if not batch.is_control_batch:
            if batch.base_offset < offset:
                rows += [(one.key, one.value) for one in batch if one.offset >= offset]
            else:
                rows += [(one.key, one.value) for one in batch]
        offset = max(offset, batch.next_offset)
    return Rows(rows, offset)
