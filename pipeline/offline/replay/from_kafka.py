"""Replay from Kafka: the records that topics still have, spooled to disk by partition and read in event-time order.

Each partition of a topic is in order, but not all partitions together. So each is written to a file of its own,
compressed, and the files are merged as they are read. This needs space on disk, and memory for one line per file.
Each line begins with the tenants from the record's headers, so that a replay trusts a tenant where the topic does.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pipeline.kafka.client import read_retained
from pipeline.kafka.connection import Connection
from pipeline.offline.replay.recording import INPUT_TOPICS, InputRecord, Writer, merged, recorded_files, write
from pipeline.processing.processor import Record
from schemas.tenancy import header_tenants

_COMPRESSION: Final = "zst"
_SEPARATOR: Final = b","
_END: Final = b" "
"""Neither occurs in base64."""


async def spool_topics(connection: Connection, folder: Path, since_ms: int) -> int:
    """Write the records appended to the input topics since *since_ms* (the broker's clock) into *folder*.

    Tombstones are skipped, as they have no meaning on these topics.

    Returns:
        The number of records.

    Raises:
        BrokerUnreachableError: no broker responds.
        TopicsNotReadyError: a topic is missing.
    """
    writers: dict[int, Writer] = {}
    count = 0
    with ExitStack() as stack:
        async for record in read_retained(connection, INPUT_TOPICS, since_ms):
            if record.value is None:
                continue
            if record.partition not in writers:
                partition = write(folder / str(record.partition), _COMPRESSION)
                writers[record.partition] = stack.enter_context(partition)
            # In JSON, line breaks occur only between tokens; a value that is not JSON stays invalid.
            value = record.value.replace(b"\n", b" ")
            writers[record.partition].line(record.topic, _tenants(record) + _END + value)
            count += 1
    return count


def read_spooled(folder: Path) -> Iterator[InputRecord]:
    """Yield the records that `spool_topics` wrote into *folder*, in event-time order."""
    files = [
        (topic, path)
        for partition in sorted(folder.iterdir(), key=lambda path: int(path.name))
        for topic, path in recorded_files(partition).items()
    ]
    order = {topic: rank for rank, topic in enumerate(INPUT_TOPICS)}
    return map(_with_tenants, merged(sorted(files, key=lambda pair: order[pair[0]])))


def _tenants(record: Record) -> bytes:
    return _SEPARATOR.join(map(b64encode, header_tenants(record.headers)))


def _with_tenants(line: InputRecord) -> InputRecord:
    """The record in *line*, with its tenants."""
    tenants, _, value = line.value.partition(_END)
    named = [b64decode(tenant) for tenant in tenants.split(_SEPARATOR)] if tenants else []
    return line._replace(value=value, tenants=named)
