"""Processor with one record of state per key: what all contexts are made of.

A record is a dataclass, stored as JSON in the changelog and forgotten when it has not been used for long.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar
from zlib import crc32

from pydantic import GetPydanticSchema, TypeAdapter
from pydantic_core import core_schema, from_json

from models.state.table import UnreadableRow
from pipeline.processing.eviction import Key, TenantFairLru
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.processing.processor import ChangelogRow, Outcome, Record, named_tenants, pack_key, unpack_key
from schemas.decode import decode_chunk
from schemas.decoded import DEFAULT_LIMITS, Decoded, Limits
from schemas.fields import DAY_MS

VERSION: Final = 2
"""Version of a row: to be raised when a field comes to mean something else under the same name, not when fields come
or go.
"""
_JSON_ONLY: Final = ord("{")
"""The first byte of a row of version 1, which is JSON and nothing else."""
_HEADER: Final = struct.Struct("<BI")
"""Version, and the CRC-32 of the key and the JSON after it."""

AS_IS: Final = GetPydanticSchema(lambda _source, _handler: core_schema.any_schema())
"""Annotates a field of a record whose JSON is stored and loaded as it is."""

R = TypeVar("R")


def encode_row(key: bytes, json: bytes) -> bytes:
    """The changelog value of the record *json* under *key*."""
    return _HEADER.pack(VERSION, crc32(json, crc32(key))) + json


def row_body(value: bytes) -> bytes:
    """The JSON in a value that :func:`encode_row` made."""
    return value[_HEADER.size :]


def decode_row(key: bytes, value: bytes, load: Callable[[bytes], R]) -> R:
    """The record in a row, as *load* makes it of its JSON.

    Raises:
        UnreadableRow: the row is of an unknown version, truncated, damaged, of another key, or no such record.
    """
    json = value
    if value[:1] != bytes([_JSON_ONLY]):
        if value[:1] != bytes([VERSION]):
            raise UnreadableRow(
                f"a row of version {value[:1].hex() or 'nothing'}, where this worker reads version {VERSION:02x}"
            )
        json = row_body(value)
        if len(value) < _HEADER.size or _HEADER.unpack_from(value)[1] != crc32(json, crc32(key)):
            raise UnreadableRow("a row that does not fit its checksum: it was cut or spoilt")
    try:
        return load(json)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise UnreadableRow(f"a row that cannot be read ({type(error).__name__}: {why[:120]})") from error


class KeyedRecord(Protocol):
    """A dataclass with the time it was last used, in ms of event time; without arguments it is empty."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    seen_at: int


T = TypeVar("T", bound=KeyedRecord)
E = TypeVar("E")


@cache
def serializer(state: Any) -> TypeAdapter[Any]:
    """Reads and writes records of type *state* as JSON; fields have the names of their aliases there.

    A field that the JSON lacks has its default, and one that *state* lacks is ignored.
    """
    return TypeAdapter(state)


BACKFILL_MS: Final = 7 * DAY_MS
"""A record written so long after its event comes from an archive, and says nothing about now."""
Handle = Callable[[str, T, E, OutcomeBuilder], bool]
"""(topic, the key's record, event, outcome) → whether the record changed.

The event has a field ``recorded_at``: its record's Kafka timestamp in ms, -1 where there is none. On a topic whose
events are dated by arrival it also has ``reported_at``, its own ``occurred_at``, which is replaced by the time of
arrival.
"""
OnTime = Callable[[T, int, OutcomeBuilder], bool]
"""(a key's record, event time in ms, outcome) → whether the passing of time changed the record."""
TIMER_MS: Final = 60_000
"""How often, in event time, records are checked for what the passing of time changes."""


