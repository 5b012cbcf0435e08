"""Observer: the protocol by which the Kafka layer reports its work, and an observer that ignores all reports.

No metric is named here; `pipeline.metrics.worker` decides what an observation is counted as.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pipeline.processing.processor import Message, Outcome


class Work(NamedTuple):
    """A chunk that is done: messages and rows are acknowledged. A timer call comes without topic and records."""

    processor_name: str
    partition: int
    topic: str | None
    records: int
    seconds: float
    outcome: Outcome


class Observer(Protocol):
    """Receives reports of everything the Kafka layer does; its methods must be quick and must not raise."""

    def done(self, work: Work) -> None:
        """A chunk or a timer call is done; *work.seconds* is the time from its arrival to its acknowledgement."""

    def sent(self, processor_name: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None:
        """The brokers acknowledged *messages* at *acked_ms*; the newest record that caused them is of *newest_ms*."""

    def lag(self, topic: str, partition: int, seconds: float) -> None:
        """The last record applied is *seconds* old; 0 when there is nothing left to read."""

    def restoring(self, processor_name: str, partition: int, rows: int) -> None:
        """So many more changelog *rows* of a partition are restored; 0 says that restoring starts."""

    def ready(self, processor_name: str, partition: int) -> None:
        """The partition's state is restored; its records follow."""

    def closed(self, processor_name: str, partition: int) -> None:
        """This worker gave the partition up and dropped its state."""

    def loop_turned(self) -> None:
        """The event loop is running; called about once a second as long as it is."""


class NullObserver:
    """The observer that does nothing."""

    def done(self, work: Work) -> None: ...

    def sent(self, processor_name: str, messages: Sequence[Message], newest_ms: int, acked_ms: int) -> None: ...

    def lag(self, topic: str, partition: int, seconds: float) -> None: ...

    def restoring(self, processor_name: str, partition: int, rows: int) -> None: ...

    def ready(self, processor_name: str, partition: int) -> None: ...

    def closed(self, processor_name: str, partition: int) -> None: ...

    def loop_turned(self) -> None: ...
