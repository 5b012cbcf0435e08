"""Retention table of the runbook: how long each topic and state is stored, who reads it, whether it has names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pipeline.contexts import network
from pipeline.contexts.device import processor as device_processor
from pipeline.contexts.principal import processor as principal_processor
from pipeline.decisions.policy import Policy, Times, read_policy
from pipeline.kafka.changelog import changelog_topic
from schemas.fields import DAY_MS
from schemas.naming import KEYED_TOPICS, NAMING
from schemas.topics import DEAD_LETTERS, SEGMENTS, TOPICS, Topic

HOUR_S: Final = 3600


STATE: Final[dict[str, Callable[[Policy], str]]] = {
    "session": lambda policy: _session(policy.times),
    "device": lambda _: f"{_days(device_processor.KEEP_MS)} after its last report, longer while sessions live on it",
    "principal": lambda _: f"{_days(principal_processor.KEEP_MS)} after its last activity",
    "network": lambda _: f"{_days(network.KEEP_MS)} after the last attempt from it",
}
"""Retention of each processor's state in event time, by the policy; then it is deleted with a tombstone."""


def _session(times: Times) -> str:
    return f"{_hours(times.idle_s)} after its last event; {_hours(times.revoked_grace_s)} once revoked"


def retention(topic: Topic) -> str:
    """Return how long a record of *topic* is stored."""
    if topic.retention_ms is None:
        return "the newest of each key"
    return _days(topic.retention_ms)


def names(topic: Topic) -> str:
    """Return whether records of *topic* contain names of people, and how."""
    if topic.name == DEAD_LETTERS:
        return "as sent; with keys, nothing that was sent"
    if topic.name in KEYED_TOPICS:
        return "clear; with keys, pseudonyms" if _names_somebody(topic) else "none"
    return "clear" if _names_somebody(topic) else "none"


def _names_somebody(topic: Topic) -> bool:
    # Findings have other fields for their subject.
    return bool(set(NAMING) & set(topic.model.model_fields)) or "evidences" in topic.model.model_fields


def markdown() -> str:
    """Return the retention table of the runbook."""
    lines = ["| topic | kept | names | read by |", "|---|---|---|---|"]
    lines += [
        f"| `{topic.name}` | {retention(topic)} | {names(topic)} | {', '.join(topic.readers)} |"
        for topic in TOPICS.values()
    ]
    lines += _states()
    late = f"Brokers delete whole segments: a record may stay a {SEGMENTS}th longer than the topic says."
    return "\n".join(lines) + f"\n\n{late}\n"


def _states() -> Iterator[str]:
    policy = read_policy(None)
    for kind, time in STATE.items():
        topic = changelog_topic("session-risk", kind)
        yield f"| `{topic}` | {time(policy)} | clear | worker |"


def _days(ms: int) -> str:
    days = ms // DAY_MS
    return "1 day" if days == 1 else f"{days} days"


def _hours(seconds: float) -> str:
    return f"{seconds / HOUR_S:g} h"
