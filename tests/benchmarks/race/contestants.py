"""Who races: a row each, with the command that starts it. What differs between them stands here and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
STREAMS: Final = HERE / "kafka_streams"


@dataclass(frozen=True, slots=True)
class Course:
    """What a contestant is told: where to read and write, a name of its own, a directory for state."""

    broker: str
    source: str
    target: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Contestant:
    """A peer: *share* of the backlog is enough to see how fast it is; *command* starts it."""

    name: str
    share: float
    command: Callable[[Course], list[str]]


def _python(script: str, interpreter: str, *more: str) -> Callable[[Course], list[str]]:
    return lambda on: [
        interpreter,
        str(HERE / script),
        on.broker,
        on.source,
        on.target,
        on.name,
        on.state,
        *more,
    ]


def _streams(store: str) -> Callable[[Course], list[str]]:
    jars = f"{STREAMS / 'target' / 'classes'}:{STREAMS / 'target' / 'lib'}/*"
    return lambda on: [
        "java",
        "-Xmx2g",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        "-cp",
        jars,
        "race.Race",
        on.broker,
        on.source,
        on.target,
        on.name,
        store,
        on.state,
    ]


def contestants(quix_python: str) -> list[Contestant]:
    """All of them; *quix_python* is an interpreter that has Quix Streams."""
    return [
        Contestant("idiomatic Faust", 0.05, _python("faust_idiom.py", sys.executable, "worker")),
        Contestant("Quix Streams", 0.5, _python("quix.py", quix_python)),
        Contestant("Kafka Streams, RocksDB", 1.0, _streams("rocksdb")),
        Contestant("Kafka Streams, in memory", 1.0, _streams("memory")),
    ]
