"""What the transmitter reads in Kafka: records become tokens in the store, and then offsets are committed.

One transmitter reads, the one that leads. A record that cannot be read is counted and logged with its place;
the worker has it among its dead letters where it is one of its inputs.
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

AT: Final[Mapping[str, str]] = {
    SESSION_REVOCATIONS: "decided_at",
    SESSION_RISK: "occurred_at",
    AUTH_EVENTS: "occurred_at",
    REVOCATION_ACKS: "occurred_at",
}
"""By topic, the member with the time of what a record tells, ms."""
_PLACE: Final = {topic: place for place, topic in enumerate(TOPICS)}


def in_order(decoded: Iterable[tuple[Record, Mapping[str, Any]]]) -> list[DecodedRecord]:
    """Records and what was read of them, in the order of their times; at one time, in the order of `TOPICS`.

    What has one key on one topic keeps its order in Kafka whatever its times are: it was decided in that
    order. So nothing there counts as earlier than what lies before it. The same records come in the same
    order, however their partitions were read between each other.
    """
    latest: dict[tuple[str, bytes | None], int] = {}
    timed: list[tuple[int, DecodedRecord]] = []
    for record, event in sorted(decoded, key=_by_place):
        source = record.topic, record.key
        latest[source] = max(event[AT[record.topic]], latest.get(source, 0))
        timed.append((latest[source], DecodedRecord(record.topic, event)))
    return [decoded_record for _, decoded_record in sorted(timed, key=itemgetter(0))]


def _by_place(decoded: tuple[Record, Mapping[str, Any]]) -> tuple[int, int, int]:
    record, _ = decoded
    return _PLACE[record.topic], record.partition, record.offset


log = logging.getLogger(__name__)

_KEPT: Final = (
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
    """Those of *records*, one batch, that can be read and may say something, in the order of their times."""
    rows: list[tuple[Record, Mapping[str, Any]]] = []
    for topic in TOPICS:
        some = [record for record in records if record.topic == topic and _may_say(record)]
        if some:
            rows += _decoded(topic, some, limits, metrics, now_ms)
    return in_order(rows)


def _decoded(
    topic: str, records: Sequence[Record], limits: Limits, metrics: TransmitterMetrics, now_ms: int
) -> Iterator[tuple[Record, Mapping[str, Any]]]:
    # The worker's own word is taken however long it is, and not measured by this clock: it has its times
    # from devices' clocks.
    ours = replace(limits, max_future_ms=SAFE_INTEGER, max_bytes=SAFE_INTEGER)
    taken = limits if topic in TENANT_CHECKED else ours
    decoded = decode_chunk(
        topic,
        [record.value for record in records],
        [record.key for record in records],
        now_ms=now_ms,
        limits=taken,
        tenants=named_tenants(topic, records, taken),
    )
    decoded = without(decoded, [_unfit(event) for event in decoded.events])
    for rejected in decoded.rejected:
        record = records[rejected.index]
        metrics.refused_records.labels(topic).inc()
        log.warning(
            "record %d of %s, partition %d, cannot be read: %s",
            *(record.offset, topic, record.partition, rejected.reason),
        )
    for place, event in zip(decoded.places, decoded.events, strict=True):
        yield records[place], event


def _unfit(event: Mapping[str, Any]) -> str | None:
    """Why the store could not take an event that can be read: PostgreSQL has no NUL in its texts."""
    odd = [name for name in _KEPT if "\x00" in (event.get(name) or "")]
    return f"{odd[0]}: holds a NUL character" if odd else None


def _may_say(record: Record) -> bool:
    """Whether a record is worth decoding: of auth events, in masses, only those about a credential are."""
    value = record.value
    if value is None or record.topic != AUTH_EVENTS:
        return True
    return b"credential_" in value or b"\\u" in value


FIRST_LOOK_S: Final = 600.0
"""How far back a group begins that never read: a revocation of last week is no news to anybody."""
MOST: Final = 200
"""Records of one transaction. Until it ends nobody is told of them."""
_WAIT_MS: Final = 200
_LOOK_S: Final = 5.0
_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(slots=True)
class CommandConsumer:
    """Reads for *group* and has *statements* made.

    *ring* is called with the streams that have new tokens; *clock* gives ms since the epoch, UTC;
    *confirm_within_s* is what counts as in time.
    """

    connection: Connection
    group: str
    limits: Limits
    statements: TokenBuilder
    metrics: TransmitterMetrics
    ring: Callable[[Iterable[str]], None]
    clock: Callable[[], int]
    confirm_within_s: float = 60.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has begun to read."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _looked: float = 0.0

    def stop(self) -> None:
        """Let :meth:`run` end when what it has in hand is stored and committed."""
        self._stopping.set()

    async def run(self) -> None:
        """Read until it is stopped.

        Raises `BrokerUnreachableError` where it cannot begin, or go on; run again it begins with what was not
        committed. Raises `TopicsNotReadyError` or `RightsMissingError` where that would not help.
        """
        since = self.clock() - round(FIRST_LOOK_S * 1000)
        async with group_reader(self.connection, self.group, TOPICS, since) as reader:
            self.ready.set()
            while not self._stopping.is_set():
                records = await reader.chunk(MOST, _WAIT_MS)
                if records and await self._keep(records):
                    await self._commit(reader)
                await self._look(reader)

    async def _keep(self, records: Sequence[Record]) -> bool:
        """Store what *records* say; false if it was stopped before the store could take it."""
        decoded_records, number = decode_records(records, self.limits, self.metrics, self.clock()), 0
        while True:
            try:
                taken = await asyncio.to_thread(self.statements.build, decoded_records, self.clock())
            except StoreError as error:
                pause = _PAUSES_S[min(number, len(_PAUSES_S) - 1)]
                log.warning("what was read waits %g s: %s", pause, error)
                number += 1
                if await self._stopped_within(pause):
                    return False
            else:
                self._count(records, taken)
                self.ring(taken.rung)
                return True

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _commit(self, reader: GroupReader) -> None:
        """Offsets that are not kept cost nothing but that the same is read again."""
        try:
            await reader.commit()
        except BrokerUnreachableError as error:
            log.warning("%s; it is tried again after what comes next", error)

    async def _look(self, reader: GroupReader) -> None:
        """Every few seconds: how far behind it is, and whose deadline has passed."""
        if monotonic() < self._looked + _LOOK_S:
            return
        self._looked = monotonic()
        for (topic, partition), count in (await reader.lag()).items():
            self.metrics.behind.labels(topic, str(partition)).set(count)
        try:
            late = await asyncio.to_thread(self.statements.overdue, self.clock())
        except StoreError as error:
            log.warning("deadlines are looked at later: %s", error)
        else:
            self.metrics.commands.labels("overdue").inc(late)

    def _count(self, records: Sequence[Record], taken: BuildResult) -> None:
        metrics = self.metrics
        for record in records:
            metrics.records.labels(record.topic).inc()
        for series, counted in (
            (metrics.happenings, taken.happened),
            (metrics.tokens, taken.queued),
            (metrics.untold, taken.unsent),
            (metrics.commands, taken.commands),
        ):
            for label, number in counted.items():
                series.labels(label).inc(number)
        for seconds in taken.confirmed:
            metrics.confirmation_seconds.observe(seconds)
            metrics.confirmations.labels("yes" if seconds <= self.confirm_within_s else "no").inc()
