"""What is kept, for how long and under which names stands in the runbook as it is, and Kafka holds to it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import PROCESSOR_NAMES, NeededTopic, create_topics, needed_topics
from pipeline.offline.docs.generate import RUNBOOK_PARTS, with_parts
from pipeline.offline.docs.retention_page import STATE, markdown, names, retention
from schemas.topics import DEAD_LETTERS, SEGMENTS, TOPICS, Topic
from tests.support.waiting import until

ROOT = Path(__file__).parent.parent.parent


def test_the_runbook_says_what_is_kept_as_it_is() -> None:
    runbook = (ROOT / "deploy" / "README.md").read_text("utf-8")

    assert with_parts(runbook, RUNBOOK_PARTS) == runbook, "run `make docs`"
    assert markdown().strip() in runbook


def test_every_topic_and_every_state_has_its_row() -> None:
    rows = [line.split("`")[1] for line in markdown().splitlines() if line.startswith("| `")]

    assert rows == [*TOPICS, *(f"session-risk-{kind}-state-changelog" for kind in PROCESSOR_NAMES)]
    assert tuple(STATE) == PROCESSOR_NAMES


@pytest.mark.parametrize(
    ("topic", "row"),
    [
        ("device-telemetry", ("1 day", "clear")),
        ("session-risk", ("30 days", "clear; with keys, pseudonyms")),
        ("session-findings", ("30 days", "clear; with keys, pseudonyms")),
        ("session-features", ("30 days", "none")),
        ("session-revocations", ("7 days", "clear")),
        ("revocation-acks", ("7 days", "none")),
        ("model-control", ("the newest of each key", "clear")),
        ("dead-letters", ("30 days", "as sent; with keys, nothing that was sent")),
    ],
)
def test_how_long_and_under_which_names(topic: str, row: tuple[str, str]) -> None:
    assert (retention(TOPICS[topic]), names(TOPICS[topic])) == row


@pytest.mark.parametrize("topic", TOPICS.values(), ids=list(TOPICS))
def test_what_is_kept_for_a_time_is_over_soon_after_it(topic: Topic) -> None:
    config = topic.config()

    if topic.retention_ms is None:
        assert config == {"cleanup.policy": "compact"}
    else:
        assert int(config["segment.ms"]) * SEGMENTS == int(config["retention.ms"]) == topic.retention_ms


def test_no_record_outlives_a_month_and_what_could_not_be_read_no_less_than_its_topic() -> None:
    times = {name: topic.retention_ms for name, topic in TOPICS.items() if topic.retention_ms is not None}

    assert set(TOPICS) - set(times) == {"model-control"}
    assert max(times.values()) == times[DEAD_LETTERS]


@pytest.mark.kafka
def test_topics_are_made_as_the_table_says_and_the_broker_holds_to_it() -> None:
    connection = Connection(os.environ["SESSION_RISK_BROKER"])
    app_id = f"kept-{uuid4().hex[:8]}"
    needed = needed_topics(app_id, PROCESSOR_NAMES, 1)[-len(PROCESSOR_NAMES) :]
    own = [NeededTopic(f"{app_id}-{topic.name}", 1, topic.config()) for topic in TOPICS.values()]
    asyncio.run(create_topics(connection, [*own, *needed], 1))

    admin = AdminClient(connection.for_librdkafka())
    held = until("configurations", lambda: _held(admin, [topic.name for topic in (*own, *needed)]), bool)

    for topic in (*own, *needed):
        assert {name: held[topic.name][name] for name in topic.config} == topic.config


def _held(admin: AdminClient, topics: list[str]) -> dict[str, dict[str, str]]:
    """What the broker says of *topics*; nothing while it does not know all of them."""
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in topics])
    try:
        return {
            config_resource.name: {name: row.value for name, row in future.result(20).items()}
            for config_resource, future in asked.items()
        }
    except KafkaException:  # a busy broker knows a new topic a moment after it is made
        return {}
