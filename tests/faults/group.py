"""How far a consumer group is, as the broker knows it; and what is on topics since a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import aiokafka
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.kafka.connection import Connection
from pipeline.sessions.processor import Options
from schemas.topics import API_CALLS, TOPICS
from tests.faults.known import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KINDS = processor_specs(ActiveConfig(), Options())
SOURCES = tuple(topic for kind in KINDS for topic in kind.sources)
Offsets = Mapping[TopicPartition, int]
LOOK_SECONDS = 0.2


class WaitedInVainError(AssertionError):
    """What had to happen did not, in the time it had."""


async def until(what: str, true: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait until *true* says so; raises `WaitedInVainError` with *what* was waited for."""
    deadline = monotonic() + seconds
    while not await true():
        if monotonic() > deadline:
            raise WaitedInVainError(f"{what}: not within {seconds:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)


class Group:
    """The consumer group *app_id*, seen from outside; where no broker answers, nothing is known."""

    def __init__(self, connection: Connection, app_id: str) -> None:
        self.connection = connection
        self.app_id = app_id

    async def ends(self, topics: Iterable[str] = SOURCES) -> Offsets:
        """Return the end of every partition of *topics*."""
        async with self._reader() as reader:
            return dict(await reader.end_offsets([tp for topic in topics for tp in _places(topic)]))

    async def committed(self) -> Offsets:
        """Return what the group has committed; nothing where no broker tells."""
        admin = AIOKafkaAdminClient(**self.connection.for_aiokafka(), request_timeout_ms=3000)
        try:
            await asyncio.wait_for(admin.start(), 3)
            by_key = await asyncio.wait_for(admin.list_consumer_group_offsets(self.app_id), 3)
            return {tp: place.offset for tp, place in by_key.items()}
        except (KafkaError, OSError, TimeoutError):
            return {}
        finally:
            await admin.close()

    async def has_done(self, ends: Offsets) -> bool:
        """Whether everything before *ends* is done."""
        done = await self.committed()
        return all(done.get(tp, -1) >= end for tp, end in ends.items())

    async def is_settled(self) -> bool:
        """Whether everything there is is done, and nothing follows from it."""
        # Messages are safe before the offsets of their cause: ends that are looked at later have them all.
        done = await self.committed()
        if not done:
            return False
        ends = await self.ends()
        return all(done.get(tp, 0) == end for tp, end in ends.items())

    async def members(self) -> int:
        """Return how many members share the partitions; 0 while they are about to."""
        return len(await self.held())

    async def held(self) -> dict[str, frozenset[int]]:
        """Return which partitions each member holds, by its id; nothing while they are about to be shared."""
        admin = AIOKafkaAdminClient(**self.connection.for_aiokafka())
        try:
            await admin.start()
            (response,) = await admin.describe_consumer_groups([self.app_id])
            (group,) = response.groups
            members = group[5] if group[2] == "Stable" else ()
            return {member[0]: _partitions(member[4]) for member in members}
        except (KafkaError, OSError):
            return {}
        finally:
            await admin.close()

    async def since(self, begins: Offsets) -> list[Any]:
        """Return every record from *begins* on, partition by partition."""
        async with self._reader() as reader:
            ends = await reader.end_offsets(list(begins))
            reader.assign(list(begins))
            for tp, offset in begins.items():
                reader.seek(tp, offset)
            records: list[Any] = []
            while unread := [tp for tp in begins if await reader.position(tp) < ends[tp]]:
                for fetched in (await reader.getmany(*unread, timeout_ms=500)).values():
                    records += fetched
            return records

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Any]:
        reader = aiokafka.AIOKafkaConsumer(
            **self.connection.for_aiokafka(), auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        await reader.start()
        try:
            yield reader
        finally:
            await reader.stop()


def _partitions(assignment: bytes) -> frozenset[int]:
    assignments = ConsumerProtocolMemberAssignment.decode(assignment).assignment
    return frozenset(p for topic, partitions in assignments if topic == API_CALLS for p in partitions)


def _places(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for partition in range(TOPICS[topic].partitions(PARTITIONS))]
