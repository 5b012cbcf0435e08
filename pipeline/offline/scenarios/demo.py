"""The demonstration: honest traffic and every story sent to a real worker, and what it decides watched.

The worker runs in this process, on the embedded broker or on any Kafka. What is shown is the caller's.
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
from pipeline.kafka.client import Writer, begin_at_end, following, writing
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
"""How long a worker may take to get its partitions, and to finish what it was sent."""
WINDOW_MS: Final = 20_000
"""So much of the stories' time is under way at once: it is compressed, a moment of the worker's is a minute
of theirs, and what telemetry says takes a moment to get from the device to its sessions."""
WIDE_MS: Final = 60_000
"""The same for honest traffic alone, where nothing happens within a minute."""

T = TypeVar("T")


class Audience(Protocol):
    """Who watches."""

    def decided(self, decision: Mapping[str, Any]) -> None:
        """See a decision that says something new."""

    def status(self, text: str) -> None:
        """Hear how far the demonstration is."""


class DemoError(RuntimeError):
    """The demonstration cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is played: *before* as fast as it goes, then *stories* and the rest of *now* over *seconds*."""

    before: Sequence[Timed]
    now: Sequence[Timed]
    stories: Sequence[Scenario]
    seconds: float


@dataclass(slots=True)
class Report:
    """What came of it: *events* were sent in *seconds*.

    *sent_at* says when an event was, *caused_by* which event was behind a decision, *commanded_at* when a
    decision's command first arrived; times in ms by this machine's clock. *said* has decisions and commands
    to revoke as they arrived: topic and value.
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
        """Return the ms from an event to the command it caused, ascending; a passed deadline has no event."""
        found = []
        for decision, arrived in self.commanded_at.items():
            # What a context made of an event has its id with a suffix.
            event = self.caused_by.get(decision, "").partition("~")[0]
            if event in self.sent_at:
                found.append(arrived - self.sent_at[event])
        return sorted(found)


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the value that *share* of the values do not exceed (nearest rank)."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


