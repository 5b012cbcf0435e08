"""The same stages without Kafka: a recording goes through them in event-time order, everything in memory.

Partitions are kept as Kafka would (murmur2 of the key), so that state, guard and sweeps see what they would
see there. The clock is the recording's own: a decision is made when its event happened, and the same input
gives the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pydantic_core import from_json

from pipeline.kafka.partitioner import partition_of
from pipeline.offline.replay.recording import InputRecord
from pipeline.processing.processor import InMemoryRecord, Message, Outcome, Processor, ProcessorSpec
from schemas.tenancy import TENANT_HEADER
from schemas.topics import AUTH_EVENTS, TOPICS

LONGEST_MS: Final = 10_000
"""Input is taken in steps of at most so much event time; contexts answer before the next step."""
SHORTEST_MS: Final = 1_000
"""A sign-in or passed step-up begins a new step, if the last is this long: nobody answers unasked."""
IDLE_MS: Final = 10_000
"""A stage that read nothing for so long is swept, as a worker does."""
CHUNK: Final = 512


class Arrived(NamedTuple):
    """When a record came, in ms, and with which headers."""

    at: int
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(slots=True)
class Replay:
    """The stages of all partitions, and the queues between them.

    Attributes:
        kinds: what stages there are.
        partitions: how many partitions every topic has.
        state: the changelog as it would stand, by (stage, partition): key → value.
    """

    kinds: Sequence[ProcessorSpec]
    partitions: int = 1
    events: int = 0
    dead_letters: int = 0
    state: dict[tuple[str, int], dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    _stages: dict[tuple[str, int], Processor] = field(default_factory=dict)
    _offsets: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    _readers: dict[str, ProcessorSpec] = field(default_factory=dict)
    _busy_at: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in self.kinds:
            for topic in kind.sources:
                self._readers[topic] = kind
            for partition in range(self.partitions):
                self._stages[kind.name, partition] = kind.create(partition)

    def run(self, records: Iterable[InputRecord]) -> Iterator[Message]:
        """Play *records*, in event-time order; yield every message that leaves, internal ones too."""
        window: list[Message] = []
        arrived: list[Arrived] = []
        start = now = 0
        for record in records:
            longest = SHORTEST_MS if record.topic == AUTH_EVENTS else LONGEST_MS
            if window and (record.occurred_at >= start + longest or len(window) >= CHUNK):
                yield from self._settle(window, arrived, now)
                window, arrived = [], []
            if not window:
                start = record.occurred_at
            now = max(now, record.occurred_at)
            window.append(Message(record.topic, record_key(record), record.value))
            arrived.append(Arrived(now, [(TENANT_HEADER, tenant) for tenant in record.tenants]))
        if window:
            yield from self._settle(window, arrived, now)

    def _settle(self, window: list[Message], arrived: list[Arrived], now_ms: int) -> Iterator[Message]:
        """Deliver *window* and all that follows from it, until nothing follows; the same for idle time."""
        yield from self._follow(self._deliver(window, now_ms, arrived), now_ms)
        yield from self._follow(self._sweep(now_ms), now_ms)

    def _follow(self, messages: list[Message], now_ms: int) -> Iterator[Message]:
        while messages:
            yield from messages
            messages = self._deliver([message for message in messages if message.topic in self._readers], now_ms)

    def _deliver(self, messages: list[Message], now_ms: int, arrived: Sequence[Arrived] | None = None) -> list[Message]:
        """Hand *messages* to their readers at *now_ms*; they *arrived* then, unless it is said otherwise."""
        sent_messages: list[Message] = []
        for topic, partition, chunk in self._chunks(messages, arrived or [Arrived(now_ms)] * len(messages)):
            place = self._readers[topic].name, partition
            outcome = self._stages[place].process(topic, chunk, now_ms)
            self._keep(place, outcome, now_ms)
            self.events += outcome.events
            sent_messages += outcome.messages
        return sent_messages

    def _sweep(self, now_ms: int) -> list[Message]:
        """Let time pass where nothing happened for as long as a worker would wait."""
        messages: list[Message] = []
        for place, stage in self._stages.items():
            if now_ms >= self._busy_at.setdefault(place, now_ms) + IDLE_MS:
                outcome = stage.on_timer(now_ms)
                self._keep(place, outcome, now_ms)
                messages += outcome.messages
        return messages

    def _chunks(
        self, messages: list[Message], arrived: Sequence[Arrived]
    ) -> Iterator[tuple[str, int, list[InMemoryRecord]]]:
        """Runs of one topic and partition, in order, at most a chunk long."""
        lanes: dict[tuple[str, int], list[InMemoryRecord]] = defaultdict(list)
        for (topic, key, value), (at, headers) in zip(messages, arrived, strict=True):
            partition = partition_of(key, self.partitions)
            offset = self._offsets[topic, partition]
            self._offsets[topic, partition] = offset + 1
            lanes[topic, partition].append(InMemoryRecord(topic, partition, offset, at, key, value, headers))
        for (topic, partition), lane in lanes.items():
            for at in range(0, len(lane), CHUNK):
                yield topic, partition, lane[at : at + CHUNK]

    def _keep(self, place: tuple[str, int], outcome: Outcome, now_ms: int) -> None:
        self._busy_at[place] = now_ms
        self.dead_letters += sum(outcome.dead_letters.values())
        held = self.state[place]
        for key, value in outcome.rows:
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value


def record_key(record: InputRecord) -> bytes | None:
    """The key a producer would have used: the member its topic is keyed by, ``None`` where there is none."""
    member = TOPICS[record.topic].key
    if member is None:
        return None
    return key_in(record.value, member)


def key_in(value: bytes, member: str) -> bytes | None:
    """The string *member* of the JSON object in *value*, as bytes."""
    try:
        event = from_json(value)
    except ValueError:
        return None
    found = event.get(member) if isinstance(event, dict) else None
    return found.encode("utf-8", "replace") if isinstance(found, str) else None
