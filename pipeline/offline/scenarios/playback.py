"""Playback: events of stories, of honest traffic around them, and of steady sessions that advance event time.

All of them end at the same time, which is an argument; longer stories begin earlier. No clock is read.
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
from pipeline.times import HOUR_MS
from schemas.topics import API_CALLS, DEVICE_TELEMETRY

Timed = tuple[str, dict[str, Any]]
"""A topic and an event for it."""

_IDS: Final = ("event_id", "session_id", "parent_session_id", "principal_id", "device_id", "token_id")
_TIMES: Final = ("occurred_at", "recorded_at", "attested_at", "credential_expires_at")
_ORDER: Final = {topic: rank for rank, topic in enumerate(INPUT_TOPICS)}
_REPORTS_EVERY: Final = 12
"""Number of calls of a steady session per report of its device."""
_BUSY: Final = 8 * HOUR_MS
"""Time of day, on a simulated Monday, at which people are at work."""


def stories(directory: Path, end_ms: int, suffix: str = "") -> list[Scenario]:
    """Return every story in *directory*, each with ids of its own, so that all can be played at once.

    Raises:
        ScenarioError: a story cannot be read.
    """
    loaded = []
    for number, path in enumerate(sorted(directory.glob("*.toml")), start=1):
        length = load(path, end_ms).play_until - end_ms
        loaded.append(load(path, end_ms - length, f"-{path.stem[0]}{number}{suffix}"))
    return loaded


def steady(partitions: int, start_ms: int, end_ms: int, suffix: str = "", every_ms: int = 5_000) -> Iterator[Timed]:
    """Yield the calls of one harmless session per partition, so that the event time of each reaches *end_ms*.

    Deadlines pass in event time, and each partition has the time of its own events. The session's device sends
    telemetry, because the silence of a device means something only if another device reports.
    """
    names = [_name_in(partition, partitions, suffix) for partition in range(partitions)]
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
    """Return events of *principals* honest people, services, keys and agents, of *length_ms* up to *end_ms*."""
    hours = (_BUSY + length_ms) / HOUR_MS
    simulated = simulate(seed, hours, principals, MONDAY_MS, attack_share=0, oddity_share=0, noise=0)
    delay_ms = end_ms - (MONDAY_MS + _BUSY + length_ms)
    return [
        (topic, _moved(event, delay_ms, suffix))
        for topic, event in simulated
        if event["occurred_at"] >= MONDAY_MS + _BUSY
    ]


def in_order(events: Iterable[Timed]) -> list[Timed]:
    """Return *events* in the order in which a recording of them would be read."""
    return sorted(events, key=lambda timed: (timed[1]["occurred_at"], _ORDER[timed[0]]))


def _name_in(partition: int, partitions: int, suffix: str) -> str:
    names = (f"steady-{number}{suffix}" for number in count())
    return next(name for name in names if partition_of(name.encode(), partitions) == partition)


def _moved(event: dict[str, Any], delay_ms: int, suffix: str) -> dict[str, Any]:
    moved = dict(event)
    for name in _TIMES:
        if moved.get(name) is not None:
            moved[name] += delay_ms
    for name in _IDS:
        if moved.get(name) is not None:
            moved[name] += suffix
    return moved
