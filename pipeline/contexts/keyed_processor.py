"""What the contexts share: a record per key, JSON in the changelog, forgotten in time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar
from zlib import crc32

from pydantic_core import from_json, to_json

from models.state.table import UnreadableRow
from pipeline.processing.eviction import Key, TenantFairLru
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.processing.processor import ChangelogRow, Outcome, Record, named_tenants, pack_key, unpack_key
from schemas.decode import decode_chunk
from schemas.decoded import DEFAULT_LIMITS, Limits
from schemas.members import DAY_MS

VERSION: Final = 2
"""To be raised when a field comes to mean something else under the same name; not when fields come or go."""
_BARE: Final = ord("{")
"""How rows of the version before begin: they are JSON and nothing else."""
_HEAD: Final = struct.Struct("<BI")

R = TypeVar("R")


def encode_row(key: bytes, payload: bytes) -> bytes:
    """The row of *key* that holds the JSON *told*; its checksum, CRC-32, is of both."""
    return _HEAD.pack(VERSION, crc32(payload, crc32(key))) + payload


def row_body(value: bytes) -> bytes:
    """The JSON in a row that :func:`seal` made."""
    return value[_HEAD.size :]


def decode_row(key: bytes, value: bytes, load: Callable[[dict[str, Any]], R]) -> R:
    """What *load* makes of the JSON object in a row.

    Raises:
        UnreadableRow: the row is of an unknown version, cut, spoilt, another's, or no record of a context.
    """
    payload = value
    if value[:1] != bytes([_BARE]):
        if value[:1] != bytes([VERSION]):
            raise UnreadableRow(
                f"a row of version {value[:1].hex() or 'nothing'}, where this worker reads version {VERSION:02x}"
            )
        payload = row_body(value)
        if len(value) < _HEAD.size or _HEAD.unpack_from(value)[1] != crc32(payload, crc32(key)):
            raise UnreadableRow("a row that does not fit its checksum: it was cut or spoilt")
    try:
        stored = from_json(payload)
        stored["seen_at"]  # every version writes it: what does not have it is no record of a context
        return load(stored)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = str(error).partition("\n")[0]
        raise UnreadableRow(f"a row that cannot be read ({type(error).__name__}: {why[:120]})") from error


class Remembered(Protocol):
    """A dataclass that knows when it was last of use, in ms of event time."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    seen_at: int


T = TypeVar("T", bound=Remembered)
FILLED_IN_MS: Final = 7 * DAY_MS
"""So long after an event its record is no news of a device, but an archive's."""
Handle = Callable[[str, T, dict[str, Any], OutcomeBuilder], bool]
"""(topic, the key's record, event, outbox) → whether the record changed.

The event bears ``recorded_at``: its record's Kafka timestamp in ms, -1 where it has none. One that is *heard*
bears ``told_at`` too: its own ``occurred_at``, whose place the time of its arrival has taken.
"""
OnTimer = Callable[[T, int, OutcomeBuilder], bool]
"""(a key's record, event time in ms, outbox) → whether time alone changed the record."""
SWEEP_MS = 60_000


