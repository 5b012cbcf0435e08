"""Builder of a chunk's outcome: collects messages, counts and dead letters while the chunk is processed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.processing.processor import Message, Record
from schemas.decode import encode
from schemas.decoded import Decoded
from schemas.refusal import dead_letter, reason_kind
from schemas.topics import DEAD_LETTERS


class OutcomeBuilder:
    """Collects what a processor's outcome is made of.

    *now_ms* is the wall clock of the chunk, *topic* the topic it came from.
    """

    def __init__(self, now_ms: int, topic: str = "") -> None:
        self.now_ms = now_ms
        self.messages: list[Message] = []
        self.dead_letters: Counter[str] = Counter()
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.times: list[tuple[str, float]] = []
        self.events = 0
        self._topic = topic

    def count(self, metric: str, *labels: str, by: int = 1) -> None:
        """Count *by* on the metric of :mod:`pipeline.metrics.worker` whose attribute is *metric*."""
        if by:
            self.counts[metric, *labels] += by

    def time(self, metric: str, seconds: float) -> None:
        """Record how long something took, for the histogram whose attribute is *metric*."""
        self.times.append((metric, seconds))

    def count_events(self, metric: str, by: int) -> None:
        """Count events on a metric that is labelled by topic."""
        self.count(metric, self._topic, by=by)

    def send(self, message: Message) -> None:
        """Produce *message* before any row is written."""
        self.messages.append(message)

    def count_decoded(self, decoded: Decoded[Any], records: Sequence[Record]) -> None:
        """Count the events *decoded* from *records* and their repaired fields; rejected records become dead letters."""
        self.events = len(decoded.events)
        for rejected in decoded.rejected:
            self.reject(records[rejected.index], rejected.reason)
        for repair in decoded.repaired:
            for member in repair.fields:
                self.count("repaired_fields", self._topic, member)

    def reject(self, record: Record, reason: str) -> None:
        """Send a record that could not be decoded to the dead letters."""
        letter = dead_letter(
            record.topic, record.partition, record.offset, record.key, record.value, reason, self.now_ms
        )
        self.send(Message(DEAD_LETTERS, record.key, encode(letter)))
        self.dead_letters[reason_kind(reason)] += 1
