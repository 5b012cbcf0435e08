"""Processor protocol: how the Kafka layer and the processors (sessions, contexts) exchange records and outcomes.

A processor is synchronous and does no I/O: it takes records and returns what should happen; the Kafka layer makes it
happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from models.events.api_calls import CallsAhead
from models.state.table import UnreadableRow, join, split
from pipeline.processing.eviction import Key
from schemas.decoded import Limits
from schemas.tenancy import TENANT_CHECKED, Tenants, header_tenants


class InMemoryRecord(NamedTuple):
    """A record that was never in Kafka; it has the attributes of :class:`Record`.

    *ahead*: of an API call that was read before it was due, where, and its place there.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    ahead: tuple[CallsAhead, int] | None = None


def pack_key(key: Key) -> bytes:
    """Return the changelog key of a tenant and a name."""
    return join(*key)


def unpack_key(packed: bytes) -> Key:
    """Return the tenant and the name in a changelog key; raises `UnreadableRow` if *packed* is not one."""
    parts = split(packed) if packed else []
    if len(parts) != 2:
        raise UnreadableRow("a row whose key is not of a tenant and a name")
    return parts[0], parts[1]


class Record(Protocol):
    """One record read from Kafka; aiokafka's ``ConsumerRecord`` fits. *timestamp* is in milliseconds."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


def named_tenants(topic: str, records: Sequence[Record], limits: Limits) -> Tenants | None:
    """Return the tenant that the headers of each of *records* name.

    Returns `None` where tenancy is off, or *topic* is one of session-risk's own.
    """
    if not limits.tenancy or topic not in TENANT_CHECKED:
        return None
    return [header_tenants(record.headers) for record in records]


class Message(NamedTuple):
    """One record to produce; murmur2 of *key* gives its partition."""

    topic: str
    key: bytes | None
    value: bytes


ChangelogRow = tuple[bytes, bytes | None]
"""Key and value of one changelog record; a value of ``None`` is a tombstone."""


@dataclass(slots=True)
class Outcome:
    """What a processor wants done: *messages* produced first, then *rows* written to its own changelog partition.

    *events*, *dead_letters* (count by reason), *counts* (by the attribute of a metric in `pipeline.metrics.worker`
    and its label values) and *times* (attribute of a histogram, and seconds) are for metrics only.
    """

    messages: list[Message] = field(default_factory=list)
    rows: list[ChangelogRow] = field(default_factory=list)
    events: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    counts: dict[tuple[str, ...], int] = field(default_factory=dict)
    times: list[tuple[str, float]] = field(default_factory=list)


class Processor(Protocol):
    """The state of one partition of one kind of processor, and what it makes of records.

    No I/O, no clock of its own.
    """

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        """Apply *records* (of one topic, offsets ascending, at most one chunk) to the state; return what follows."""
        ...

    def on_timer(self, now_ms: int) -> Outcome:
        """Return what follows from the passing of time; called about every 10 s while the partition is idle."""
        ...

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        """Apply changelog *rows*, oldest first; called repeatedly, before any record is processed."""
        ...

    def on_restored(self) -> None:
        """The changelog is fully restored; records follow. Raises `UnreadableRow` if something is missing in it."""
        ...


@dataclass(frozen=True)
class ProcessorSpec:
    """A kind of processor: *sources* are the topics it reads, *create* makes the processor of a partition."""

    name: str
    sources: tuple[str, ...]
    create: Callable[[int], Processor]
