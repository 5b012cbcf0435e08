"""The embedded broker is one while it is open, and gone afterwards; errors about brokers say what to do."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import PARTITIONS, EmbeddedBroker
from pipeline.kafka.topics import BrokerUnreachableError, check_topics, needed_topics
from schemas.topics import TOPICS
from tests.support.counting_processor import produce, read_all


def test_an_open_broker_keeps_what_is_produced() -> None:
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap, embedded=True)
        broker.create(["things"])
        asyncio.run(produce(connection, [("things", b"k", b"1"), ("things", b"k", b"2")]))
        assert [record.value for record in asyncio.run(read_all(connection, "things"))] == [b"1", b"2"]


def test_a_closed_broker_is_gone_and_says_how_to_use_it() -> None:
    with EmbeddedBroker() as broker:
        address = broker.bootstrap
    with pytest.raises(BrokerUnreachableError, match=f"no broker answers at {address}; start one with `make kafka`"):
        asyncio.run(check_topics(Connection(address), []))
    with pytest.raises(RuntimeError, match="use it in a with block"):
        broker.create(["things"])


def test_two_brokers_know_nothing_of_each_other() -> None:
    with EmbeddedBroker() as embedded_broker, EmbeddedBroker() as other:
        asyncio.run(produce(Connection(embedded_broker.bootstrap), [("things", b"k", b"1")]))
        assert embedded_broker.bootstrap != other.bootstrap
        other.create(["things"])
        assert asyncio.run(read_all(Connection(other.bootstrap), "things")) == []


def test_an_embedded_broker_gets_every_topic_when_a_worker_looks() -> None:
    topics = needed_topics("app", ["session", "device"], 8)
    assert [t.name for t in topics] == [
        *TOPICS,
        "app-session-state-changelog",
        "app-device-state-changelog",
    ]
    with EmbeddedBroker() as broker:
        asyncio.run(check_topics(Connection(broker.bootstrap, embedded=True), topics))


def test_needed_topics_have_the_partitions_and_the_cleanup_they_are_declared_with() -> None:
    topics = {topic.name: topic for topic in needed_topics("app", ["session"], 12)}
    assert topics["auth-events"].partitions == topics["app-session-state-changelog"].partitions == 12
    assert topics["model-control"].partitions == 1
    assert topics["model-control"].config == {"cleanup.policy": "compact"}
    assert topics["app-session-state-changelog"].config["cleanup.policy"] == "compact"


def test_nobody_answers_over_tls_is_told_in_other_words() -> None:
    hidden = "hidden"
    connection = Connection("127.0.0.1:1", security_protocol="SASL_PLAINTEXT", username="me", password=hidden)
    with pytest.raises(BrokerUnreachableError, match="refuses user me over SASL_PLAINTEXT") as exception_info:
        asyncio.run(check_topics(connection, []))
    assert hidden not in str(exception_info.value)
    assert hidden not in repr(connection)


def test_an_embedded_broker_has_four_partitions() -> None:
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap, embedded=True)
        asyncio.run(produce(connection, [("things", f"k{i}".encode(), b"") for i in range(64)]))
        assert {record.partition for record in asyncio.run(read_all(connection, "things"))} == set(range(PARTITIONS))
