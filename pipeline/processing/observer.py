"""What the edge lets others see of its work: one protocol, and the observer that looks away.

No metric is named here; `pipeline.metrics.worker` decides what an observation becomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pipeline.processing.processor import Message, Outcome


class Work(NamedTuple):
    """A chunk that is done: produced, written, acknowledged; or a sweep, without topic and records."""

    kind: str
    partition: int
    topic: str | None
    records: int
    seconds: float
    outcome: Outcome


class Observer(Protocol):
    """Told about everything the edge does; its methods must be quick and must not raise."""

    def done(self, work: Work) -> None:
        """A chunk or a sweep is done; *work.seconds* is from its arrival to its acknowledgement."""

    def sent(self, kind: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None:
        """The broker has *messages*; the newest record that caused them is of *newest_ms*."""

    def lag(self, topic: str, partition: int, seconds: float) -> None:
        """The last record applied is *seconds* old; 0 when there is nothing left to read."""

    def restoring(self, kind: str, partition: int, rows: int) -> None:
        """Another *rows* changelog rows of a partition are restored; 0 says that restoring starts."""

    def ready(self, kind: str, partition: int) -> None:
        """The partition's state is complete; its records follow."""

    def closed(self, kind: str, partition: int) -> None:
        """The partition belongs to this worker no longer; its state is dropped."""

    def loop_turned(self) -> None:
        """The event loop has turned; called about once a second as long as it does."""


class NullObserver:
    """The observer that does nothing."""

    def done(self, work: Work) -> None: ...

    def sent(self, kind: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None: ...

    def lag(self, topic: str, partition: int, seconds: float) -> None: ...

    def restoring(self, kind: str, partition: int, rows: int) -> None: ...

    def ready(self, kind: str, partition: int) -> None: ...

    def closed(self, kind: str, partition: int) -> None: ...

    def loop_turned(self) -> None: ...
