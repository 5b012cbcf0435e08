"""Kafka consumer of the transmitter: stores the tokens of records, and then commits their offsets.

Only the leader runs it. A record that cannot be decoded is counted and logged with its position; if it is one
of the worker's inputs, the worker puts it among its dead letters.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from time import monotonic
from typing import Any, Final

from pipeline.kafka.connection import Connection
from pipeline.kafka.group_reader import GroupReader, group_reader
from pipeline.kafka.topics import BrokerUnreachableError
from pipeline.processing.processor import Record, named_tenants
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.store.database import StoreError
from pipeline.transmitter.tokens.builder import BuildResult, DecodedRecord, TokenBuilder
from pipeline.transmitter.tokens.events import TOPICS
from schemas.decode import decode_chunk
from schemas.decoded import Limits, without
from schemas.fields import SAFE_INTEGER
from schemas.tenancy import TENANT_CHECKED
from schemas.topics import AUTH_EVENTS, REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK

EVENT_TIME_FIELDS: Final[Mapping[str, str]] = {
    SESSION_REVOCATIONS: "decided_at",
    SESSION_RISK: "occurred_at",
    AUTH_EVENTS: "occurred_at",
    REVOCATION_ACKS: "occurred_at",
}
"""By topic, the field with the time of the record's event, ms."""
_TOPIC_ORDER: Final = {topic: position for position, topic in enumerate(TOPICS)}


def sort_by_event_time(decoded: Iterable[tuple[Record, Mapping[str, Any]]]) -> list[DecodedRecord]:
    """Sort records by their times, and records of one time by topic, in the order of `TOPICS`.

    Records with one key on one topic keep their order in Kafka whatever their times, because they were decided
    in that order: none counts as earlier than those before it. The same records give the same order, however
    their partitions were interleaved.
    """
    latest: dict[tuple[str, bytes | None], int] = {}
    timed: list[tuple[int, DecodedRecord]] = []
    for record, event in sorted(decoded, key=_position):
        source = record.topic, record.key
        latest[source] = max(event[EVENT_TIME_FIELDS[record.topic]], latest.get(source, 0))
        timed.append((latest[source], DecodedRecord(record.topic, event)))
    return [decoded_record for _, decoded_record in sorted(timed, key=itemgetter(0))]


def _position(decoded: tuple[Record, Mapping[str, Any]]) -> tuple[int, int, int]:
    record, _ = decoded
    return _TOPIC_ORDER[record.topic], record.partition, record.offset


log = logging.getLogger(__name__)

_STORED_FIELDS: Final = (
    "tenant",
    "session_id",
    "principal_id",
    "device_id",
    "decision_id",
    "revocation_id",
    "event_id",
    "enforcer",
)


def decode_records(
    records: Sequence[Record], limits: Limits, metrics: TransmitterMetrics, now_ms: int
) -> list[DecodedRecord]:
    """Decode a batch and return those records that can contain an event, in the order of their times."""
    rows: list[tuple[Record, Mapping[str, Any]]] = []
    for topic in TOPICS:
        candidates = [record for record in records if record.topic == topic and _may_have_event(record)]
        if candidates:
            rows += _decoded(topic, candidates, limits, metrics, now_ms)
    return sort_by_event_time(rows)


def _decoded(
    topic: str, records: Sequence[Record], limits: Limits, metrics: TransmitterMetrics, now_ms: int
) -> Iterator[tuple[Record, Mapping[str, Any]]]:
    # Records of the worker itself are trusted: neither their length nor their times are limited, because the
    # times come from devices' clocks.
    trusted_limits = replace(limits, max_future_ms=SAFE_INTEGER, max_bytes=SAFE_INTEGER)
    result = limits if topic in TENANT_CHECKED else trusted_limits
    decoded = decode_chunk(
        topic,
        [record.value for record in records],
        [record.key for record in records],
        now_ms=now_ms,
        limits=result,
        tenants=named_tenants(topic, records, result),
    )
    decoded = without(decoded, [_cannot_store(event) for event in decoded.events])
    for rejected in decoded.rejected:
        record = records[rejected.index]
        metrics.refused_records.labels(topic).inc()
        log.warning(
            "record %d of %s, partition %d, cannot be decoded: %s",
            *(record.offset, topic, record.partition, rejected.reason),
        )
    for position, event in zip(decoded.places, decoded.events, strict=True):
        yield records[position], event


