"""What the transmitter reads in Kafka: records become tokens in the store, and then offsets are committed.

One transmitter reads, the one that leads. A record that cannot be read is counted and logged with its place;
the worker has it among its dead letters where it is one of its inputs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from pipeline.connection import Connection
from pipeline.continuing import Continued, continuing
from pipeline.stage import Record
from pipeline.topic_admin import BrokerUnreachableError
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.store.database import StoreError
from pipeline.transmitter.tokens.decoding import heard
from pipeline.transmitter.tokens.happenings import TOPICS
from pipeline.transmitter.tokens.statements import Statements, Taken
from schemas.decoded import Limits

log = logging.getLogger(__name__)

FIRST_LOOK_S: Final = 600.0
"""How far back a group begins that never read: a revocation of last week is no news to anybody."""
MOST: Final = 200
"""Records of one transaction. Until it ends nobody is told of them."""
_WAIT_MS: Final = 200
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

        Raises `BrokerUnreachableError` where it cannot begin, or go on; run again it begins with what was not
        committed. Raises `TopicsNotReadyError` or `RightsMissingError` where that would not help.
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
        told, number = heard(records, self.limits, self.metrics, self.clock()), 0
        while True:
            try:
                taken = await asyncio.to_thread(self.statements.take, told, self.clock())
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
