"""What is played: stories, honest traffic around them, and time that goes on in every partition.

Everything ends at one moment; what began earlier began longer before it. Pure: that moment is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from pipeline.kafka.partitioner import partition_of
from pipeline.offline.replay.recording import INPUT_TOPICS
from pipeline.offline.scenarios.scenario import Scenario, load
from pipeline.offline.simulation import MONDAY_MS, simulate
from schemas.topics import API_CALLS, DEVICE_TELEMETRY

Timed = tuple[str, dict[str, Any]]
"""A topic and an event for it."""

_IDS: Final = ("event_id", "session_id", "parent_session_id", "principal_id", "device_id", "token_id")
_TIMES: Final = ("occurred_at", "recorded_at", "attested_at", "credential_expires_at")
_ORDER: Final = {topic: place for place, topic in enumerate(INPUT_TOPICS)}
_REPORTS_EVERY: Final = 12
"""So many calls of a steady session for each report of its device."""
_HOUR: Final = 3_600_000
_BUSY: Final = 8 * _HOUR
"""Into a simulated Monday: people are at work by then."""


def stories(directory: Path, end_ms: int, suffix: str = "") -> list[Scenario]:
    """Return every story in *directory*, each with its own ids, so that all can be played at once.

    Raises `pipeline.offline.scenarios.scenario.ScenarioError`.
    """
    loaded = []
    for number, path in enumerate(sorted(directory.glob("*.toml")), start=1):
        length = load(path, end_ms).play_until - end_ms
        loaded.append(load(path, end_ms - length, f"-{path.stem[0]}{number}{suffix}"))
    return loaded


def steady(partitions: int, start_ms: int, end_ms: int, suffix: str = "", every_ms: int = 5_000) -> Iterator[Timed]:
    """Yield the calls of one harmless session for each partition, so that its time reaches *end_ms*.

    Deadlines pass when event time does, and a partition's time is that of its own events. Its device reports:
    only where one is heard does the silence of another prove anything.
    """
    names = [_landing_in(partition, partitions, suffix) for partition in range(partitions)]
    for number, at in enumerate(range(start_ms, end_ms + 1, every_ms)):
        for name in names:
            if number % _REPORTS_EVERY == 0:
                yield (
                    DEVICE_TELEMETRY,
                    {
                        "type": "device.telemetry",
                        "event_id": f"{name}-t{number}",
                        "occurred_at": at,
                        "device_id": name,
                        "sequence": number,
                        "heartbeat_interval_ms": _REPORTS_EVERY * every_ms,
                    },
                )
            yield (
                API_CALLS,
                {
                    "type": "api.call",
                    "event_id": f"{name}-{number}",
                    "occurred_at": at,
                    "session_id": name,
                    "principal_id": name,
                    "principal_kind": "service",
                    "device_id": name,
                    "operation": "GET /health",
                    "status": 200,
                },
            )


def honest(principals: int, length_ms: int, end_ms: int, seed: int = 7, suffix: str = "") -> list[Timed]:
    """Return what *principals* honest people, services, keys and agents do in *length_ms* up to *end_ms*."""
    hours = (_BUSY + length_ms) / _HOUR
    whole = simulate(seed, hours, principals, MONDAY_MS, attack_share=0, oddity_share=0, noise=0)
    later = end_ms - (MONDAY_MS + _BUSY + length_ms)
    return [
        (topic, _moved(event, later, suffix)) for topic, event in whole if event["occurred_at"] >= MONDAY_MS + _BUSY
    ]


def in_order(events: Iterable[Timed]) -> list[Timed]:
    """Return *events* as a recording of them would be read."""
    return sorted(events, key=lambda timed: (timed[1]["occurred_at"], _ORDER[timed[0]]))


def _landing_in(partition: int, partitions: int, suffix: str) -> str:
    names = (f"steady-{number}{suffix}" for number in count())
    return next(name for name in names if partition_of(name.encode(), partitions) == partition)


def _moved(event: dict[str, Any], later: int, suffix: str) -> dict[str, Any]:
    moved = dict(event)
    for name in _TIMES:
        if moved.get(name) is not None:
            moved[name] += later
    for name in _IDS:
        if moved.get(name) is not None:
            moved[name] += suffix
    return moved