class KeyedProcessor(Generic[T]):
    """A stage with one record of type *T* for each (tenant, *member*).

    Args:
        member: the event member that, with the tenant, is the key.
        create: makes an empty record.
        load: makes a record of its JSON form.
        handle: what an event does.
        keep_ms: a record unused for so long, in event time, is forgotten, unless *busy* says otherwise.
        busy: whether a record must be kept though unused.
        heard: topics whose events are of the time at which they arrive, whatever the clock they were made by.
        common: what an event does to the record that all keys of its tenant share (:meth:`shared`); like
            *handle*, before which it is called, it returns whether the record changed.
        limits: of what is read.
        lapse: what the passing of time does, asked of every record about once a minute of event time.
        most: records held; above it one goes, and is counted (:class:`pipeline.processing.eviction.Room`).
        slight: whether there is so little in a record that it goes before others.
    """

    def __init__(  # noqa: PLR0913 - all are named where a stage is made
        self,
        *,
        member: str,
        create: Callable[[], T],
        load: Callable[[dict[str, Any]], T],
        handle: Handle[T],
        keep_ms: int,
        is_in_use: Callable[[T], bool],
        max_records: int,
        is_low_value: Callable[[T], bool],
        limits: Limits = DEFAULT_LIMITS,
        on_time: OnTimer[T] | None = None,
        on_tenant_event: Callable[[T, dict[str, Any]], bool] | None = None,
        arrival_time_topics: frozenset[str] = frozenset(),
    ) -> None:
        self.records: dict[Key, T] = {}
        self._member = member
        self._create = create
        self._load = load
        self._handle = handle
        self._keep_ms = keep_ms
        self._busy = is_in_use
        self._limits = limits
        self._lapse = on_time
        self._room = TenantFairLru(max_records)
        self._slight = is_low_value
        self._evicted: list[Key] = []
        self._common = on_tenant_event
        self._heard = arrival_time_topics
        self._reached = 0
        self._swept = 0
        self._wall = 0

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        """See :class:`pipeline.processing.processor.Stage`."""
        out = OutcomeBuilder(now_ms, topic)
        self._wall = now_ms
        values, keys = [r.value for r in records], [r.key for r in records]
        tenants = named_tenants(topic, records, self._limits)
        decoded = decode_chunk(topic, values, keys, now_ms=now_ms, limits=self._limits, tenants=tenants)
        out.count_decoded(decoded, records)
        dirty: set[Key] = set()
        for event, place in zip(decoded.events, decoded.places, strict=True):
            event["recorded_at"] = records[place].timestamp
            tenant, key = event["tenant"], (event["tenant"], event[self._member])
            if topic in self._heard:
                known = self.records.get(key)
                event["told_at"] = event["occurred_at"]
                event["occurred_at"] = arrival_time(event, known.seen_at if known else 0, now_ms, self._limits)
            if self._common is not None and self._common(self._touch(tenant_key(tenant), event, out), event):
                dirty.add(tenant_key(tenant))
            record = self._touch(key, event, out)
            self._reached = max(self._reached, min(event["occurred_at"], now_ms))
            if self._handle(topic, record, event, out):
                dirty.add(key)
            self._room.set_low_value(key, low_value=self._slight(record))
        return self._outcome(out, dirty)

    def _touch(self, key: Key, event: dict[str, Any], out: OutcomeBuilder) -> T:
        """The record of *key*, a new one where there is none or it is too old, marked as of use now."""
        record = self.records.get(key)
        if record is None or self._is_old(record):
            record = self.records[key] = self._create()
        if key != tenant_key(key[0]):
            self._room.use(key)
            while (going := self._room.to_evict(key)) is not None:
                self._evicted += self._drop(going)
                out.count("evicted_records")
        record.seen_at = max(record.seen_at, event["occurred_at"])
        return record

    def on_timer(self, now_ms: int) -> Outcome:
        """Let an idle partition's time go on by the wall clock."""
        if self._wall:
            self._reached += max(0, now_ms - self._wall)
            self._wall = now_ms
        return self._outcome(OutcomeBuilder(now_ms), set())

    def _outcome(self, out: OutcomeBuilder, dirty: set[Key]) -> Outcome:
        gone: list[Key] = []
        if self._reached >= self._swept + SWEEP_MS:
            dirty = dirty | self._run_timers(out)
            gone = self._forget()
        evicted = [key for key in dict.fromkeys(self._evicted) if key not in self.records]
        self._evicted.clear()
        rows: list[ChangelogRow] = [(pack_key(key), None) for key in dict.fromkeys((*gone, *evicted))]
        changed = sorted(key for key in dirty if key in self.records)
        rows += [(packed := pack_key(key), encode_row(packed, to_json(self.records[key]))) for key in changed]
        return Outcome(out.messages, rows, out.events, dict(out.dead_letters), dict(out.counts))

    def _run_timers(self, out: OutcomeBuilder) -> set[Key]:
        """The keys whose records time has changed."""
        lapse = self._lapse
        if lapse is None:
            return set()
        return {key for key, record in self.records.items() if lapse(record, self._reached, out)}

    def _forget(self) -> list[Key]:
        self._swept = self._reached
        old = [key for key, record in self.records.items() if self._is_old(record)]
        return [gone for key in old if key in self.records for gone in self._drop(key)]

    def _drop(self, key: Key) -> list[Key]:
        """Let a record go, and with the last of a tenant the one that all shared; what went."""
        del self.records[key]
        if key == tenant_key(key[0]):
            return [key]
        self._room.forget(key)
        common = tenant_key(key[0])
        if self._room.has_tenant(key[0]) or self.records.pop(common, None) is None:
            return [key]
        return [key, common]

    def _is_old(self, record: T) -> bool:
        return record.seen_at < self._reached - self._keep_ms and not self._busy(record)

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        """Take changelog *rows*, oldest first; raises `UnreadableRow`."""
        for packed, value in rows:
            key = unpack_key(packed)
            record = None if value is None else decode_row(packed, value, self._load)
            own = key != tenant_key(key[0])
            if self.records.pop(key, None) is not None and record is None and own:
                self._room.forget(key)
            if record is not None:
                self.records[key] = record
                if own:
                    self._room.use(key)
                    self._room.set_low_value(key, low_value=self._slight(record))

    def on_restored(self) -> None:
        """Nothing to do: time starts with the next event."""


def arrival_time(event: dict[str, Any], seen_at: int, now_ms: int, limits: Limits) -> int:
    """When *event* arrived, ms: its record's time; without one, when it happened, by its own clock.

    A record's time that our own clock at *now_ms* has not reached by far is none either, nor is one more than
    a week after the event and after its key was seen last, at *seen_at*: what is filled in from an archive
    did not arrive when its sessions were live.
    """
    recorded_at, occurred_at = int(event["recorded_at"]), int(event["occurred_at"])
    filled_in = recorded_at - max(occurred_at, seen_at) > FILLED_IN_MS
    if 0 < recorded_at <= now_ms + limits.max_future_ms and not filled_in:
        return recorded_at
    return min(occurred_at, now_ms)


def tenant_key(tenant: str) -> Key:
    """The key of the record that all keys of *tenant* share: no name is empty, so it is nobody's own."""
    return tenant, ""