class _Count:
    """Counts what is awaited; *over* is set while nothing is."""

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
    """Sees when the worker is ready, and whether anything is under way to it, within it or from it."""

    def __init__(self, kinds: Sequence[ProcessorSpec], partitions: int, keys: AbstractSet[bytes]) -> None:
        self._sources = {topic for kind in kinds for topic in kind.sources}
        self._keys = keys
        self.missing = _Count()
        self.missing.add(len(kinds) * partitions)
        self.work = _Count()
        self.words = _Count()

    def ready(self, kind: str, partition: int) -> None:
        self.missing.add(-1)

    def sent(self, kind: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None:
        # Of a chunk this is told before `done` is: what follows from it is under way before it is not.
        self.work.add(sum(message.topic in self._sources for message in messages))
        self.words.add(sum(m.topic in WATCHED and m.key in self._keys for m in messages))

    def done(self, work: Work) -> None:
        self.work.add(-work.records)

    async def settled(self) -> None:
        """Return when nothing is under way any more; raises `TimeoutError`."""
        await asyncio.wait_for(self.work.over.wait(), SETTLE_SECONDS)


async def perform(edge: WorkerConfig, kinds: Sequence[ProcessorSpec], script: Script, audience: Audience) -> Report:
    """Play *script* to a worker of *kinds* at *edge*, whose topics are there, before an *audience*.

    Others may be using the same topics: only what is said of sessions and devices in *script* counts, and
    only their revocations are confirmed. Raises `DemoError` when the worker ends or stands still.
    """
    report = Report()
    keys = {_record(topic, event).key or b"" for topic, event in (*script.before, *script.now)}
    seen = _Worker(kinds, edge.partitions, keys)
    if not edge.connection.embedded:
        await begin_at_end(edge.connection, edge.app_id, [topic for kind in kinds for topic in kind.sources])
    async with (
        following(edge.connection, WATCHED) as records,
        writing(edge.connection) as writer,
        _working(edge, kinds, seen) as unless_it_ends,
    ):
        ours = (record async for record in records if record.key in keys)
        watching = asyncio.ensure_future(_watch(ours, writer, seen, report, audience))
        try:
            audience.status("the worker is joining its group")
            await unless_it_ends(asyncio.wait_for(seen.missing.over.wait(), START_SECONDS))
            await unless_it_ends(_Feed(writer, seen, report, audience).play(script))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return report


@asynccontextmanager
async def _working(
    edge: WorkerConfig, kinds: Sequence[ProcessorSpec], seen: _Worker
) -> AsyncIterator[Callable[[Coroutine[Any, Any, T]], Coroutine[Any, Any, T]]]:
    """Run a worker meanwhile; gives a function that awaits something unless the worker ends before."""
    app = build_app(edge, kinds, seen)
    worker = asyncio.ensure_future(run_until_ended(app))

    async def unless_it_ends(coro: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(coro)
        try:
            await asyncio.wait({task, worker}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise DemoError(f"the worker ended: {app.failure or app.crash_reason!r}")
            return await task
        except TimeoutError:
            raise DemoError("the worker got no partitions, or did not finish what it was sent") from None
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
    audience: Audience

    async def play(self, script: Script) -> None:
        begun = monotonic()
        await self._send(script.before, WIDE_MS, 0.0, "before the stories")
        await self._send(script.now, WINDOW_MS, script.seconds, "in the stories")
        self.report.seconds = monotonic() - begun
        await asyncio.wait_for(self.seen.words.over.wait(), SETTLE_SECONDS)
        await self.seen.settled()
        self.audience.status(f"{self.report.events:,} events sent, all of it done")

    async def _send(self, events: Sequence[Timed], window_ms: int, seconds: float, where: str) -> None:
        """Send *events*, spread over *seconds* as their times are, *window_ms* at once; see them done."""
        times = [event["occurred_at"] for _, event in events]
        pace = seconds / max(1, times[-1] - times[0]) if times else 0.0
        begun, window = monotonic(), 0
        for at, (topic, event) in zip(times, events, strict=True):
            if at > window + window_ms:
                await self.seen.settled()
                self.audience.status(f"it is {clock(at)} {where}, {self.report.events:,} events sent")
                window = at
            await asyncio.sleep(begun + (at - times[0]) * pace - monotonic())
            await self._send_one(topic, event)
        await self.writer.flush()
        await self.seen.settled()

    async def _send_one(self, topic: str, event: dict[str, Any]) -> None:
        self.report.sent_at[event["event_id"]] = time() * 1000
        self.report.events += 1
        self.seen.work.add(1)
        # With its own time a record waits for its turn among those of other topics.
        await self.writer.send(_record(topic, event), event["occurred_at"])


async def _watch(
    records: AsyncIterator[Record], writer: Writer, seen: _Worker, report: Report, audience: Audience
) -> None:
    """Take note of what is decided; be the enforcer, who confirms every revocation."""
    shown: dict[str, tuple[Any, ...]] = {}
    async for record in records:
        _note(record, report)
        if record.topic == SESSION_RISK:
            details = from_json(record.value or b"{}")
            if _is_news(details, shown):
                audience.decided(details)
        elif record.topic == SESSION_REVOCATIONS:
            seen.work.add(1)
            await writer.send(_confirmation(from_json(record.value or b"{}")))
        seen.words.add(-1)


def _note(record: Record, report: Report) -> None:
    if record.topic == DEAD_LETTERS:
        report.dead_letters += 1
        return
    value = record.value or b"{}"
    details = from_json(value)
    report.endings.take(record.topic, value)
    if record.topic in (SESSION_RISK, SESSION_REVOCATIONS):
        report.messages.append((record.topic, value))
    if record.topic == SESSION_RISK:
        report.caused_by[details["decision_id"]] = details.get("caused_by", "")
    else:
        report.commanded_at.setdefault(details["decision_id"], time() * 1000)


def _is_news(fields: Mapping[str, Any], shown: dict[str, tuple[Any, ...]]) -> bool:
    """Whether a decision says more than that the last one about its session still holds."""
    reasons = tuple(sorted(reason["detection"] for reason in fields["reasons"] if reason["contribution"] > 0))
    says = (fields["level"], fields["action"], reasons)
    before, shown[fields["session_id"]] = shown.get(fields["session_id"]), says
    return says != before


def _confirmation(revocation: Mapping[str, Any]) -> Message:
    whose = {name: revocation[name] for name in ("tenant", "revocation_id", "session_id")}
    fields = {"outcome": "revoked", "occurred_at": int(time() * 1000), "enforcer": "demo-gateway"}
    return _record(REVOCATION_ACKS, whose | fields)


def _record(topic: str, event: dict[str, Any]) -> Message:
    key = TOPICS[topic].key
    return Message(topic, None if key is None else event[key].encode(), encode(event))
