"""Demo: honest traffic and every story sent to a real worker, whose decisions are collected.

The worker runs in this process, with the embedded broker or any Kafka. The caller displays the decisions.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Final, Protocol, TypeVar

from pydantic_core import from_json

from pipeline.console import clock
from pipeline.kafka.app import WorkerConfig, build_app
from pipeline.kafka.client import Writer, follow_topics, open_writer, start_group_at_end
from pipeline.offline.scenarios.outcomes import Endings
from pipeline.offline.scenarios.playback import Timed
from pipeline.offline.scenarios.scenario import Scenario
from pipeline.processing.observer import NullObserver, Work
from pipeline.processing.processor import Message, ProcessorSpec, Record
from pipeline.worker.process import run_until_ended
from schemas.decode import encode
from schemas.topics import (
    DEAD_LETTERS,
    REVOCATION_ACKS,
    SESSION_CHALLENGES,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    TOPICS,
)

WATCHED: Final = (SESSION_RISK, SESSION_REVOCATIONS, SESSION_CHALLENGES, DEAD_LETTERS)
START_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 30.0
"""Time limits for a worker to get its partitions, and to process what it was sent."""
WINDOW_MS: Final = 20_000
"""Event time of the stories that is in flight at once. It is compressed, so a moment of the worker's time is a minute
of theirs, and a change of a device takes a moment to reach its sessions."""
WIDE_MS: Final = 60_000
"""The same for honest traffic alone, in which no detection depends on less than a minute."""

T = TypeVar("T")


class Viewer(Protocol):
    """Display of the demo."""

    def decided(self, decision: Mapping[str, Any]) -> None:
        """Show a decision with something new."""

    def status(self, text: str) -> None:
        """Show the progress of the demo."""


class DemoError(RuntimeError):
    """The demo cannot continue; the message says why."""


@dataclass(frozen=True, slots=True)
class Script:
    """Events to send: *before* as fast as possible, then *now*, which contains *stories*, over *seconds*."""

    before: Sequence[Timed]
    now: Sequence[Timed]
    stories: Sequence[Scenario]
    seconds: float


@dataclass(slots=True)
class Report:
    """Result of the demo: *events* were sent in *seconds*.

    *sent_at* has the time at which each event was sent, *caused_by* the event that caused each decision, *commanded_at*
    the first arrival of each decision's command; times in ms by this machine's clock. *messages* has decisions and
    revocations in order of arrival: topic and value.
    """

    events: int = 0
    seconds: float = 0.0
    dead_letters: int = 0
    endings: Endings = field(default_factory=Endings)
    sent_at: dict[str, float] = field(default_factory=dict)
    caused_by: dict[str, str] = field(default_factory=dict)
    commanded_at: dict[str, float] = field(default_factory=dict)
    messages: list[tuple[str, bytes]] = field(default_factory=list)

    def latencies(self) -> list[float]:
        """Return the ms from an event to the command it caused, ascending; commands after a deadline have no event."""
        found = []
        for decision, arrived in self.commanded_at.items():
            # A record that a context derives from an event has the id of the event with a suffix.
            event = self.caused_by.get(decision, "").partition("~")[0]
            if event in self.sent_at:
                found.append(arrived - self.sent_at[event])
        return sorted(found)


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the value that *share* of the values do not exceed (nearest rank)."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


class _Count:
    """Counter of outstanding work; *over* is set while it is zero."""

    def __init__(self) -> None:
        self._number = 0
        self.over = asyncio.Event()
        self.over.set()

    def add(self, number: int) -> None:
        self._number += number
        if self._number > 0:
            self.over.clear()
        else:
            self.over.set()


class _Worker(NullObserver):
    """Observer that knows when the worker is ready and whether any record is still in flight."""

    def __init__(self, specs: Sequence[ProcessorSpec], partitions: int, keys: AbstractSet[bytes]) -> None:
        self._sources = {topic for spec in specs for topic in spec.sources}
        self._keys = keys
        self.missing = _Count()
        self.missing.add(len(specs) * partitions)
        self.work = _Count()
        self.outputs = _Count()

    def ready(self, kind: str, partition: int) -> None:
        self.missing.add(-1)

    def sent(self, kind: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None:
        # `sent` is called before `done`, so the count cannot reach zero between a record and its results.
        self.work.add(sum(message.topic in self._sources for message in messages))
        self.outputs.add(sum(m.topic in WATCHED and m.key in self._keys for m in messages))

    def done(self, work: Work) -> None:
        self.work.add(-work.records)

    async def settled(self) -> None:
        """Wait until nothing is in flight; raises `TimeoutError`."""
        await asyncio.wait_for(self.work.over.wait(), SETTLE_SECONDS)


async def perform(config: WorkerConfig, specs: Sequence[ProcessorSpec], script: Script, viewer: Viewer) -> Report:
    """Play *script* to a worker with the processors *specs*, whose topics must exist; *viewer* shows progress.

    Others may use the same topics: only decisions about sessions and devices of *script* count, and only their
    revocations are acknowledged.

    Raises:
        DemoError: the worker ended, or makes no progress.
    """
    report = Report()
    keys = {_record(topic, event).key or b"" for topic, event in (*script.before, *script.now)}
    seen = _Worker(specs, config.partitions, keys)
    if not config.connection.embedded:
        await start_group_at_end(config.connection, config.app_id, [topic for spec in specs for topic in spec.sources])
    async with (
        follow_topics(config.connection, WATCHED) as records,
        open_writer(config.connection) as writer,
        _working(config, specs, seen) as unless_it_ends,
    ):
        relevant = (record async for record in records if record.key in keys)
        watching = asyncio.ensure_future(_watch(relevant, writer, seen, report, viewer))
        try:
            viewer.status("the worker is joining its group")
            await unless_it_ends(asyncio.wait_for(seen.missing.over.wait(), START_SECONDS))
            await unless_it_ends(_Feed(writer, seen, report, viewer).play(script))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return report


@asynccontextmanager
async def _working(
    config: WorkerConfig, specs: Sequence[ProcessorSpec], seen: _Worker
) -> AsyncIterator[Callable[[Coroutine[Any, Any, T]], Coroutine[Any, Any, T]]]:
    """Run a worker inside the block; yields a function that awaits a coroutine unless the worker ends first."""
    app = build_app(config, specs, seen)
    worker = asyncio.ensure_future(run_until_ended(app))

    async def unless_it_ends(coro: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(coro)
        try:
            await asyncio.wait({task, worker}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise DemoError(f"the worker ended: {app.failure or app.crash_reason!r}")
            return await task
        except TimeoutError:
            raise DemoError("the worker got no partitions, or did not process all events in time") from None
        finally:
            task.cancel()

    try:
        yield unless_it_ends
    finally:
        app.ended.set()
        await worker


@dataclass(frozen=True, slots=True)
class _Feed:
    """Sends a script to the worker."""

    writer: Writer
    seen: _Worker
    report: Report
    viewer: Viewer

    async def play(self, script: Script) -> None:
        begun = monotonic()
        await self._send(script.before, WIDE_MS, 0.0, "before the stories")
        await self._send(script.now, WINDOW_MS, script.seconds, "in the stories")
        self.report.seconds = monotonic() - begun
        await asyncio.wait_for(self.seen.outputs.over.wait(), SETTLE_SECONDS)
        await self.seen.settled()
        self.viewer.status(f"{self.report.events:,} events sent and processed")

    async def _send(self, events: Sequence[Timed], window_ms: int, seconds: float, where: str) -> None:
        """Send *events* over *seconds* in proportion to their times, *window_ms* at once; wait until processed."""
        times = [event["occurred_at"] for _, event in events]
        pace = seconds / max(1, times[-1] - times[0]) if times else 0.0
        begun, window = monotonic(), 0
        for at, (topic, event) in zip(times, events, strict=True):
            if at > window + window_ms:
                await self.seen.settled()
                self.viewer.status(f"it is {clock(at)} {where}, {self.report.events:,} events sent")
                window = at
            await asyncio.sleep(begun + (at - times[0]) * pace - monotonic())
            await self._send_one(topic, event)
        await self.writer.flush()
        await self.seen.settled()

    async def _send_one(self, topic: str, event: dict[str, Any]) -> None:
        self.report.sent_at[event["event_id"]] = time() * 1000
        self.report.events += 1
        self.seen.work.add(1)
        # With its own time, a record is ordered among those of other topics.
        await self.writer.send(_record(topic, event), event["occurred_at"])


async def _watch(records: AsyncIterator[Record], writer: Writer, seen: _Worker, report: Report, viewer: Viewer) -> None:
    """Record decisions and commands; acknowledge every revocation, as an enforcer does."""
    shown: dict[str, tuple[Any, ...]] = {}
    async for record in records:
        _note(record, report)
        if record.topic == SESSION_RISK:
            decision = from_json(record.value or b"{}")
            if _is_news(decision, shown):
                viewer.decided(decision)
        elif record.topic == SESSION_REVOCATIONS:
            seen.work.add(1)
            await writer.send(_ack(from_json(record.value or b"{}")))
        seen.outputs.add(-1)


def _note(record: Record, report: Report) -> None:
    if record.topic == DEAD_LETTERS:
        report.dead_letters += 1
        return
    value = record.value or b"{}"
    fields = from_json(value)
    report.endings.take(record.topic, value)
    if record.topic in (SESSION_RISK, SESSION_REVOCATIONS):
        report.messages.append((record.topic, value))
    if record.topic == SESSION_RISK:
        report.caused_by[fields["decision_id"]] = fields.get("caused_by", "")
    else:
        report.commanded_at.setdefault(fields["decision_id"], time() * 1000)


def _is_news(decision: Mapping[str, Any], shown: dict[str, tuple[Any, ...]]) -> bool:
    """Whether a decision differs from the previous one about its session."""
    reasons = tuple(sorted(reason["detection"] for reason in decision["reasons"] if reason["contribution"] > 0))
    content = (decision["level"], decision["action"], reasons)
    before, shown[decision["session_id"]] = shown.get(decision["session_id"]), content
    return content != before


def _ack(revocation: Mapping[str, Any]) -> Message:
    identity = {name: revocation[name] for name in ("tenant", "revocation_id", "session_id")}
    fields = {"outcome": "revoked", "occurred_at": int(time() * 1000), "enforcer": "demo-gateway"}
    return _record(REVOCATION_ACKS, identity | fields)


def _record(topic: str, event: dict[str, Any]) -> Message:
    key = TOPICS[topic].key
    return Message(topic, None if key is None else event[key].encode(), encode(event))
