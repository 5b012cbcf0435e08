"""Topic administration: creates the topics, and checks before a worker starts that they are as needed.

`schemas.topics` declares the topics; each kind of processor adds its changelog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from pipeline.kafka import embedded
from pipeline.kafka.changelog import changelog_topic
from pipeline.kafka.connection import Connection
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANSWER_SECONDS = 10.0
"""How long a broker may take to answer at all."""

PATIENCE_SECONDS = 15.0
"""How long new topics may take to be known to every broker."""

RETRY_SECONDS = 0.2
"""Time between two checks for new topics."""

PROCESSOR_NAMES: Final = ("session", "device", "principal", "network")
"""The processors that a worker runs, each with a changelog; `pipeline.assembly` makes them."""

CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",
    # State is restored as a whole at every assignment, so superseded rows must not pile up.
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(60 * 60 * 1000),
    "min.cleanable.dirty.ratio": "0.3",
    "delete.retention.ms": str(60 * 60 * 1000),
}
"""Configuration of a changelog topic."""


class BrokerUnreachableError(Exception):
    """No broker answers, or none accepts this client."""


class RightsMissingError(Exception):
    """The brokers know this client, and do not authorize what it needs to do."""


class TopicsNotReadyError(Exception):
    """Topics are missing, or have wrong partition counts."""


@dataclass(frozen=True, slots=True)
class NeededTopic:
    """A topic as it must be."""

    name: str
    partitions: int
    config: Mapping[str, str]


def needed_topics(app_id: str, processors: Iterable[str], partitions: int) -> tuple[NeededTopic, ...]:
    """Return every topic that a worker of *app_id* with these *processors* needs, changelogs last."""
    declared = [NeededTopic(t.name, t.partitions(partitions), t.config()) for t in TOPICS.values()]
    changelogs = [NeededTopic(changelog_topic(app_id, k), partitions, CHANGELOG_CONFIG) for k in processors]
    return (*declared, *changelogs)


async def create_topics(connection: Connection, topics: Sequence[NeededTopic], replication_factor: int) -> list[str]:
    """Create those of *topics* that do not exist; return their names. With three or more replicas two must be in sync.

    Raises `BrokerUnreachableError`, or `TopicsNotReadyError` if the brokers refuse one.
    """
    async with _admin(connection) as admin:
        existing = set(await admin.list_topics())
        missing = [topic for topic in topics if topic.name not in existing]
        if missing and connection.embedded:
            await admin.describe_topics([topic.name for topic in missing])
        elif missing:
            wanted = [_new_topic(topic, replication_factor) for topic in missing]
            _raise_refusals(await admin.create_topics(wanted))
        return [topic.name for topic in missing]


async def ping_broker(connection: Connection) -> None:
    """Return if a broker answers and accepts this client; raises `BrokerUnreachableError` if not."""
    async with _admin(connection):
        pass


async def check_topics(connection: Connection, topics: Sequence[NeededTopic], patience_s: float = 0.0) -> None:
    """Return if the broker answers and *topics* exist with their partition counts.

    For *patience_s* seconds missing topics may still appear: brokers learn of new topics one after the other. Raises
    `BrokerUnreachableError`, `RightsMissingError` or `TopicsNotReadyError`, which say what to do. On an embedded
    broker missing topics are created.
    """
    if connection.embedded:
        await create_topics(connection, topics, 1)
        topics = [NeededTopic(topic.name, embedded.PARTITIONS, topic.config) for topic in topics]
    until = monotonic() + patience_s
    async with _admin(connection) as admin:
        while True:
            described = await admin.describe_topics([topic.name for topic in topics])
            counts = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
            missing = [topic.name for topic in topics if topic.name not in counts]
            if not missing or monotonic() >= until:
                break
            await asyncio.sleep(RETRY_SECONDS)
    unauthorized = [t["topic"] for t in described if t["error_code"] == TopicAuthorizationFailedError.errno]
    if unauthorized:
        raise RightsMissingError(not_authorized(connection, "see", unauthorized))
    if missing:
        raise TopicsNotReadyError(
            f"{connection.bootstrap} has no topic {', '.join(missing)}; make what is missing with "
            "`session-risk topics create`"
        )
    wrong_counts = [t for t in topics if counts[t.name] != t.partitions]
    if wrong_counts:
        raise TopicsNotReadyError(_wrong_counts(wrong_counts, counts))


def _wrong_counts(topics: Sequence[NeededTopic], counts: Mapping[str, int]) -> str:
    """The error message about *topics* whose partition *counts* are wrong."""
    text = ", ".join(f"{t.name} has {counts[t.name]}, not {t.partitions}" for t in topics)
    return (
        "records that belong together must share a partition, and these topics have another number of partitions: "
        f"{text}."
        " If all have the same number, set SESSION_RISK_PARTITIONS to it; else delete these topics with their records, "
        "and create them with `session-risk topics create`"
    )


def _new_topic(topic: NeededTopic, replication_factor: int) -> NewTopic:
    config = dict(topic.config)
    if replication_factor >= 3:
        config["min.insync.replicas"] = "2"
    return NewTopic(topic.name, topic.partitions, replication_factor, topic_configs=config)


def _raise_refusals(response: Any) -> None:
    refused = [
        f"{name}: {reason or for_code(code).description}"
        for name, code, reason, *_ in response.topic_errors
        if code not in (0, TopicAlreadyExistsError.errno)
    ]
    if refused:
        raise TopicsNotReadyError("the brokers refuse to make these topics: " + "; ".join(refused))


@asynccontextmanager
async def _admin(connection: Connection) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**connection.for_aiokafka())
    try:
        await asyncio.wait_for(admin.start(), ANSWER_SECONDS)
    except (KafkaConnectionError, TimeoutError, OSError) as error:
        await admin.close()
        raise BrokerUnreachableError(unreachable_advice(connection)) from error
    try:
        yield admin
    except (KafkaConnectionError, TimeoutError) as error:
        raise BrokerUnreachableError(unreachable_advice(connection)) from error
    except KafkaError as error:
        raise TopicsNotReadyError(f"{connection.bootstrap} refuses: {error!r}") from error
    finally:
        await admin.close()


def not_authorized(connection: Connection, what: str, topics: Iterable[str]) -> str:
    """Return the error message that this client may not do *what* (a verb) with *topics*."""
    return (
        f"{connection.bootstrap} does not let {connection.kafka_principal} {what} topic {', '.join(sorted(topics))}; "
        "`session-risk topics acls` lists the rights of each role, and grants them"
    )


def unreachable_advice(connection: Connection) -> str:
    """Return the error message that no broker answers, or none accepts this client."""
    if connection.security_protocol != "PLAINTEXT":
        return (
            f"no broker answers at {connection.bootstrap}, or it refuses "
            f"{connection.kafka_principal} over {connection.security_protocol}: "
            "check the address, SESSION_RISK_SASL_* and SESSION_RISK_TLS_*"
        )
    return (
        f"no broker answers at {connection.bootstrap}; start one with `make kafka` or "
        "`docker compose -f deploy/compose.yaml up`, or name yours in SESSION_RISK_BROKER"
    )
