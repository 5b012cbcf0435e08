"""One run: the recording goes in as its time goes by, something happens, the outcome is judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import NamedTuple
from uuid import uuid4

import aiokafka

from pipeline.kafka.client import start_group_at_end
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import check_topics, create_topics, needed_topics
from schemas.decode import encode, record_key
from schemas.topics import DEVICE_TELEMETRY
from tests.faults.fleet import Fleet, Worker
from tests.faults.group import KINDS, SOURCES, Group, Offsets, until
from tests.faults.known import PARTITIONS, POLICY, Known, known
from tests.faults.outcome import READ, Place, Run, judged
from tests.faults.poison import poisoned


class Point(NamedTuple):
    """A failpoint, and between which visits of it a worker dies there, or with STOP stands still."""

    name: str
    least: int = 1
    most: int = 1
    signal: str = "KILL"


JOIN_SECONDS = 60.0
SETTLE_SECONDS = 90.0
AHEAD_MS = 300
"""How long before its time the recording is made."""


@dataclass
class Trial:
    """What a fault can lay its hands on: the *fleet*, the *group* as the broker sees it, and the *chance*.

    *broker* is where workers find the brokers, *connection* how the trial itself does.
    """

    connection: Connection
    broker: str
    folder: Path
    chance: random.Random
    app_id: str
    poison_share: float = 0.0
    """How many records that cannot be read there are for one that can."""
    poison: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        policy = self.folder / "policy.toml"
        policy.write_text(POLICY, encoding="utf-8")
        self.policy = policy
        self.group = Group(self.connection, self.app_id)
        self.fleet = Fleet(self.broker, self.app_id, policy, self.folder)
        self._hurt_at = 0.0
        self._due: Offsets = {}
        self._is_hurt = asyncio.Event()
        self._begun = asyncio.Event()

    def start(self, point: Point | None = None) -> Worker:
        """Start a worker; at *point* it dies or stands still, at a visit that chance chooses."""
        if point is None:
            return self.fleet.start()
        visit = self.chance.randint(point.least, point.most)
        return self.fleet.start(f"{point.name}:{visit}:{point.signal}")

    async def moment(self, earliest_s: float = 3.0, latest_s: float = 6.0) -> None:
        """Return at a moment of the recording that chance chooses, in seconds from its beginning."""
        await self._begun.wait()
        await asyncio.sleep(self.chance.uniform(earliest_s, latest_s))

    async def hurt(self) -> None:
        """Say that now it happens, or has: from here it is counted how long recovery takes."""
        self._hurt_at = monotonic()
        self._due = await self.group.ends()
        self._is_hurt.set()

    async def join(self, workers: int) -> None:
        """Return when so many workers share the partitions."""

        async def joined() -> bool:
            return await self.group.members() == workers

        await until(f"{workers} workers share the partitions", joined, JOIN_SECONDS)

    async def until_shared_anew(self, workers: int) -> None:
        """Return when partitions that so many *workers* share are about to be shared anew, or just were."""

        async def changes() -> bool:
            return await self.group.members() != workers

        await until("partitions are shared anew", changes, JOIN_SECONDS)

    async def play(self, seed: int, fault: Callable[[Trial], Awaitable[None]]) -> Run:
        """Play what *seed* makes, with *fault* happening meanwhile; workers are started before or by it."""
        begins = await self.group.ends(READ)
        recording = known(seed, int(time() * 1000) + AHEAD_MS, f"-{seed}", self.policy)
        recovering = asyncio.create_task(self._recovered())
        hurting = asyncio.ensure_future(fault(self))
        try:
            await self._send(recording)
            await hurting
            await until("everything is done", self.group.is_settled, SETTLE_SECONDS)
            recovered_s = await recovering
        finally:
            for task in (recovering, hurting):
                task.cancel()
        wrong, repeated = judged(recording, await self.group.since(begins), self.poison)
        return Run(wrong, len(recording.events), repeated, recovered_s, self.fleet.restarts)

    async def until_due_is_done(self) -> None:
        """Return when all is done that had been sent when it happened."""

        async def done() -> bool:
            return await self.group.has_done(self._due)

        await until("what was sent before the fault is done", done, SETTLE_SECONDS)

    async def _recovered(self) -> float:
        """Return how many seconds after it was hurt the group had done all that had been sent until then."""
        await self._is_hurt.wait()
        await self.until_due_is_done()
        return monotonic() - self._hurt_at

    async def _send(self, recording: Known) -> None:
        poisons = []
        async with aiokafka.AIOKafkaProducer(**self.connection.for_aiokafka(), enable_idempotence=True) as kafka:
            self._begun.set()
            for topic, event in recording.events:
                key, at = record_key(topic, event), event["occurred_at"]
                await asyncio.sleep(at / 1000 - time())
                await kafka.send(topic, encode(event), key, timestamp_ms=at)
                if topic != DEVICE_TELEMETRY and self.chance.random() < self.poison_share:
                    value = poisoned(event, self.chance)
                    poisons.append(await kafka.send(topic, value, key, timestamp_ms=at))
            places = await asyncio.gather(*poisons)
        self.poison = [(place.topic, place.partition, place.offset) for place in places]


@asynccontextmanager
async def trial(
    bootstrap: str, folder: Path, seed: int, workers: Sequence[Point | None] = (None,), broker: str = ""
) -> AsyncIterator[Trial]:
    """Give a trial with topics, and *workers* started, each to die at its point or at none."""
    chance = random.Random(seed)
    connection = Connection(bootstrap)
    app_id = f"faults-{uuid4().hex[:8]}"
    this_trial = Trial(connection, broker or bootstrap, folder, chance, app_id)
    topics = needed_topics(app_id, [kind.name for kind in KINDS], PARTITIONS)
    await create_topics(connection, topics, 1)
    await check_topics(connection, topics)
    await start_group_at_end(connection, app_id, SOURCES)
    try:
        for point in workers:
            this_trial.start(point)
        yield this_trial
    finally:
        this_trial.fleet.end_at_once()
