"""A piece of work of a lane: the chunks it took, what came of them, and of which time they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from pipeline.chunk import Chunk
from pipeline.stage import ChangelogRow, Message, Outcome, Record
from pipeline.times import is_time


class Delivery(Protocol):
    """What Faust delivers a chunk in."""

    value: Any
    message: Any

    def ack(self) -> bool: ...


class Run(NamedTuple):
    """Chunks of one topic that waited one behind the other: one piece of work, little dearer than one."""

    arrived: float
    topic: str
    records: list[Record]


class Piece(NamedTuple):
    """A piece of work that the stage has done: what it took, and what came of it."""

    taken: Sequence[tuple[float, Delivery]]
    runs: list[Run]
    outcomes: list[Outcome]

    @property
    def messages(self) -> list[Message]:
        """Everything to send, in order."""
        return [message for outcome in self.outcomes for message in outcome.messages]

    @property
    def rows(self) -> list[ChangelogRow]:
        """Everything to remember, in order."""
        return [row for outcome in self.outcomes for row in outcome.rows]

    def oldest_ms(self, now_ms: int) -> int | None:
        """Time of the oldest record taken, if that is one."""
        first = self.taken[0][1].value.records[0].timestamp if self.taken else 0
        return first if is_time(first, now_ms) else None

    def newest_ms(self, now_ms: int) -> int:
        """Time of the newest record taken, or now."""
        last = [delivery.value.records[-1].timestamp for _, delivery in self.taken]
        return max((one for one in last if is_time(one, now_ms)), default=now_ms)


def runs_of(taken: Sequence[tuple[float, Delivery]]) -> list[Run]:
    """The runs that were *taken*, each chunk with when it arrived."""
    runs: list[Run] = []
    for arrived, delivery in taken:
        chunk: Chunk = delivery.value
        if runs and runs[-1].topic == chunk.topic:
            runs[-1].records.extend(chunk.records)
        else:
            runs.append(Run(arrived, chunk.topic, list(chunk.records)))
    return runs
