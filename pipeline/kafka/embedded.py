"""Embedded broker: a Kafka broker inside this process for demos and tests, librdkafka's mock cluster.

It holds all records in memory until it is closed, gives every topic four partitions and compacts nothing. Production
needs Apache Kafka (`make kafka`, or `deploy/compose.yaml`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Producer

PARTITIONS: Final = 4
"""Partitions of every topic of an embedded broker; the number is fixed."""

_ANSWER_SECONDS = 10.0


class EmbeddedBroker:
    """A broker on a free loopback port, running inside a ``with`` block; other processes can reach it."""

    def __init__(self) -> None:
        self._cluster: Producer | None = None
        self.bootstrap = ""
        """Its address, ``host:port``; empty while it is closed."""

    def __enter__(self) -> Self:
        silent = logging.getLogger(f"{__name__}.librdkafka")
        silent.setLevel(logging.ERROR)
        self._cluster = Producer({"test.mock.num.brokers": 1}, logger=silent)
        (broker,) = self._cluster.list_topics(timeout=_ANSWER_SECONDS).brokers.values()
        self.bootstrap = f"{broker.host}:{broker.port}"
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._cluster = None  # the cluster ends with its last reference
        self.bootstrap = ""

    def create(self, topics: Iterable[str]) -> None:
        """Make *topics*; a topic is also made when a client first asks for it."""
        if self._cluster is None:
            raise RuntimeError("the embedded broker is closed; use it in a with block")
        for topic in topics:
            self._cluster.list_topics(topic, timeout=_ANSWER_SECONDS)
