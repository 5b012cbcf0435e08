"""Kafka ACLs: the rights that each role needs, their check before a worker starts, and a command's grant of them.

Uses librdkafka's admin client, since aiokafka's can neither grant nor describe rights.
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
from pipeline.kafka.topics import BrokerUnreachableError, RightsMissingError, unreachable_advice
from schemas.topics import REVOCATION_ACKS, ROLES, TOPICS, Role

Operation = Literal["read", "write"]
Resource = Literal["topic", "group"]


class Right(NamedTuple):
    """One right; a *prefixed* one applies to every resource whose name begins with *name*."""

    operation: Operation
    resource: Resource
    name: str
    prefixed: bool = False

    def __str__(self) -> str:
        """The right in words, such as `read topic api-calls`."""
        return f"{self.operation} {self.resource} {self.name}{'*' if self.prefixed else ''}"


def rights_of(role: Role, app_id: str, processors: Iterable[str], *, pseudonyms: bool = False) -> tuple[Right, ...]:
    """Return the rights of *role*, where workers are the consumer group *app_id* and run these *processors*.

    With *pseudonyms*, only roles that act on commands may read outputs that name people.
    """
    return (
        *_on_topics(role, pseudonyms=pseudonyms),
        *_on_changelogs(role, app_id, processors),
        *_on_groups(role, app_id),
    )


def _on_topics(role: Role, *, pseudonyms: bool) -> Iterator[Right]:
    acts = role in TOPICS[REVOCATION_ACKS].writers
    for topic in TOPICS.values():
        is_hidden = pseudonyms and not acts and topic.direction == "output" and not topic.pseudonyms
        if role in topic.readers and not is_hidden:
            yield Right("read", "topic", topic.name)
        if role in topic.writers:
            yield Right("write", "topic", topic.name)


def _on_changelogs(role: Role, app_id: str, processors: Iterable[str]) -> Iterator[Right]:
    if role == "worker":
        for processor in processors:
            yield Right("read", "topic", changelog_topic(app_id, processor))
            yield Right("write", "topic", changelog_topic(app_id, processor))


def _on_groups(role: Role, app_id: str) -> Iterator[Right]:
    """Roles other than `worker` have consumer groups whose names begin with their role."""
    if role == "worker":
        yield Right("read", "group", app_id)
    elif any(role in topic.readers for topic in TOPICS.values()):
        yield Right("read", "group", f"{role}-", prefixed=True)


def markdown() -> str:
    """Return the table of roles and their topics, for the runbook."""
    lines = ["| role | what for | writes | reads |", "|---|---|---|---|"]
    for role, text in ROLES.items():
        writes = _listed(topic.name for topic in TOPICS.values() if role in topic.writers)
        reads = _listed(topic.name for topic in TOPICS.values() if role in topic.readers)
        lines.append(f"| `{role}` | {text} | {writes} | {reads} |")
    return "\n".join(lines) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


RESPONSE_TIMEOUT_SECONDS: Final = 10.0
"""How long the brokers may take to answer a request."""

_OPERATIONS: Final = {"read": AclOperation.READ, "write": AclOperation.WRITE}
_RESOURCES: Final = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
_REFUSALS: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
# Error codes that librdkafka itself produces, not a broker, begin with an underscore.
_UNREACHABLE: Final = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}

NamedResource = tuple[str, str]
"""A kind of resource and its name."""


class RightsUnknownError(Exception):
    """The brokers do not manage rights: they have no authorizer, or refuse the request."""


def check_rights(connection: Connection, rights: Sequence[Right]) -> None:
    """Return if the brokers allow this client all of *rights*.

    Raises `RightsMissingError` with every right that is missing, or `BrokerUnreachableError`. What the brokers do not
    answer for counts as allowed: topics that do not exist, brokers without an authorizer.
    """
    allowed = _allowed(connection, rights)
    missing = [right for right in rights if not _is_allowed(right, allowed)]
    if missing:
        raise RightsMissingError(
            f"{connection.bootstrap} does not let {connection.kafka_principal} {', '.join(map(str, missing))}; "
            "`session-risk topics acls --apply` grants what is missing, by a super user of the brokers"
        )


def grant(connection: Connection, granted: Iterable[tuple[str, Sequence[Right]]]) -> int:
    """Give each principal (`User:name`) of *granted* its rights, from any host; return how many rights that is.

    Existing rights stay. Raises `RightsMissingError` if this client may not grant, `RightsUnknownError`, or
    `BrokerUnreachableError`.
    """
    # Roles of one principal may share rights.
    distinct = dict.fromkeys((principal, right) for principal, rights in granted for right in rights)
    bindings = [_binding(principal, right) for principal, right in distinct]
    client = _client(connection)  # a variable: the futures end with the client
    for future in client.create_acls(bindings, request_timeout=RESPONSE_TIMEOUT_SECONDS).values():
        if error := _result(connection, future)[1]:
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


def _is_allowed(right: Right, allowed: Mapping[NamedResource, set[Any] | None]) -> bool:
    known = allowed[right.resource, right.name]
    return known is None or _OPERATIONS[right.operation] in known


def _allowed(connection: Connection, rights: Iterable[Right]) -> dict[NamedResource, set[Any] | None]:
    """Return the operations allowed on each resource of *rights*; `None` where the brokers do not answer for it."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for right in rights:
        names[right.resource].add(right.name)
    client = _client(connection)
    pending: dict[NamedResource, Future[Any]] = {}
    options = {"include_authorized_operations": True, "request_timeout": RESPONSE_TIMEOUT_SECONDS}
    if topics := sorted(names["topic"]):
        futures = client.describe_topics(TopicCollection(topics), **options)
        pending |= {("topic", name): future for name, future in futures.items()}
    if groups := sorted(names["group"]):
        futures = client.describe_consumer_groups(groups, **options)
        pending |= {("group", name): future for name, future in futures.items()}
    return {resource: _operations(connection, future) for resource, future in pending.items()}


def _operations(connection: Connection, future: Future[Any]) -> set[Any] | None:
    described, error = _result(connection, future)
    if error is not None:
        return set() if error.code() in _REFUSALS else None
    operations = described.authorized_operations
    return None if operations is None else set(operations)


def _result(connection: Connection, future: Future[Any]) -> tuple[Any, KafkaError | None]:
    try:
        return future.result(2 * RESPONSE_TIMEOUT_SECONDS), None
    except KafkaException as error:
        (reason,) = error.args
        if reason.code() in _UNREACHABLE:
            raise BrokerUnreachableError(unreachable_advice(connection)) from error
        return None, reason


def _client(connection: Connection) -> AdminClient:
    silent = logging.getLogger(f"{__name__}.librdkafka")
    silent.setLevel(logging.CRITICAL)  # the caller reports what is wrong, once
    return AdminClient(connection.for_librdkafka(), logger=silent)
