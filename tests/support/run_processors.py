"""A stage with nobody around it, and all stages together: events in, everything that is said comes out."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from models.detectors.base import Detector, NoDetector
from models.events.columns import Columns
from models.roles.roles import Roles
from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.decisions.engine import PolicyEngine
from pipeline.decisions.policy import Policy, parse_policy
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import Replay
from pipeline.processing.processor import Message, Outcome, Processor
from pipeline.sessions.processor import Options, SessionProcessor
from pipeline.sessions.state_store import LAYOUT_RECORD
from schemas import topics
from schemas.decode import encode, record_key
from tests.support.samples import T0

Event = dict[str, Any]
DAY = 86_400_000
NOW = T0 + 2 * DAY
"""The wall clock of whoever does not say otherwise: later than every event."""


class Rec(NamedTuple):
    """A record as a stage reads it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class SentMessage(NamedTuple):
    """A message that left a stage, read again."""

    topic: str
    key: str
    body: Event


TOPIC_OF = {
    "auth.event": topics.AUTH_EVENTS,
    "api.call": topics.API_CALLS,
    "device.telemetry": topics.DEVICE_TELEMETRY,
    "session.context": topics.SESSION_CONTEXT,
    "session.binding": topics.SESSION_BINDINGS,
    "principal.activity": topics.PRINCIPAL_ACTIVITY,
    "network.activity": topics.NETWORK_ACTIVITY,
}


def topic_of(event: Event) -> str:
    """The topic an event flows on."""
    if "verdict" in event:
        return topics.SESSION_FEEDBACK
    return topics.REVOCATION_ACKS if "outcome" in event else TOPIC_OF[event["type"]]


def record(event: Event, offset: int) -> Rec:
    """The event as it lies in Kafka."""
    topic = topic_of(event)
    return Rec(topic, 0, offset, event["occurred_at"], record_key(topic, event), encode(event))


def read(messages: Iterable[Message]) -> list[SentMessage]:
    """Messages as plain values."""
    return [SentMessage(m.topic, (m.key or b"").decode(), json.loads(m.value)) for m in messages]


def of(output: Iterable[SentMessage], topic: str, session_id: str | None = None) -> list[Event]:
    """What was said on *topic*, perhaps only under the key of a session."""
    return [
        sent_message.body
        for sent_message in output
        if sent_message.topic == topic and session_id in (None, sent_message.key)
    ]


def chunks(events: list[Event], cuts: set[int]) -> list[list[Event]]:
    """Events as they arrive, in chunks of one topic that end at *cuts* and wherever the topic changes."""
    keyed = enumerate(events)
    return [
        [event for _, event in group]
        for _, group in groupby(keyed, lambda pair: (topic_of(pair[1]), sum(cut <= pair[0] for cut in cuts)))
    ]


def by_key(output: list[SentMessage]) -> dict[tuple[str, str], list[Event]]:
    """What was said under each key of each topic, in order: all that Kafka keeps."""
    by_key_read: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for topic, key, body in output:
        by_key_read[topic, key].append(body if topic != topics.DEAD_LETTERS else {**body, "offset": 0})
    return dict(by_key_read)


class Player:
    """Plays events to one stage of one partition and keeps what it says and writes."""

    def __init__(self, stage: Processor) -> None:
        self.stage = stage
        self.offsets: Counter[str] = Counter()
        self.messages: list[Message] = []
        self.rows: dict[bytes, bytes] = {}
        self.layouts: dict[bytes, bytes | None] = {}
        """Layout records, which are in the changelog beside the rows."""
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.dead: Counter[str] = Counter()

    def play(self, *events: Event, now: int = NOW) -> list[SentMessage]:
        """One chunk of events of one topic."""
        topic = topic_of(events[0])
        records = [record(event, self.offsets[topic] + index) for index, event in enumerate(events)]
        self.offsets[topic] += len(events)
        return self.take(topic, records, now)

    def each(self, *events: Event, now: int = NOW) -> list[SentMessage]:
        """Every event as a chunk of its own."""
        return [sent_message for event in events for sent_message in self.play(event, now=now)]

    def take(self, topic: str, records: Sequence[Rec], now: int = NOW) -> list[SentMessage]:
        """Records as they are, one chunk."""
        return self._keep(self.stage.process(topic, records, now))

    def sweep(self, now: int) -> list[SentMessage]:
        """What the passing of time gives."""
        return self._keep(self.stage.on_timer(now))

    def _keep(self, outcome: Outcome) -> list[SentMessage]:
        self.messages += outcome.messages
        for key, value in outcome.rows:
            if key.startswith(LAYOUT_RECORD):
                self.layouts[key] = value
            elif value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        self.counts.update(outcome.counts)
        self.dead.update(outcome.dead_letters)
        return read(outcome.messages)

    def output(self, topic: str, session_id: str | None = None) -> list[Event]:
        """Everything said so far on *topic*."""
        return of(read(self.messages), topic, session_id)


class Desk(Player):
    """A session scorer alone; contexts are whatever a test says they are."""

    scorer: SessionProcessor

    def __init__(
        self, policy: Policy | str = "", detector: Detector | None = None, options: Options | None = None
    ) -> None:
        policy = parse_policy(policy) if isinstance(policy, str) else policy
        self.active = ActiveConfig(PolicyEngine(policy), detector or NoDetector())
        self.options = options or Options()
        self.scorer = SessionProcessor(self.active, Columns(bytes(16)), self.options)
        super().__init__(self.scorer)

    def restarted(self) -> Desk:
        """Another worker that takes over from the changelog."""
        other = Desk(self.active.engine.policy, self.active.detector, self.options)
        other.scorer.restore([*self.layouts.items(), *self.rows.items()])
        other.scorer.on_restored()
        other.offsets, other.rows = self.offsets.copy(), dict(self.rows)
        return other

    def revoked(self, session_id: str | None = None) -> list[str]:
        """The revocation ids commanded so far, as often as they were sent."""
        return [event["revocation_id"] for event in self.output(topics.SESSION_REVOCATIONS, session_id)]


def replayed(
    events: Iterable[Event],
    policy: Policy | str = "",
    partitions: int = 1,
    options: Options | None = None,
    roles: Roles | None = None,
) -> list[SentMessage]:
    """All stages together, as a recording is replayed; *events* in order of time."""
    policy = parse_policy(policy) if isinstance(policy, str) else policy
    options = options or Options(partitions=partitions)
    replay = Replay(processor_specs(ActiveConfig(PolicyEngine(policy), roles=roles), options), partitions)
    return read(replay.run(recorded(events)))


def recorded(events: Iterable[Event]) -> list[InputRecord]:
    """Events as the lines of a recording."""
    ordered = sorted(events, key=lambda event: int(event["occurred_at"]))
    return [
        InputRecord(topic_of(event), line, encode(event), event["occurred_at"])
        for line, event in enumerate(ordered, start=1)
    ]


def found(output: Iterable[SentMessage], session_id: str | None = None) -> set[str]:
    """Every detection that ever counted against a session."""
    return {
        reason["detection"]
        for risk in of(output, topics.SESSION_RISK, session_id)
        for reason in risk["reasons"]
        if reason["contribution"] > 0
    }
