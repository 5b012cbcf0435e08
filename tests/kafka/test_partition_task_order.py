"""A task and the model of the write order agree: whatever one does under any schedule, the other can do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from time import monotonic
from typing import cast

from aiokafka import TopicPartition

from pipeline.kafka.changelog import Changelog
from pipeline.kafka.chunk import Chunk
from pipeline.kafka.fencing import Lease
from pipeline.kafka.partition_tasks import PartitionTask, TaskResources
from pipeline.kafka.producer import BatchWriter
from pipeline.processing.observer import NullObserver
from pipeline.processing.processor import ChangelogRow, Message, Outcome, Record
from tests.support.write_order import CHUNKS, END, NOTHING, SESSIONS, START, Protocol, State, fold, steps

MODEL = Protocol(late_rows=True)


class Broker(NullObserver):
    """A processor that folds as the model does, and an writer whose writes arrive after turns drawn by a seed."""

    def __init__(self, seed: int) -> None:
        self.log: list[str] = ["old takes over, reads a=– b=–, goes on at chunk 1"]
        self.lease = Lease(60.0)
        self.lease.grant(1)
        slots = asyncio.Semaphore((1, 2, 8)[seed % 3])
        self.resources = TaskResources(cast("BatchWriter", self), slots, 8, self, self._failed)
        self._rng = Random(seed)  # noqa: S311 - a schedule, not a secret
        self._memory = NOTHING

    def task(self) -> PartitionTask:
        changelog = Changelog(self, TopicPartition("changelog", 0), self.lease, 1, 0)  # type: ignore[arg-type]
        return PartitionTask("kind", 0, self, changelog, self.resources)  # type: ignore[arg-type]

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        first, last = records[0].offset, records[-1].offset
        self.log.append(f"old works on chunk{'' if first == last else 's'} {first}" + f" to {last}" * (first < last))
        outcome, touched = Outcome(), set()
        for record in records:
            self._memory, commands, changed = fold(self._memory, record.offset)
            outcome.messages += [Message("out", None, command.encode()) for command in commands]
            touched |= set(changed)
        outcome.rows = [(SESSIONS[n].encode(), self._memory[n].encode()) for n in sorted(touched)]
        return outcome

    async def send(self, messages: Sequence[Message], timestamp_ms: int | None) -> Awaitable[object]:
        return asyncio.gather(*(self._arrive(f"old commands {message.value.decode()}") for message in messages))

    async def append(
        self, topic: str, partition: int, rows: Iterable[ChangelogRow], confirm: Callable[[], Awaitable[None]]
    ) -> int:
        named = [f"{key.decode()}={(value or b'').decode()}" for key, value in rows]
        for row in named:
            await confirm()
            self.log.append(f"old hands over row {row}")
        for row in named:
            await self._arrive(f"row {row} of old reaches the changelog")
        return 0

    async def _arrive(self, what: str) -> None:
        await self.some_turns()
        self.log.append(what)

    async def some_turns(self) -> None:
        for _ in range(self._rng.choice((0, 1, 2, 5, 20))):
            await asyncio.sleep(0)

    def lose(self) -> None:
        if self._rng.random() < 0.5:
            self.log.append("new takes over")
            self.lease.end()

    def _failed(self, error: BaseException) -> None:
        raise error


class Given:
    """A chunk of one record, as Faust delivers it; whoever acknowledges it commits."""

    def __init__(self, broker: Broker, chunk: int) -> None:
        record = type("Record", (), {"offset": chunk, "timestamp": 0})()
        self.value = Chunk("in", 0, [record])
        self.message = type("Message", (), {"generation_id": 1})
        self._broker = broker
        self._chunk = chunk

    def ack(self) -> bool:
        # A task acknowledges what went together chunk by chunk; the model commits it at once.
        if not self._broker.log[-1].startswith("old commits"):
            self._broker.log.append("")
        self._broker.log[-1] = f"old commits up to chunk {self._chunk}"
        return True


async def _run(seed: int) -> list[str]:
    """What a task did with all chunks, while the partition was perhaps lost in the midst."""
    broker = Broker(seed)
    task = broker.task()
    task.start()
    losing = Random(seed).randrange(2 * len(CHUNKS))  # noqa: S311 - as above
    for chunk in range(1, END):
        await task.put(Given(broker, chunk))
        await broker.some_turns()
        if chunk == losing:
            broker.lose()
    await task.close(monotonic() + 5)
    return broker.log


def _followed(log: Sequence[str]) -> Sequence[str]:
    """The entries of *log* up to the first that the model cannot follow by any way."""
    states: set[State] = {START}
    for number, entry in enumerate(log):
        states = {after for s in states for what, after in steps(MODEL, s) if what.startswith(entry)}
        if not states:
            return log[:number]
    return log


def _accepted(log: Sequence[str]) -> Sequence[str]:
    """*log* without the commits that the coordinator refuses, as the partition is another's by then."""
    lost = log.index("new takes over") if "new takes over" in log else len(log)
    return [entry for n, entry in enumerate(log) if n < lost or not entry.startswith("old commits")]


def test_whatever_a_lane_does_the_model_can_do() -> None:
    logs = [_accepted(asyncio.run(_run(seed))) for seed in range(300)]

    assert [_followed(log) for log in logs] == logs
    assert len({tuple(log) for log in logs}) > 100
    assert {("old commits up to chunk 3" in log, "new takes over" in log) for log in logs} >= {
        (True, False),
        (False, True),
    }
