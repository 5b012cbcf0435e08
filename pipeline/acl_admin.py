"""Grants rights in Kafka, and looks before a worker starts whether it has those it needs.

By way of librdkafka's client: aiokafka's knows neither.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pipeline.connection import Connection
from pipeline.rights import Right
from pipeline.topic_admin import BrokerUnreachableError, RightsMissingError, advice

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
_UNREACHABLE: Final = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}  # noqa: SLF001 - the library's public codes; its own begin with _

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
            f"{connection.bootstrap} does not let {connection.who} {', '.join(map(str, missing))}; "
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
                    f"{connection.bootstrap} does not let {connection.who} grant rights (alter cluster): "
                    "do it as a super user of the brokers"
                )
            raise RightsUnknownError(f"{connection.bootstrap} grants no rights: {error.str()}")
    return len(bindings)


def _binding(principal: str, right: Right) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    return AclBinding(
        _RESOURCES[right.resource], right.name, pattern, principal, "*", _OPERATIONS[right.operation],
        AclPermissionType.ALLOW,
    )  # fmt: skip


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
        told = client.describe_topics(TopicCollection(topics), **how)
        asked |= {("topic", name): future for name, future in told.items()}
    if groups := sorted(names["group"]):
        told = client.describe_consumer_groups(groups, **how)
        asked |= {("group", name): future for name, future in told.items()}
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
