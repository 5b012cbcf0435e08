"""Makes the topics, and looks before a worker starts whether the broker answers and they are as they must be.

What topics there are stands in `schemas.topics`; each kind of stage adds its changelog.
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
"""How long topics that were just made may take to be known to every broker."""

LOOK_SECONDS = 0.2
"""How often is looked for them meanwhile."""

PROCESSOR_NAMES: Final = ("session", "device", "principal", "network")
"""The kinds of stages a worker runs, each with a changelog; `pipeline.assembly` makes them."""

CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",
    # State is read back whole at every assignment: keep what is superseded from piling up.
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(60 * 60 * 1000),
    "min.cleanable.dirty.ratio": "0.3",
    "delete.retention.ms": str(60 * 60 * 1000),
}
"""Configuration of a changelog topic."""


class BrokerUnreachableError(Exception):
    """No broker answers, or not to us."""


class RightsMissingError(Exception):
    """The brokers know who this is, and do not let them do what they must."""


class TopicsNotReadyError(Exception):
    """Topics are missing, or have other partition counts than they must have."""


@dataclass(frozen=True, slots=True)
class NeededTopic:
    """A topic as it must be."""

    name: str
    partitions: int
    config: Mapping[str, str]


def needed_topics(app_id: str, kinds: Iterable[str], partitions: int) -> tuple[NeededTopic, ...]:
    """Return every topic a worker of *app_id* with these kinds of stages needs, changelogs last."""
    declared = [NeededTopic(t.name, t.partitions(partitions), t.config()) for t in TOPICS.values()]
    changelogs = [NeededTopic(changelog_topic(app_id, k), partitions, CHANGELOG_CONFIG) for k in kinds]
    return (*declared, *changelogs)


async def create_topics(connection: Connection, topics: Sequence[NeededTopic], replication_factor: int) -> list[str]:
    """Make those of *topics* that do not exist; return their names. Of three copies, two must be in sync.

    Raises `BrokerUnreachableError`, or `TopicsNotReadyError` when the brokers refuse one.
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
    """Return if a broker answers and lets this client in; raises `BrokerUnreachableError` if not."""
    async with _admin(connection):
        pass


async def check_topics(connection: Connection, topics: Sequence[NeededTopic], patience_s: float = 0.0) -> None:
    """Return if the broker answers and *topics* exist with their partition counts.

    For *patience_s* seconds what is missing may yet come: brokers hear of new topics one after the other.
    Raises `BrokerUnreachableError`, `RightsMissingError` or `TopicsNotReadyError`, saying what to do. An
    embedded broker makes what is missing.
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
            await asyncio.sleep(LOOK_SECONDS)
    hidden = [t["topic"] for t in described if t["error_code"] == TopicAuthorizationFailedError.errno]
    if hidden:
        raise RightsMissingError(may_not(connection, "see", hidden))
    if missing:
        raise TopicsNotReadyError(
            f"{connection.bootstrap} has no topic {', '.join(missing)}; make what is missing with "
            "`session-risk topics create`"
        )
    uneven = [t for t in topics if counts[t.name] != t.partitions]
    if uneven:
        raise TopicsNotReadyError(_uneven(uneven, counts))


def _uneven(topics: Sequence[NeededTopic], counts: Mapping[str, int]) -> str:
    """What to tell people of *topics* that have other *counts* of partitions than they must have."""
    text = ", ".join(f"{t.name} has {counts[t.name]}, not {t.partitions}" for t in topics)
    return (
        f"what belongs together meets in one partition, and these topics have another number of them: {text}."
        " If all have the same, set SESSION_RISK_PARTITIONS to it; else delete these, with what is on them, "
        "and make them with `session-risk topics create`"
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
        raise BrokerUnreachableError(advice(connection)) from error
    try:
        yield admin
    except (KafkaConnectionError, TimeoutError) as error:
        raise BrokerUnreachableError(advice(connection)) from error
    except KafkaError as error:
        raise TopicsNotReadyError(f"{connection.bootstrap} refuses: {error!r}") from error
    finally:
        await admin.close()


def may_not(connection: Connection, what: str, topics: Iterable[str]) -> str:
    """Return what to tell people when brokers do not let this client do *what* (a verb) with *topics*."""
    return (
        f"{connection.bootstrap} does not let {connection.kafka_principal} {what} topic {', '.join(sorted(topics))}; "
        "`session-risk topics acls` tells the rights of each role, and grants them"
    )


def advice(connection: Connection) -> str:
    """Return what to tell people when no broker answers, or none lets us in."""
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
