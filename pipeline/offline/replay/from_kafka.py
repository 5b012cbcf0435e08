"""What the topics still hold, as a recording: laid down by partition, read back in event-time order.

A topic's partitions are each in order, together they are not; so they are laid down apart, compressed, and
merged as they are read. That needs room on disk, and memory for a line of each. Before each record stands
whose it is by its headers, so that a tenant is believed in a replay where it was believed in the topic.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pipeline.kafka.client import retained
from pipeline.kafka.connection import Connection
from pipeline.offline.replay.recording import INPUT_TOPICS, InputRecord, Writer, merged, recorded_files, write
from pipeline.processing.processor import Record
from schemas.tenancy import named_in

_COMPRESSION: Final = "zst"
_BETWEEN: Final = b","
_END: Final = b" "
"""Neither is a letter of base64."""


async def lay_down(connection: Connection, folder: Path, since_ms: int) -> int:
    """Write what was appended to the input topics since *since_ms* (of the broker's clock) into *folder*.

    Returns how many records that is; a tombstone is none, as it means nothing on these topics. Raises
    `BrokerUnreachableError`, or `TopicsNotReadyError` where a topic is missing.
    """
    writers: dict[int, Writer] = {}
    count = 0
    with ExitStack() as stack:
        async for record in retained(connection, INPUT_TOPICS, since_ms):
            if record.value is None:
                continue
            if record.partition not in writers:
                partition = write(folder / str(record.partition), _COMPRESSION)
                writers[record.partition] = stack.enter_context(partition)
            # In JSON a line break is only between tokens; what is no JSON stays none.
            value = record.value.replace(b"\n", b" ")
            writers[record.partition].line(record.topic, _tenants(record) + _END + value)
            count += 1
    return count


def laid_down(folder: Path) -> Iterator[InputRecord]:
    """Yield what `lay_down` wrote into *folder*, in event-time order."""
    files = [
        (topic, path)
        for partition in sorted(folder.iterdir(), key=lambda this_path: int(this_path.name))
        for topic, path in recorded_files(partition).items()
    ]
    order = {topic: place for place, topic in enumerate(INPUT_TOPICS)}
    return map(_told, merged(sorted(files, key=lambda pair: order[pair[0]])))


def _tenants(record: Record) -> bytes:
    return _BETWEEN.join(map(b64encode, named_in(record.headers)))


def _told(line: InputRecord) -> InputRecord:
    """The record in *line*, and whose it is."""
    tenants, _, value = line.value.partition(_END)
    named = [b64decode(payload) for payload in tenants.split(_BETWEEN)] if tenants else []
    return line._replace(value=value, tenants=named)
