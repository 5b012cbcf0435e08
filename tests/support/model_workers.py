"""Workers of one group on Apache Kafka, with models of their own: what they are ordered, sent, and say.

The topics may hold what others sent: each fleet has its own group and models and begins at their ends, and
each story has its own sessions.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiokafka
from aiokafka import TopicPartition
from click.testing import CliRunner

from models.artefacts import CARD, SHIPPED, load, save
from models.artefacts import ROLES as ROLES_FILE
from pipeline.assembly import processor_specs
from pipeline.cli import main
from pipeline.control.active import ActiveConfig
from pipeline.kafka.client import Writer, open_writer, read_retained, start_group_at_end
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import TopicsNotReadyError, check_topics, create_topics, needed_topics
from pipeline.offline.scenarios.playback import Timed, in_order
from pipeline.processing.processor import Message, Record
from pipeline.sessions.processor import Options
from schemas.decode import encode, record_key
from schemas.topics import SESSION_FEATURES
from tests.support.waiting import PATIENCE, until
from tests.support.worker_process import Worker

PARTITIONS = 8
PLACES = set(range(PARTITIONS))
KINDS = processor_specs(ActiveConfig(), Options())
SOURCES = [topic for kind in KINDS for topic in kind.sources]
EVERYWHERE = [TopicPartition(topic, partition) for topic in SOURCES for partition in range(PARTITIONS)]
CALM, ODD = 1e9, -1e9
"""Where a model's scale begins, so that nothing is odd to it, or everything."""
DEFAULT = SHIPPED / "default"


def now() -> int:
    """The wall clock, ms."""
    return int(time.time() * 1000)


def put(target: Path, odd_from: float, files: Mapping[str, bytes] | None = None) -> str:
    """Put the default model into *target*, with what is odd on another scale; returns the model's id.

    *files* go with it: roles and a reference, if any.
    """
    detector = load(DEFAULT)
    changed = replace(detector, name=target.name, knots=detector.knots + odd_from, second=None, second_knots=None)
    card = json.loads((DEFAULT / CARD).read_text(encoding="utf-8"))
    card.setdefault("metrics", {"on": "a held-out day", "auc": 0.75})
    kept = {name: card[name] for name in ("data", "fit", "thresholds", "metrics", "roles") if name in card}
    save(changed, target, kept, files)
    return changed.id


def its_roles() -> dict[str, bytes]:
    """The roles of the default model, for `put`."""
    return {ROLES_FILE: (DEFAULT / ROLES_FILE).read_bytes()}


