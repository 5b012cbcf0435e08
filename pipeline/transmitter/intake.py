"""What the transmitter reads in Kafka: records become tokens in the store, and then offsets are committed.

One transmitter reads, the one that leads. A record that cannot be read is counted and logged with its place;
the worker has it among its dead letters where it is one of its inputs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from time import monotonic
from typing import Any, Final

from pipeline.connection import Connection
from pipeline.continuing import Continued, continuing
from pipeline.stage import Record, named_tenants
from pipeline.topic_admin import BrokerUnreachableError
from pipeline.transmitter.happenings import TOPICS
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.statements import Heard, Statements, Taken
from pipeline.transmitter.store import StoreError
from schemas.decode import decode_chunk
from schemas.decoded import Limits, without
from schemas.members import SAFE_INTEGER
from schemas.tenancy import VOUCHED
from schemas.topics import AUTH_EVENTS

log = logging.getLogger(__name__)

FIRST_LOOK_S: Final = 600.0
"""How far back a group begins that never read: a revocation of last week is no news to anybody."""
MOST: Final = 200
"""Records of one transaction. Until it ends nobody is told of them."""
_WAIT_MS: Final = 200
_KEPT: Final = (
    "tenant", "session_id", "principal_id", "device_id", "decision_id", "revocation_id", "event_id",
    "enforcer",
)  # fmt: skip
_LOOK_S: Final = 5.0
_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(slots=True)
class Intake:
    """Reads for *group* and has *statements* made.

    *ring* is called with the streams that have new tokens; *clock* gives ms since the epoch, UTC;
    *confirm_within_s* is what counts as in time.
    """

    connection: Connection
    group: str
    limits: Limits
    statements: Statements
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

        Raises `BrokerUnreachableError`, `TopicsNotReadyError` or `RightsMissingError` where it cannot begin.
        """
        since = self.clock() - round(FIRST_LOOK_S * 1000)
        async with continuing(self.connection, self.group, TOPICS, since) as reader:
            self.ready.set()
            while not self._stopping.is_set():
                records = await reader.chunk(MOST, _WAIT_MS)
                if records and await self._keep(records):
                    await self._commit(reader)
                await self._look(reader)

    async def _keep(self, records: Sequence[Record]) -> bool:
        """Store what *records* say; false if it was stopped before the store could take it."""
        heard, number = self._heard(records), 0
        while True:
            try:
                taken = await asyncio.to_thread(self.statements.take, heard, self.clock())
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

    async def _commit(self, reader: Continued) -> None:
        """Offsets that are not kept cost nothing but that the same is read again."""
        try:
            await reader.commit()
        except BrokerUnreachableError as error:
            log.warning("%s; it is tried again after what comes next", error)

    async def _look(self, reader: Continued) -> None:
        """Every few seconds: how far behind it is, and whose deadline has passed."""
        if monotonic() < self._looked + _LOOK_S:
            return
        self._looked = monotonic()
        for (topic, partition), count in (await reader.behind()).items():
            self.metrics.behind.labels(topic, str(partition)).set(count)
        try:
            late = await asyncio.to_thread(self.statements.overdue, self.clock())
        except StoreError as error:
            log.warning("deadlines are looked at later: %s", error)
        else:
            self.metrics.commands.labels("overdue").inc(late)

    def _heard(self, records: Sequence[Record]) -> list[Heard]:
        """Those of *records* that can be read and may say something, in their order."""
        heard: list[Heard] = []
        for topic, some in groupby(filter(_may_say, records), key=attrgetter("topic")):
            heard += self._decoded(topic, list(some))
        return heard

    def _decoded(self, topic: str, records: Sequence[Record]) -> list[Heard]:
        # The worker's own word is taken however long it is, and not measured by this clock: it has its times
        # from devices' clocks.
        ours = replace(self.limits, max_future_ms=SAFE_INTEGER, max_bytes=SAFE_INTEGER)
        limits = self.limits if topic in VOUCHED else ours
        decoded = decode_chunk(
            topic,
            [record.value for record in records],
            [record.key for record in records],
            now_ms=self.clock(),
            limits=limits,
            tenants=named_tenants(topic, records, limits),
        )
        decoded = without(decoded, [_unfit(event) for event in decoded.events])
        for one in decoded.rejected:
            record = records[one.index]
            self.metrics.refused_records.labels(topic).inc()
            log.warning(
                "record %d of %s, partition %d, cannot be read: %s",
                *(record.offset, topic, record.partition, one.reason),
            )
        return [Heard(topic, event) for event in decoded.events]

    def _count(self, records: Sequence[Record], taken: Taken) -> None:
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


def _unfit(event: Mapping[str, Any]) -> str | None:
    """Why the store could not take an event that can be read: PostgreSQL has no NUL in its texts."""
    odd = [name for name in _KEPT if "\x00" in (event.get(name) or "")]
    return f"{odd[0]}: holds a NUL character" if odd else None


def _may_say(record: Record) -> bool:
    """Whether a record is worth decoding: of auth events, in masses, only those about a credential are."""
    value = record.value or b""
    return record.topic != AUTH_EVENTS or b"credential_" in value or b"\\u" in value