def _cannot_store(event: Mapping[str, Any]) -> str | None:
    """Why the store cannot hold an event: PostgreSQL text has no NUL."""
    fields = [name for name in _STORED_FIELDS if "\x00" in (event.get(name) or "")]
    return f"{fields[0]}: contains a NUL character" if fields else None


def _may_have_event(record: Record) -> bool:
    """Whether a record is worth decoding: of the many auth events only those about a credential are."""
    value = record.value
    if value is None or record.topic != AUTH_EVENTS:
        return True
    return b"credential_" in value or b"\\u" in value


INITIAL_LOOKBACK_S: Final = 600.0
"""How far back a new consumer group starts: an older revocation helps nobody."""
BATCH_SIZE: Final = 200
"""Records of one transaction. Their tokens are sent only when it ends."""
_WAIT_MS: Final = 200
_CHECK_S: Final = 5.0
_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(slots=True)
class CommandConsumer:
    """Reads as consumer group *group* and has *statements* build the tokens.

    *notify* is called with the streams that have new tokens; *clock* returns ms since the epoch, UTC;
    *confirm_within_s* is the time within which a revocation counts as confirmed in time.
    """

    connection: Connection
    group: str
    limits: Limits
    builder: TokenBuilder
    metrics: TransmitterMetrics
    notify: Callable[[Iterable[str]], None]
    clock: Callable[[], int]
    confirm_within_s: float = 60.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has started to read."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _checked_at: float = 0.0

    def stop(self) -> None:
        """Make :meth:`run` return when the current batch is stored and committed."""
        self._stopping.set()

    async def run(self) -> None:
        """Read until stopped.

        Raises `BrokerUnreachableError` if it cannot start or continue; another `run` starts with what was not
        committed. Raises `TopicsNotReadyError` or `RightsMissingError`, for which that would not help.
        """
        since = self.clock() - round(INITIAL_LOOKBACK_S * 1000)
        async with group_reader(self.connection, self.group, TOPICS, since) as reader:
            self.ready.set()
            while not self._stopping.is_set():
                records = await reader.chunk(BATCH_SIZE, _WAIT_MS)
                if records and await self._store(records):
                    await self._commit(reader)
                await self._check(reader)

    async def _store(self, records: Sequence[Record]) -> bool:
        """Store the tokens of *records*; false if it was stopped before the store was able to."""
        decoded, attempt = decode_records(records, self.limits, self.metrics, self.clock()), 0
        while True:
            try:
                result = await asyncio.to_thread(self.builder.build, decoded, self.clock())
            except StoreError as error:
                pause = _PAUSES_S[min(attempt, len(_PAUSES_S) - 1)]
                log.warning("storing the tokens of a batch is retried in %g s: %s", pause, error)
                attempt += 1
                if await self._stopped_within(pause):
                    return False
            else:
                self._count(records, result)
                self.notify(result.stream_ids)
                return True

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _commit(self, reader: GroupReader) -> None:
        """Commit the offsets; if that fails, the same records are merely read again."""
        try:
            await reader.commit()
        except BrokerUnreachableError as error:
            log.warning("%s; it is retried after the next batch", error)

    async def _check(self, reader: GroupReader) -> None:
        """Every few seconds: update the lag, and mark commands past their deadline."""
        if monotonic() < self._checked_at + _CHECK_S:
            return
        self._checked_at = monotonic()
        for (topic, partition), count in (await reader.lag()).items():
            self.metrics.behind.labels(topic, str(partition)).set(count)
        try:
            newly_overdue = await asyncio.to_thread(self.builder.overdue, self.clock())
        except StoreError as error:
            log.warning("deadlines are checked later: %s", error)
        else:
            self.metrics.commands.labels("overdue").inc(newly_overdue)

    def _count(self, records: Sequence[Record], result: BuildResult) -> None:
        metrics = self.metrics
        for record in records:
            metrics.records.labels(record.topic).inc()
        for series, counted in (
            (metrics.events, result.events),
            (metrics.tokens, result.queued),
            (metrics.skipped, result.skipped),
            (metrics.commands, result.commands),
        ):
            for label, attempt in counted.items():
                series.labels(label).inc(attempt)
        for seconds in result.confirmed:
            metrics.confirmation_seconds.observe(seconds)
            metrics.confirmations.labels("yes" if seconds <= self.confirm_within_s else "no").inc()
