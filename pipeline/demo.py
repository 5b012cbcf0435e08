"""The demonstration: honest traffic and every story sent to a real worker, and what it decides watched.

The worker runs in this process, on the embedded broker or on any Kafka. What is shown is the caller's.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Final, TypeVar

from pydantic_core import from_json

from pipeline.client import Writer, begin_at_end, following, writing
from pipeline.endings import Endings
from pipeline.observe import Unobserved, Work
from pipeline.recording import INPUT_TOPICS
from pipeline.scenarios import Scenario
from pipeline.script import Timed
from pipeline.stage import Message, Record, StageKind
from pipeline.topology import Edge, build_app
from pipeline.worker import run_until_ended
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
COMMANDS: Final = {SESSION_REVOCATIONS: "revocation_id", SESSION_CHALLENGES: "challenge_id"}
START_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 30.0
"""How long a worker may take to get its partitions, and to finish what it was sent."""

Show = Callable[[Mapping[str, Any]], None]
T = TypeVar("T")


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
    """What came of it. Times in ms by this machine's clock; *sent_at* by event id.

    *caused_by* names the event behind a decision, *commanded_at* when a decision's command first arrived.
    """

    events: int = 0
    fast_events: int = 0
    fast_seconds: float = 0.0
    dead_letters: int = 0
    endings: Endings = field(default_factory=Endings)
    sent_at: dict[str, float] = field(default_factory=dict)
    caused_by: dict[str, str] = field(default_factory=dict)
    commanded_at: dict[str, float] = field(default_factory=dict)

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


class _Worker(Unobserved):
    """Sees when the worker is ready, and what it has done."""

    def __init__(self, stages: int) -> None:
        self.done_records = 0
        self.moved_at = monotonic()
        self._missing = stages
        self.is_ready = asyncio.Event()

    def ready(self, kind: str, partition: int) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self.is_ready.set()

    def done(self, work: Work) -> None:
        if work.topic in INPUT_TOPICS:
            self.done_records += work.records
        if work.records:
            self.moved_at = monotonic()

    async def next_look(self) -> None:
        await asyncio.sleep(0.05)


async def perform(edge: Edge, kinds: Sequence[StageKind], script: Script, show: Show) -> Report:
    """Play *script* to a worker of *kinds* at *edge*, whose topics are there; *show* each decision.

    Raises `DemoError` when the worker ends or stands still.
    """
    report = Report()
    seen = _Worker(len(kinds) * edge.partitions)
    if not edge.connection.embedded:
        await begin_at_end(edge.connection, edge.app_id, [topic for kind in kinds for topic in kind.sources])
    async with (
        following(edge.connection, WATCHED) as records,
        writing(edge.connection) as writer,
        _working(edge, kinds, seen) as unless_it_ends,
    ):
        watching = asyncio.ensure_future(_watch(records, writer, report, show))
        try:
            await unless_it_ends(asyncio.wait_for(seen.is_ready.wait(), START_SECONDS))
            await unless_it_ends(_play(script, writer, seen, report))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return report


@asynccontextmanager
async def _working(
    edge: Edge, kinds: Sequence[StageKind], seen: _Worker
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


async def _play(script: Script, writer: Writer, seen: _Worker, report: Report) -> None:
    begun = monotonic()
    await _send(script.before, writer, report)
    await _until_done(seen, report)
    report.fast_events, report.fast_seconds = report.events, seen.moved_at - begun
    await _send(script.now, writer, report, script.seconds)
    await _until_done(seen, report)


async def _send(events: Sequence[Timed], writer: Writer, report: Report, seconds: float = 0.0) -> None:
    """Send *events*, spread over *seconds* as their times are."""
    if not events:
        return
    first, last = events[0][1]["occurred_at"], events[-1][1]["occurred_at"]
    pace = seconds / max(1, last - first)
    begun = monotonic()
    for number, (topic, event) in enumerate(events):
        early = begun + (event["occurred_at"] - first) * pace - monotonic()
        if early > 0 or number % 256 == 0:
            await asyncio.sleep(max(0.0, early))
        report.sent_at[event["event_id"]] = time() * 1000
        # With its own time a record waits for its turn among those of other topics.
        await writer.send(_record(topic, event), event["occurred_at"])
        report.events += 1
    await writer.flush()


async def _until_done(seen: _Worker, report: Report, quiet_s: float = 1.0) -> None:
    """Wait until the worker has done all that was sent, and what follows from it, too."""

    async def done() -> None:
        while seen.done_records < report.events or monotonic() - seen.moved_at < quiet_s:
            await seen.next_look()

    await asyncio.wait_for(done(), SETTLE_SECONDS + report.events / 500)


async def _watch(records: AsyncIterator[Record], writer: Writer, report: Report, show: Show) -> None:
    """Take note of what is decided; be the enforcer, who confirms every revocation."""
    shown: dict[str, tuple[Any, ...]] = {}
    async for record in records:
        if record.topic == DEAD_LETTERS:
            report.dead_letters += 1
            continue
        told = from_json(record.value or b"{}")
        report.endings.take(record.topic, record.value or b"{}")
        if record.topic == SESSION_RISK:
            report.caused_by[told["decision_id"]] = told.get("caused_by", "")
            if _is_news(told, shown):
                show(told)
            continue
        report.commanded_at.setdefault(told["decision_id"], time() * 1000)
        if record.topic == SESSION_REVOCATIONS:
            await writer.send(_confirmation(told))


def _is_news(told: Mapping[str, Any], shown: dict[str, tuple[Any, ...]]) -> bool:
    """Whether a decision says more than that the last one about its session still holds."""
    reasons = tuple(sorted(reason["detection"] for reason in told["reasons"] if reason["contribution"] > 0))
    says = (told["level"], told["action"], reasons)
    before, shown[told["session_id"]] = shown.get(told["session_id"]), says
    return says != before


def _confirmation(revocation: Mapping[str, Any]) -> Message:
    whose = {name: revocation[name] for name in ("tenant", "revocation_id", "session_id")}
    said = {"outcome": "revoked", "occurred_at": int(time() * 1000), "enforcer": "demo-gateway"}
    return _record(REVOCATION_ACKS, whose | said)


def _record(topic: str, event: dict[str, Any]) -> Message:
    key = TOPICS[topic].key
    return Message(topic, None if key is None else event[key].encode(), encode(event))
