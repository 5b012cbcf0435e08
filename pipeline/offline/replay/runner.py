"""Replay: a recording run through the processors of a worker in event-time order, in memory and without Kafka.

Records have the partitions that Kafka would give them (murmur2 of the key), so that state, guard and timers see what
they would see there. The clock is that of the recording: a decision is made when its event occurred, and the same
input gives the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from pydantic_core import from_json

from models.events.api_calls import CallsAhead, read_ahead
from pipeline.kafka.partitioner import partition_of
from pipeline.offline.replay.answers import Answers
from pipeline.offline.replay.recording import InputRecord
from pipeline.processing.processor import InMemoryRecord, Message, Outcome, Processor, ProcessorSpec
from schemas.tenancy import TENANT_HEADER
from schemas.topics import API_CALLS, AUTH_EVENTS, TOPICS

MAX_STEP_MS: Final = 10_000
"""Input is processed in steps of at most this much event time; the output of contexts follows before the next step."""
MIN_STEP_MS: Final = 1_000
"""A sign-in or passed step-up starts a new step after this time, as it may be the response to a challenge."""
IDLE_MS: Final = 10_000
"""The timer of a processor fires after this time without input, as in a worker."""
CHUNK: Final = 512


AHEAD: Final = 4096
"""So many records are read ahead, and the API calls among them decoded together: that is cheaper than step by step."""

Place = tuple[CallsAhead, int]
"""Where a call was read ahead, and its place there."""


class Arrived(NamedTuple):
    """When a record arrived, in ms, its headers, and where it was read ahead."""

    at: int
    headers: Sequence[tuple[str, bytes]] = ()
    ahead: Place | None = None


@dataclass(slots=True)
class _Step:
    """The records that are processed together, the time of the first and the latest time so far, in ms."""

    messages: list[Message] = field(default_factory=list)
    arrived: list[Arrived] = field(default_factory=list)
    start: int = 0
    now: int = 0

    def ends_before(self, record: InputRecord) -> bool:
        """Whether *record* belongs to the next step."""
        step_ms = MIN_STEP_MS if record.topic == AUTH_EVENTS else MAX_STEP_MS
        return bool(self.messages) and (record.occurred_at >= self.start + step_ms or len(self.messages) >= CHUNK)

    def add(self, record: InputRecord, key: bytes | None, ahead: Place | None) -> None:
        """Add *record* to this step; it arrives no earlier than those before."""
        if not self.messages:
            self.start = record.occurred_at
        self.now = max(self.now, record.occurred_at)
        self.messages.append(Message(record.topic, key, record.value))
        self.arrived.append(Arrived(self.now, [(TENANT_HEADER, tenant) for tenant in record.tenants], ahead))


@dataclass(slots=True)
class Replay:
    """The processors of all partitions, and the queues between them.

    Attributes:
        specs: the specifications of the processors.
        partitions: number of partitions of every topic.
        answers: answers to the challenges of the replay, None if nobody answers. None comes after the last record.
        state: the content of each changelog, by (processor, partition): key → value; empty where the processors write
            none.
    """

    specs: Sequence[ProcessorSpec]
    partitions: int = 1
    answers: Answers | None = None
    events: int = 0
    dead_letters: int = 0
    state: dict[tuple[str, int], dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    _processors: dict[tuple[str, int], Processor] = field(default_factory=dict)
    _offsets: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    _readers: dict[str, ProcessorSpec] = field(default_factory=dict)
    _last_active_at: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for spec in self.specs:
            for topic in spec.sources:
                self._readers[topic] = spec
            for partition in range(self.partitions):
                self._processors[spec.name, partition] = spec.create(partition)

    def run(self, records: Iterable[InputRecord]) -> Iterator[Message]:
        """Process *records*, which are in event-time order; yield every message sent, including internal ones."""
        step = _Step()
        for record, key, ahead in _reading_ahead(records):
            # What the step before commands may be answered before this record, and the answer be followed by more.
            following: InputRecord | None = None
            while following is not record:
                if step.ends_before(record):
                    yield from self._close(step)
                following = (self.answers and self.answers.due(record.occurred_at)) or record
                if step.ends_before(following):
                    yield from self._close(step)
                step.add(following, *((key, ahead) if following is record else (record_key(following), None)))
        if step.messages:
            yield from self._close(step)

    def _close(self, step: _Step) -> Iterator[Message]:
        messages, arrived = step.messages, step.arrived
        step.messages, step.arrived = [], []
        for message in self._settle(messages, arrived, step.now):
            if self.answers:
                self.answers.observe(message)
            yield message

    def _settle(self, window: list[Message], arrived: list[Arrived], now_ms: int) -> Iterator[Message]:
        """Deliver *window* and all messages that result from it, then fire the timers of idle processors."""
        yield from self._follow(self._deliver(window, now_ms, arrived), now_ms)
        yield from self._follow(self._fire_timers(now_ms), now_ms)

    def _follow(self, messages: list[Message], now_ms: int) -> Iterator[Message]:
        while messages:
            yield from messages
            messages = self._deliver([message for message in messages if message.topic in self._readers], now_ms)

    def _deliver(self, messages: list[Message], now_ms: int, arrived: Sequence[Arrived] | None = None) -> list[Message]:
        """Process *messages* at *now_ms*, which is also when they arrived unless *arrived* is given."""
        sent: list[Message] = []
        for topic, partition, chunk in self._chunks(messages, arrived or [Arrived(now_ms)] * len(messages)):
            task = self._readers[topic].name, partition
            outcome = self._processors[task].process(topic, chunk, now_ms)
            self._store(task, outcome, now_ms)
            self.events += outcome.events
            sent += outcome.messages
        return sent

    def _fire_timers(self, now_ms: int) -> list[Message]:
        """Fire the timer of each processor that had no input for as long as a worker would wait."""
        messages: list[Message] = []
        for task, processor in self._processors.items():
            if now_ms >= self._last_active_at.setdefault(task, now_ms) + IDLE_MS:
                outcome = processor.on_timer(now_ms)
                self._store(task, outcome, now_ms)
                messages += outcome.messages
        return messages

    def _chunks(
        self, messages: list[Message], arrived: Sequence[Arrived]
    ) -> Iterator[tuple[str, int, list[InMemoryRecord]]]:
        """Records of one topic and partition, in order, at most a chunk at a time."""
        queues: dict[tuple[str, int], list[InMemoryRecord]] = defaultdict(list)
        for (topic, key, value), (at, headers, ahead) in zip(messages, arrived, strict=True):
            partition = partition_of(key, self.partitions)
            offset = self._offsets[topic, partition]
            self._offsets[topic, partition] = offset + 1
            queues[topic, partition].append(InMemoryRecord(topic, partition, offset, at, key, value, headers, ahead))
        for (topic, partition), queue in queues.items():
            for start in range(0, len(queue), CHUNK):
                yield topic, partition, queue[start : start + CHUNK]

    def _store(self, task: tuple[str, int], outcome: Outcome, now_ms: int) -> None:
        self._last_active_at[task] = now_ms
        self.dead_letters += sum(outcome.dead_letters.values())
        stored = self.state[task]
        for key, value in outcome.rows:
            if value is None:
                stored.pop(key, None)
            else:
                stored[key] = value


def _reading_ahead(records: Iterable[InputRecord]) -> Iterator[tuple[InputRecord, bytes | None, Place | None]]:
    """Each of *records*, its key, and where it was read ahead if it is an API call."""
    source = iter(records)
    while block := list(islice(source, AHEAD)):
        keys = [record_key(record) for record in block]
        calls = [number for number, record in enumerate(block) if record.topic == API_CALLS]
        ahead = read_ahead([block[number].value for number in calls], [keys[number] for number in calls])
        places = {number: (ahead, place) for place, number in enumerate(calls)}
        for number, record in enumerate(block):
            yield record, keys[number], places.get(number)


def record_key(record: InputRecord) -> bytes | None:
    """The key that a producer would have used: the key field of the topic, None if it has none."""
    field = TOPICS[record.topic].key
    if field is None:
        return None
    return key_in(record.value, field)


def key_in(value: bytes, name: str) -> bytes | None:
    """The string field *name* of the JSON object in *value*, as bytes."""
    try:
        event = from_json(value)
    except ValueError:
        return None
    found = event.get(name) if isinstance(event, dict) else None
    return found.encode("utf-8", "replace") if isinstance(found, str) else None
