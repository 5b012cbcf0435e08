"""A task and all that is around it, noting what happens in its order; a test holds or refuses any of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from aiokafka import TopicPartition

from pipeline.kafka.changelog import Changelog
from pipeline.kafka.chunk import Chunk
from pipeline.kafka.fencing import Lease
from pipeline.kafka.partition_tasks import PartitionTask, TaskResources
from pipeline.processing.observer import NullObserver, Work
from pipeline.processing.processor import ChangelogRow, Message, Outcome


class Rec:
    timestamp = 1_000

    def __init__(self, value: str) -> None:
        self.value = value


class SentMessage:
    """A chunk as Faust delivers it; notes when it is acknowledged."""

    def __init__(self, log: list[str], name: str, records: int = 1, generation: int = 1) -> None:
        self.log = log
        self.name = name
        self.value = Chunk("in", 0, [Rec(name)] * records)  # type: ignore[list-item]
        self.message = type("Message", (), {"generation_id": generation})

    def ack(self) -> bool:
        self.log.append(f"ack {self.name}")
        return True


class World(NullObserver):
    """A processor, an writer and an observer that note what happens, in order."""

    def __init__(self, slots: int = 8) -> None:
        self.log: list[str] = []
        self.failures: list[BaseException] = []
        self.work: list[Work] = []
        self.hold: dict[str, asyncio.Event] = {}
        self.refused = ""
        self.lease = Lease(60.0)
        self.lease.grant(1)
        self.resources = TaskResources(self, asyncio.Semaphore(slots), 4, self, self.failures.append)  # type: ignore[arg-type]

    def task(self, partition: int = 0) -> PartitionTask:
        place = TopicPartition("changelog", partition)
        changelog = Changelog(self, place, self.lease, 1, 0)  # type: ignore[arg-type]
        return PartitionTask("kind", partition, self, changelog, self.resources)  # type: ignore[arg-type]

    def process(self, topic: str, records: Sequence[Any], now_ms: int) -> Outcome:
        name = "+".join(dict.fromkeys(record.value for record in records))
        self.log.append(f"process {name}")
        if "bad" in name:
            raise ValueError(name)
        return Outcome(messages=[Message("out", b"k", name.encode())], rows=[(name.encode(), b"row")])

    def on_timer(self, now_ms: int) -> Outcome:
        self.log.append("sweep")
        return Outcome(rows=[(b"swept", None)])

    async def send(self, messages: Sequence[Message], timestamp_ms: int | None) -> Awaitable[None]:
        return self._out("messages", [message.value for message in messages])

    async def append(
        self, topic: str, partition: int, rows: Iterable[ChangelogRow], confirm: Callable[[], Awaitable[None]]
    ) -> int:
        await confirm()
        await self._out("rows", [key for key, _ in rows])
        return 0

    async def _out(self, what: str, names: list[bytes]) -> None:
        entry = f"{what} {b'+'.join(names).decode()}"
        self.log.append(entry)
        if entry in self.hold:
            await self.hold[entry].wait()
        if entry == self.refused:
            raise ValueError(entry)

    def done(self, work: Work) -> None:
        self.work.append(work)


async def until(true: Callable[[], object]) -> None:
    deadline = monotonic() + 5
    while not true():
        assert monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0)