class Fleet:
    """Workers of one group; the model *calm* decides unless another is ordered to."""

    def __init__(self, folder: Path, policy: str, **settings: str) -> None:
        self.folder = folder
        self.connection = Connection(os.environ["SESSION_RISK_BROKER"])
        self.name = uuid4().hex[:8]
        self.models = folder / "models"
        self.calm = f"calm-{self.name}"
        self.calm_id = put(self.models / self.calm, CALM, its_roles())
        (folder / "policy.toml").write_text(f"{policy}\n", encoding="utf-8")
        self.settings = _named(
            {
                "broker": self.connection.bootstrap,
                "app_id": f"models-{self.name}",
                "partitions": str(PARTITIONS),
                "model_dir": str(self.models),
                "model": self.calm,
                "policy_file": str(folder / "policy.toml"),
                "session_timeout_s": "60",
                **settings,
            }
        )
        self.workers: list[Worker] = []
        self.begun = 0
        self._ordered: set[str] = set()
        self._ends: dict[TopicPartition, int] = {}

    def begin(self, workers: Sequence[Mapping[str, str]] = ({},), before: Iterable[Timed] = ()) -> None:
        """Make the topics, and start *workers*, each with settings of its own, that share the partitions.

        They read what comes from now on, not what came *before*.
        """
        until("topics", self._lacking, lambda lacking: lacking == "")
        asyncio.run(self._prepare(before))
        for number, settings in enumerate(workers):
            own = _named({"data_dir": str(self.folder / f"data-{number}"), **settings})
            self.workers.append(Worker({**self.settings, **own}, self.folder / f"worker-{number}.log"))
        until(
            f"{len(workers)} workers that share {PARTITIONS} partitions",
            lambda: [worker.partitions() for worker in self.workers],
            lambda held: all(held) and sorted(part for numbers in held for part in numbers) == sorted(PLACES),
        )

    def _lacking(self) -> str:
        """Make what topics there are not; returns what is wrong with them still.

        A busy broker tells of a new topic a moment after it is made.
        """
        app_id = self.settings["SESSION_RISK_APP_ID"]
        needed = needed_topics(app_id, [kind.name for kind in KINDS], PARTITIONS)

        async def make() -> None:
            await create_topics(self.connection, needed, 1)
            await check_topics(self.connection, needed)

        try:
            asyncio.run(make())
        except TopicsNotReadyError as error:
            return str(error)
        return ""

    async def _prepare(self, before: Iterable[Timed]) -> None:
        app_id = self.settings["SESSION_RISK_APP_ID"]
        async with open_writer(self.connection) as writer:
            await send(writer, before)
        self.begun = now() + 1
        await start_group_at_end(self.connection, app_id, SOURCES)
        async with _reader(self.connection) as reader:
            self._ends = await reader.end_offsets(EVERYWHERE)

    def order(self, *words: str) -> str:
        """Have `session-risk` do something; returns what it says."""
        done = CliRunner().invoke(main, words, env=self.settings)
        assert done.exit_code == 0, done.output
        if words[0] in ("promote", "shadow"):
            self._ordered.add(words[1])
        return done.output

    def take_back(self) -> None:
        """Retire every model that was ordered: nobody shall follow that later."""
        for name in sorted(self._ordered):
            self.order("model", "retire", name)
        self._ordered.clear()
        self.run_by({self.calm_id: "champion"})

    def run_by(self, models: dict[str, str], workers: Sequence[Worker] | None = None) -> None:
        """Return when all *workers*, else all there are, tell that they run by these *models*."""
        workers_read = self.workers if workers is None else workers
        until(
            f"workers that run by {models}",
            lambda: [worker.models() for worker in workers_read],
            lambda seen: all(by_key == models for by_key in seen),
        )

    def play(self, *steps: Iterable[Timed]) -> None:
        """Send *steps*, the next when what the one before led to is done; return when all is."""

        async def one_by_one() -> None:
            async with open_writer(self.connection) as writer, _reader(self.connection) as reader:
                for step in steps:
                    await send(writer, step)
                    await self._settled(reader)

        asyncio.run(one_by_one())

    def settle(self) -> None:
        """Return when all that was sent, and all it led to, is done."""
        self.play(())

    async def _settled(self, reader: Any) -> None:
        # A record's own messages are written before it counts as done: what follows is never overlooked.
        deadline = time.monotonic() + PATIENCE
        while (done := sum(worker.done() for worker in self.workers)) != (sent := await self._sent(reader)):
            assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s; of {sent} records {done} are done"
            await asyncio.sleep(0.02)

    async def _sent(self, reader: Any) -> int:
        ends = await reader.end_offsets(EVERYWHERE)
        return sum(end - self._ends[place] for place, end in ends.items())

    def output(self, suffix: str, *topics: str) -> list[Record]:
        """What was said on *topics* of the sessions whose ids end in *suffix*."""

        async def records() -> list[Record]:
            return [record async for record in read_retained(self.connection, topics, self.begun)]

        return [record for record in asyncio.run(records()) if (record.key or b"").endswith(suffix.encode())]

    def received(self, suffix: str, topic: str) -> list[dict[str, Any]]:
        """The same of one topic, read."""
        return [json.loads(record.value or b"") for record in self.output(suffix, topic)]

    def models_in_turn(self, suffix: str) -> dict[int, list[str]]:
        """Which models scored sessions of *suffix* in each partition, one after the other."""
        lanes: dict[int, list[str]] = defaultdict(list)
        for record in sorted(
            self.output(suffix, SESSION_FEATURES),
            key=lambda this_record: (this_record.partition, this_record.offset),
        ):
            lanes[record.partition].append(json.loads(record.value or b"")["model"])
        return {partition: [model for model, _ in groupby(models)] for partition, models in lanes.items()}

    def end(self) -> list[int]:
        """Have the workers stop in order; returns their exit codes."""
        return [worker.end() for worker in self.workers]

    def kill(self) -> None:
        """Leave no worker behind."""
        for worker in self.workers:
            worker.kill()


def ended_in_order(fleet: Fleet) -> Iterator[Fleet]:
    """Lend *fleet*; when it comes back its workers must stop in order."""
    try:
        yield fleet
        assert set(fleet.end()) == {0}
    finally:
        fleet.kill()


async def send(writer: Writer, events: Iterable[Timed]) -> None:
    """Send *events*; return when the broker has them."""
    for topic, event in events:
        await writer.send(Message(topic, record_key(topic, event), encode(event)))
    await writer.flush()


@asynccontextmanager
async def _reader(connection: Connection) -> AsyncIterator[Any]:
    """Give a consumer that fetches nothing: behind a fetch that waits, a question for offsets would wait."""
    async with aiokafka.AIOKafkaConsumer(**connection.for_aiokafka()) as reader:
        yield reader


def _named(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"SESSION_RISK_{name.upper()}": value for name, value in settings.items()}


def apart(events: Iterable[Timed], window_ms: int) -> Iterator[list[Timed]]:
    """*events*, in order, as steps of so much event time."""
    for _, step in groupby(in_order(events), lambda timed: timed[1]["occurred_at"] // window_ms):
        yield list(step)
