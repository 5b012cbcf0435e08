"""What the edge (Kafka, Faust) and the core (scorer, contexts) say to each other, and nothing else.

A stage is plain and synchronous: it takes records and returns what should happen; the edge makes it happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from models.state.table import UnreadableRow, join, split
from pipeline.processing.eviction import Key
from schemas.decoded import Limits
from schemas.tenancy import VOUCHED, Tenants, named_in


class InMemoryRecord(NamedTuple):
    """A record that never was in Kafka; has what :class:`pipeline.processing.processor.Record` asks for."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def pack_key(key: Key) -> bytes:
    """The changelog key of (tenant, name)."""
    return join(*key)


def unpack_key(packed: bytes) -> Key:
    """The inverse of :func:`pack`; raises `UnreadableRow` where *packed* is no such key."""
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
    """Whose *records* are by their headers; `None` where that is not asked, or *topic* is our own."""
    if not limits.tenancy or topic not in VOUCHED:
        return None
    return [named_in(record.headers) for record in records]


class Message(NamedTuple):
    """One record to produce; its partition follows from *key* by murmur2."""

    topic: str
    key: bytes | None
    value: bytes


ChangelogRow = tuple[bytes, bytes | None]
"""Key and value of one changelog record; ``None`` as value is a tombstone."""


@dataclass(slots=True)
class Outcome:
    """What a stage wants done: *messages* produced first, then *rows* written to its own changelog partition.

    *events*, *dead_letters* (count by reason), *counts* (by the metric's field in `pipeline.metrics.worker` and its
    label values) and *times* (fields of histograms, and seconds) are for metrics only.
    """

    messages: list[Message] = field(default_factory=list)
    rows: list[ChangelogRow] = field(default_factory=list)
    events: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    counts: dict[tuple[str, ...], int] = field(default_factory=dict)
    times: list[tuple[str, float]] = field(default_factory=list)


class Processor(Protocol):
    """The state of one (kind, partition) and what it makes of records; no I/O, no clock of its own."""

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        """Fold *records* (one topic, offsets ascending, at most one chunk) and say what follows."""
        ...

    def on_timer(self, now_ms: int) -> Outcome:
        """Say what follows from time passing; called about every 10 s while the partition is idle."""
        ...

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        """Apply changelog *rows*, oldest first; called repeatedly, before any record is processed."""
        ...

    def on_restored(self) -> None:
        """Learn that the changelog is fully restored; records follow."""
        ...


@dataclass(frozen=True)
class ProcessorSpec:
    """A kind of stage: *sources* are the topics it reads, *create* makes the stage of a partition."""

    name: str
    sources: tuple[str, ...]
    create: Callable[[int], Processor]