class KeyedProcessor(Generic[T, E]):
    """A processor with one record of type *state* for each tenant and value of *key_field*.

    Args:
        state: the type of a record, a dataclass.
        key_field: the field of an event that is the key, together with the tenant.
        handle: what an event does.
        keep_ms: a record that is unused for so long, in event time, is forgotten, unless *is_in_use*.
        is_in_use: whether a record must be kept though it is unused.
        max_records: the most records; of more, the least recently used of the largest tenant is dropped and counted
            (:class:`pipeline.processing.eviction.TenantFairLru`).
        is_low_value: whether a record holds so little that it is dropped before others.
        limits: what records of a topic are not accepted.
        on_time: what the passing of time does; called for every record about once a minute of event time.
        on_tenant_event: what an event does to the record that all keys of its tenant share (:func:`tenant_key`);
            called before *handle*, and like it returns whether the record changed.
        arrival_time_topics: topics whose events are dated by their arrival, whatever the clock of their producer says.
        changelog: whether changed records are encoded as rows of the changelog; not in replays whose state nobody asks
            for.
    """

    def __init__(  # noqa: PLR0913 - all are named where a processor is made
        self,
        *,
        state: type[T],
        key_field: str,
        handle: Handle[T, E],
        keep_ms: int,
        is_in_use: Callable[[T], bool],
        max_records: int,
        is_low_value: Callable[[T], bool],
        limits: Limits = DEFAULT_LIMITS,
        on_time: OnTime[T] | None = None,
        on_tenant_event: Callable[[T, E], bool] | None = None,
        arrival_time_topics: frozenset[str] = frozenset(),
        changelog: bool = True,
    ) -> None:
        self.records: dict[Key, T] = {}
        self._state = state
        self._serializer: TypeAdapter[T] = serializer(state)
        self._key_field = key_field
        self._handle = handle
        self._keep_ms = keep_ms
        self._is_in_use = is_in_use
        self._limits = limits
        self._on_time = on_time
        self._lru = TenantFairLru(max_records)
        self._is_low_value = is_low_value
        self._evicted: list[Key] = []
        self._on_tenant_event = on_tenant_event
        self._arrival_time_topics = arrival_time_topics
        self._changelog = changelog
        self._event_time = 0
        self._last_timer = 0
        self._wall_clock = 0

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        """See :class:`pipeline.processing.processor.Processor`."""
        out = OutcomeBuilder(now_ms, topic)
        self._wall_clock = now_ms
        values, keys = [record.value for record in records], [record.key for record in records]
        tenants = named_tenants(topic, records, self._limits)
        decoded: Decoded[Any] = decode_chunk(topic, values, keys, now_ms=now_ms, limits=self._limits, tenants=tenants)
        out.count_decoded(decoded, records)
        changed: set[Key] = set()
        for event, place in zip(decoded.events, decoded.places, strict=True):
            event["recorded_at"] = records[place].timestamp
            tenant, key = event["tenant"], (event["tenant"], event[self._key_field])
            if topic in self._arrival_time_topics:
                known = self.records.get(key)
                event["reported_at"] = event["occurred_at"]
                event["occurred_at"] = arrival_time(
                    event["recorded_at"],
                    event["occurred_at"],
                    seen_at=known.seen_at if known else 0,
                    latest=now_ms + self._limits.max_future_ms,
                    now_ms=now_ms,
                )
            if self._on_tenant_event is not None:
                shared = self._use(tenant_key(tenant), event["occurred_at"], out)
                if self._on_tenant_event(shared, event):
                    changed.add(tenant_key(tenant))
            record = self._use(key, event["occurred_at"], out)
            self._event_time = max(self._event_time, min(event["occurred_at"], now_ms))
            if self._handle(topic, record, event, out):
                changed.add(key)
            self._lru.set_low_value(key, low_value=self._is_low_value(record))
        return self._outcome(out, changed)

    def _use(self, key: Key, at_ms: int, out: OutcomeBuilder) -> T:
        """The record of *key*, a new one if there is none or it is too old; from now on the last one used."""
        record = self.records.get(key)
        if record is None or self._is_expired(record):
            record = self.records[key] = self._state()
        if key != tenant_key(key[0]):
            self._lru.use(key)
            while (surplus := self._lru.to_evict(key)) is not None:
                self._evicted += self._drop(surplus)
                out.count("evicted_records")
        record.seen_at = max(record.seen_at, at_ms)
        return record

    def on_timer(self, now_ms: int) -> Outcome:
        """Advance the event time of an idle partition by the wall clock."""
        if self._wall_clock:
            self._event_time += max(0, now_ms - self._wall_clock)
            self._wall_clock = now_ms
        return self._outcome(OutcomeBuilder(now_ms), set())

    def _outcome(self, out: OutcomeBuilder, changed: set[Key]) -> Outcome:
        expired: list[Key] = []
        if self._event_time >= self._last_timer + TIMER_MS:
            changed = changed | self._run_timers(out)
            expired = self._expire()
        evicted = [key for key in dict.fromkeys(self._evicted) if key not in self.records]
        self._evicted.clear()
        rows = self._rows(expired, evicted, changed) if self._changelog else []
        return Outcome(out.messages, rows, out.events, dict(out.dead_letters), dict(out.counts))

    def _rows(self, expired: list[Key], evicted: list[Key], changed: set[Key]) -> list[ChangelogRow]:
        rows: list[ChangelogRow] = [(pack_key(key), None) for key in dict.fromkeys((*expired, *evicted))]
        rows += [self._row(key) for key in sorted(changed) if key in self.records]
        return rows

    def _row(self, key: Key) -> ChangelogRow:
        packed = pack_key(key)
        return packed, encode_row(packed, self._serializer.dump_json(self.records[key], by_alias=True))

    def _run_timers(self, out: OutcomeBuilder) -> set[Key]:
        """The keys of the records that the passing of time has changed."""
        on_time = self._on_time
        if on_time is None:
            return set()
        return {key for key, record in self.records.items() if on_time(record, self._event_time, out)}

    def _expire(self) -> list[Key]:
        """Drop the records that were unused for too long; returns their keys."""
        self._last_timer = self._event_time
        expired = [key for key, record in self.records.items() if self._is_expired(record)]
        return [dropped for key in expired if key in self.records for dropped in self._drop(key)]

    def _drop(self, key: Key) -> list[Key]:
        """Drop a record, and with the last of a tenant the one that all shared; returns the keys dropped."""
        del self.records[key]
        shared = tenant_key(key[0])
        if key == shared:
            return [key]
        self._lru.forget(key)
        if self._lru.has_tenant(key[0]) or self.records.pop(shared, None) is None:
            return [key]
        return [key, shared]

    def _is_expired(self, record: T) -> bool:
        return record.seen_at < self._event_time - self._keep_ms and not self._is_in_use(record)

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        """Take changelog *rows*, oldest first; raises `UnreadableRow`."""
        for packed, value in rows:
            key = unpack_key(packed)
            record = None if value is None else decode_row(packed, value, self._load)
            is_shared = key == tenant_key(key[0])
            if self.records.pop(key, None) is not None and record is None and not is_shared:
                self._lru.forget(key)
            if record is not None:
                self.records[key] = record
                if not is_shared:
                    self._lru.use(key)
                    self._lru.set_low_value(key, low_value=self._is_low_value(record))

    def _load(self, json: bytes) -> T:
        fields = from_json(json)
        if "seen_at" not in fields:
            raise ValueError("it has no seen_at, which every record has")
        return self._serializer.validate_python(fields)

    def on_restored(self) -> None:
        """Nothing to do: event time starts with the next event."""


def arrival_time(recorded_at: int, occurred_at: int, *, seen_at: int, latest: int, now_ms: int) -> int:
    """When an event arrived, in ms: its record's Kafka timestamp, if that can be believed, else its own time.

    A timestamp after *latest* cannot, nor one that is more than a week after both the event and the last time its key
    was seen, *seen_at*: what is filled in from an archive did not arrive while its sessions were live.
    """
    is_backfill = recorded_at - max(occurred_at, seen_at) > BACKFILL_MS
    if 0 < recorded_at <= latest and not is_backfill:
        return recorded_at
    return min(occurred_at, now_ms)


def tenant_key(tenant: str) -> Key:
    """The key of the record that all keys of *tenant* share: no name is empty, so it is no key of an event."""
    return tenant, ""
