"""Grants rights in Kafka, and looks before a worker starts whether it has those it needs.

By way of librdkafka's client: aiokafka's knows neither.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pipeline.kafka.changelog import changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import BrokerUnreachableError, RightsMissingError, advice
from schemas.topics import REVOCATION_ACKS, ROLES, TOPICS, Role

Operation = Literal["read", "write"]
Resource = Literal["topic", "group"]


class Right(NamedTuple):
    """One right; *prefixed*: on everything whose name begins so."""

    operation: Operation
    resource: Resource
    name: str
    prefixed: bool = False

    def __str__(self) -> str:
        """The right in words, as `read topic api-calls`."""
        return f"{self.operation} {self.resource} {self.name}{'*' if self.prefixed else ''}"


def rights_of(role: Role, app_id: str, kinds: Iterable[str], *, pseudonyms: bool = False) -> tuple[Right, ...]:
    """Return the rights of *role* where workers are the group *app_id* and have these kinds of stages.

    Where names leave as *pseudonyms*, only those who act on commands read them: people are named there.
    """
    return (
        *_on_topics(role, pseudonyms=pseudonyms),
        *_on_changelogs(role, app_id, kinds),
        *_on_groups(role, app_id),
    )


def _on_topics(role: Role, *, pseudonyms: bool) -> Iterator[Right]:
    acts = role in TOPICS[REVOCATION_ACKS].writers
    for topic in TOPICS.values():
        hidden = pseudonyms and not acts and topic.direction == "output" and not topic.pseudonyms
        if role in topic.readers and not hidden:
            yield Right("read", "topic", topic.name)
        if role in topic.writers:
            yield Right("write", "topic", topic.name)


def _on_changelogs(role: Role, app_id: str, kinds: Iterable[str]) -> Iterator[Right]:
    if role == "worker":
        for kind in kinds:
            yield Right("read", "topic", changelog_topic(app_id, kind))
            yield Right("write", "topic", changelog_topic(app_id, kind))


def _on_groups(role: Role, app_id: str) -> Iterator[Right]:
    """Others than workers have consumer groups whose names begin with their role."""
    if role == "worker":
        yield Right("read", "group", app_id)
    elif any(role in topic.readers for topic in TOPICS.values()):
        yield Right("read", "group", f"{role}-", prefixed=True)


def markdown() -> str:
    """Return the table of roles and what they may do with topics, as it stands in the runbook."""
    lines = ["| role | what for | writes | reads |", "|---|---|---|---|"]
    for role, text in ROLES.items():
        writes = _listed(topic.name for topic in TOPICS.values() if role in topic.writers)
        reads = _listed(topic.name for topic in TOPICS.values() if role in topic.readers)
        lines.append(f"| `{role}` | {text} | {writes} | {reads} |")
    return "\n".join(lines) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


ANSWER_SECONDS: Final = 10.0
"""How long the brokers may take to answer a question."""

_OPERATIONS: Final = {"read": AclOperation.READ, "write": AclOperation.WRITE}
_RESOURCES: Final = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
_REFUSALS: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
# librdkafka's names for what it finds out itself, not from a broker, begin with an underscore.
_UNREACHABLE: Final = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}

Place = tuple[str, str]
"""A resource and its name."""


class RightsUnknownError(Exception):
    """The brokers do not manage rights: they have no authorizer, or refuse to talk of it."""


def check_rights(connection: Connection, rights: Sequence[Right]) -> None:
    """Return if the brokers let this client do all of *rights*.

    Raises `RightsMissingError`, naming every right that is missing, or `BrokerUnreachableError`. What the
    brokers do not tell of counts as allowed: topics that are missing, brokers that tell no rights.
    """
    allowed = _allowed(connection, rights)
    missing = [right for right in rights if not _is_allowed(right, allowed)]
    if missing:
        raise RightsMissingError(
            f"{connection.bootstrap} does not let {connection.kafka_principal} {', '.join(map(str, missing))}; "
            "`session-risk topics acls --apply` grants what is missing, by a super user of the brokers"
        )


def grant(connection: Connection, granted: Iterable[tuple[str, Sequence[Right]]]) -> int:
    """Give each principal (`User:name`) of *granted* its rights, from any host; return how many there are.

    A right that was there stays. Raises `RightsMissingError` where this client may not grant,
    `RightsUnknownError`, or `BrokerUnreachableError`.
    """
    # Roles of one principal may have rights in common.
    distinct = dict.fromkeys((principal, right) for principal, rights in granted for right in rights)
    bindings = [_binding(principal, right) for principal, right in distinct]
    client = _client(connection)  # when it goes, so do its answers
    for future in client.create_acls(bindings, request_timeout=ANSWER_SECONDS).values():
        if error := _answer(connection, future)[1]:
            if error.code() in _REFUSALS:
                raise RightsMissingError(
                    f"{connection.bootstrap} does not let {connection.kafka_principal} grant rights (alter cluster): "
                    "do it as a super user of the brokers"
                )
            raise RightsUnknownError(f"{connection.bootstrap} grants no rights: {error.str()}")
    return len(bindings)


def _binding(principal: str, right: Right) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    return AclBinding(
        _RESOURCES[right.resource],
        right.name,
        pattern,
        principal,
        "*",
        _OPERATIONS[right.operation],
        AclPermissionType.ALLOW,
    )


def _is_allowed(right: Right, allowed: Mapping[Place, set[Any] | None]) -> bool:
    known = allowed[right.resource, right.name]
    return known is None or _OPERATIONS[right.operation] in known


def _allowed(connection: Connection, rights: Iterable[Right]) -> dict[Place, set[Any] | None]:
    """Return what is allowed on each thing that *rights* are on; `None` where the brokers do not tell."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for right in rights:
        names[right.resource].add(right.name)
    client = _client(connection)
    asked: dict[Place, Future[Any]] = {}
    how = {"include_authorized_operations": True, "request_timeout": ANSWER_SECONDS}
    if topics := sorted(names["topic"]):
        dict_read = client.describe_topics(TopicCollection(topics), **how)
        asked |= {("topic", name): future for name, future in dict_read.items()}
    if groups := sorted(names["group"]):
        dict_read = client.describe_consumer_groups(groups, **how)
        asked |= {("group", name): future for name, future in dict_read.items()}
    return {place: _operations(connection, future) for place, future in asked.items()}


def _operations(connection: Connection, future: Future[Any]) -> set[Any] | None:
    described, error = _answer(connection, future)
    if error is not None:
        return set() if error.code() in _REFUSALS else None
    operations = described.authorized_operations
    return None if operations is None else set(operations)


def _answer(connection: Connection, future: Future[Any]) -> tuple[Any, KafkaError | None]:
    try:
        return future.result(2 * ANSWER_SECONDS), None
    except KafkaException as error:
        (reason,) = error.args
        if reason.code() in _UNREACHABLE:
            raise BrokerUnreachableError(advice(connection)) from error
        return None, reason


def _client(connection: Connection) -> AdminClient:
    silent = logging.getLogger(f"{__name__}.librdkafka")
    silent.setLevel(logging.CRITICAL)  # whoever asks tells what is wrong, once
    return AdminClient(connection.for_librdkafka(), logger=silent)
