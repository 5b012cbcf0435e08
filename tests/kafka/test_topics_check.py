"""Looking for topics: those just made may take a moment to be known; what stays missing is told by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline.kafka import topics
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import NeededTopic, TopicsNotReadyError, check_topics

NEEDED = [NeededTopic("calls", 2, {}), NeededTopic("risk", 2, {})]
UNKNOWN = 3
"""UNKNOWN_TOPIC_OR_PARTITION."""


class Brokers:
    """Answer as if they heard of one topic more each time they are asked."""

    def __init__(self, known: int) -> None:
        self.known = known
        self.asked = 0

    async def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        self.asked += 1
        self.known += 1
        return [
            {"topic": name, "partitions": [0, 1], "error_code": 0 if at < self.known else UNKNOWN}
            for at, name in enumerate(names)
        ]


def _asked(monkeypatch: pytest.MonkeyPatch, brokers: Brokers, patience_s: float) -> None:
    @asynccontextmanager
    async def admin(_: Connection) -> AsyncIterator[Brokers]:
        yield brokers

    monkeypatch.setattr(topics, "_admin", admin)
    monkeypatch.setattr(topics, "RETRY_SECONDS", 0.0)
    asyncio.run(check_topics(Connection("127.0.0.1:1"), NEEDED, patience_s))


def test_topics_that_were_just_made_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(known=-3)

    _asked(monkeypatch, brokers, 30.0)

    assert brokers.asked == 5


def test_without_patience_what_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(known=0)

    with pytest.raises(TopicsNotReadyError, match="has no topic risk; make what is missing"):
        _asked(monkeypatch, brokers, 0.0)

    assert brokers.asked == 1
