"""All that is said when every detection fires once, and what its own readers would refuse of it."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache

import pytest

from models.detectors.base import NoDetector
from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig, Challenger
from pipeline.decisions.policy import parse_policy
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import Replay
from pipeline.processing.processor import Message
from pipeline.sessions.processor import Options
from schemas import topics
from schemas.decode import decode_chunk, encode
from schemas.topics import TOPICS
from tests.offline.test_replay import STORIES
from tests.support.event_streams import OddTotals
from tests.support.samples import feedback

WIDE = "\U0001f600"


def wrong(messages: list[Message]) -> list[str]:
    """What in *messages* its own readers would refuse."""
    by_topic: dict[str, list[Message]] = defaultdict(list)
    for message in messages:
        by_topic[message.topic].append(message)
    complaints = []
    for topic, messages_read in by_topic.items():
        keys = [message.key for message in messages_read]
        values = [message.value for message in messages_read]
        decoded = decode_chunk(topic, values, None if topic == topics.DEAD_LETTERS else keys, now_ms=2**53)
        complaints += [f"{topic}: {rejected.reason}: {values[rejected.index][:300]!r}" for rejected in decoded.rejected]
        complaints += [f"{topic}: too long" for value in values if len(value) > 1_000_000]
    return complaints


def unknown_members(messages: list[Message]) -> dict[str, set[str]]:
    """Members that the contract does not know."""
    strange: dict[str, set[str]] = defaultdict(set)
    for topic, _, value in messages:
        strange[topic] |= set(json.loads(value)) - set(TOPICS[topic].model.model_fields)
    return {topic: names for topic, names in strange.items() if names}


@pytest.fixture
def received() -> list[Message]:
    """All that is said when every detection fires once, in all stages together."""
    return list(all_received())


@cache
def all_received() -> tuple[Message, ...]:
    """Return it; it takes a while."""
    active = ActiveConfig(detector=OddTotals(), challengers=(Challenger(NoDetector()),))
    active.use_policy(parse_policy("anomaly_weights = [5, 5, 5]"))  # so that the two differ
    replay = Replay(processor_specs(active, Options(partitions=4)), 4)
    last = STORIES[-1].occurred_at + 1_000
    return tuple(replay.run([*STORIES, verdict_at(last)]))


def verdict_at(at: int) -> InputRecord:
    """Somebody calls what a session was just ended for a false positive."""
    stories = next(record for record in STORIES if b'"s-1"' in record.value)
    tenant = json.loads(stories.value)["tenant"]
    fields = {**feedback(detections=["mass_read"]), "tenant": tenant, "occurred_at": at}
    return InputRecord(topics.SESSION_FEEDBACK, 1, encode(fields), at)
