"""The intake on the embedded broker: nothing is committed that is not stored, and nothing is lost."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.kafka.group_reader import GroupReader
from pipeline.kafka.topics import BrokerUnreachableError
from pipeline.transmitter import leader
from pipeline.transmitter.store import revocations
from pipeline.transmitter.store.database import StoreError
from pipeline.transmitter.tokens.builder import TokenBuilder
from pipeline.transmitter.tokens.events import TOPICS
from schemas.decode import encode
from schemas.decoded import DEFAULT_LIMITS, Limits
from schemas.topics import AUTH_EVENTS, SESSION_REVOCATIONS
from tests.support.header_names import spoil_headers
from tests.support.transmitter_on_kafka import fail_once, listening, now_ms, tell, write
from tests.support.transmitter_records import (
    ack,
    because,
    credential,
    decision,
    new_store,
    queued,
    revocation,
    stream,
    token_builder,
)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with EmbeddedBroker() as broker:
        broker.create(TOPICS)
        yield Connection(broker.bootstrap, embedded=True)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[TokenBuilder]:
    store = new_store(tmp_path, stream())
    yield token_builder(store)
    store.close()


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_records_become_tokens_the_streams_are_rung_for_and_a_successor_goes_on(
    connection: Connection, made: TokenBuilder
) -> None:
    async def story() -> None:
        now = now_ms()
        async with listening(connection, made) as this_listening:
            await tell(connection, revocation(decided_at=now), decision("device_rooted"), credential())
            await this_listening.until(lambda: len(queued(made.store)) == 4, "four tokens")
            await this_listening.until(
                lambda: this_listening.counted("records_total", topic=AUTH_EVENTS) == 1, "the count"
            )
            assert set(this_listening.rung) == {"st-1"}
        await tell(connection, ack(occurred_at=now + 2000))
        async with listening(connection, made) as other:
            await other.until(lambda: other.counted("commands_total", state="confirmed") == 1, "the word")
            assert other.counted("records_total", topic=SESSION_REVOCATIONS) == 0
            assert other.counted("confirmations_total", in_time="yes") == 1
            assert other.counted("confirmation_seconds_sum") == 2.0

    run(story())
    assert Counter(row.event for row in queued(made.store)) == Counter(
        ["session-revoked", "risk-level-change", "device-compliance-change", "credential-change"]
    )


def test_what_the_store_does_not_take_waits_and_is_not_committed(
    connection: Connection,
    made: TokenBuilder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    async def story() -> None:
        with monkeypatch.context() as broken:
            broken.setattr(revocations, "record", fail)
            async with listening(connection, made) as this_listening:
                await tell(connection, revocation())
                await this_listening.until(
                    lambda: any("the disk is full" in text for text in caplog.messages), "the word"
                )
        assert queued(made.store) == []
        async with listening(connection, made) as other:
            await other.until(lambda: len(queued(made.store)) == 1, "the token")

    with caplog.at_level(logging.WARNING):
        run(story())


def test_an_offset_that_is_not_kept_is_told_and_costs_nothing(
    connection: Connection,
    made: TokenBuilder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    commit, tries = GroupReader.commit, []

    async def fail_once(reader: GroupReader) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise BrokerUnreachableError("the coordinator moves")
        await commit(reader)

    monkeypatch.setattr(GroupReader, "commit", fail_once)

    async def story() -> None:
        async with listening(connection, made) as this_listening:
            await tell(connection, revocation())
            await this_listening.until(lambda: len(tries) == 1, "the first commit")
            await tell(connection, credential())
            await this_listening.until(lambda: len(tries) == 2, "the second")
        async with listening(connection, made) as other:
            assert other.counted("records_total", topic=SESSION_REVOCATIONS) == 0

    with caplog.at_level(logging.WARNING):
        run(story())
    assert [row.event for row in queued(made.store)] == ["session-revoked", "credential-change"]
    assert "the coordinator moves; it is retried after the next batch" in caplog.messages


def test_how_far_behind_it_is_is_shown(connection: Connection, made: TokenBuilder) -> None:
    async def story() -> None:
        async with listening(connection, made) as this_listening:
            await tell(connection, revocation())
            await this_listening.until(lambda: len(queued(made.store)) == 1, "the token")
            await this_listening.until(
                lambda: this_listening.shown("behind_records", topic=SESSION_REVOCATIONS, partition="0") is not None,
                "the gauge",
            )

    run(story())


def test_a_store_that_comes_back_takes_what_waited(
    connection: Connection, made: TokenBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, tries = revocations.record, []

    def fail_once(*given: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise StoreError("the database restarts")
        return record(*given)

    monkeypatch.setattr(revocations, "record", fail_once)

    async def story() -> None:
        async with listening(connection, made) as this_listening:
            await tell(connection, revocation())
            await this_listening.until(lambda: len(queued(made.store)) == 1, "the token")

    run(story())
    assert len(tries) == 2


def test_a_record_that_cannot_be_read_is_counted_and_logged_with_its_place_and_stops_nothing(
    connection: Connection, made: TokenBuilder, caplog: pytest.LogCaptureFixture
) -> None:
    odd = encode({**revocation().record, "session_id": "s-1", "principal_id": "a\x00b"})

    async def story() -> None:
        async with listening(connection, made) as this_listening:
            await write(connection, SESSION_REVOCATIONS, b"s-1", b"{")
            await write(connection, SESSION_REVOCATIONS, b"s-1", odd)
            await tell(connection, revocation())
            await this_listening.until(lambda: len(queued(made.store)) == 1, "the token")
            assert this_listening.counted("refused_records_total", topic=SESSION_REVOCATIONS) == 2

    with caplog.at_level(logging.WARNING):
        run(story())
    lines = [text for text in caplog.messages if "cannot be decoded" in text]
    assert ["record 0 of" in lines[0], "record 1 of" in lines[1]] == [True, True]
    assert lines[1].endswith("principal_id: contains a NUL character")


def test_a_tenant_is_believed_only_where_the_header_says_the_same_if_that_is_asked(
    connection: Connection, made: TokenBuilder
) -> None:
    async def story() -> None:
        async with listening(connection, made, limits=Limits(tenancy=True)) as this_listening:
            await tell(connection, credential(tenant="acme", event_id="e-7"), tenants=[b"umbrella"])
            await tell(connection, credential(tenant="acme", event_id="e-8"), tenants=[b"acme"])
            await tell(connection, revocation(tenant="acme"))
            await this_listening.until(lambda: len(queued(made.store)) == 2, "two tokens")
            assert this_listening.counted("refused_records_total", topic=AUTH_EVENTS) == 1

    run(story())
    assert {row.txn for row in queued(made.store)} == {"e-8", "d-1"}


def test_auth_events_about_no_credential_are_not_even_decoded(connection: Connection, made: TokenBuilder) -> None:
    async def story() -> None:
        async with listening(connection, made) as this_listening:
            await write(connection, AUTH_EVENTS, b"s-1", b"{")
            await tell(connection, credential("sign_in"))
            await this_listening.until(lambda: this_listening.counted("records_total", topic=AUTH_EVENTS) == 2, "both")
            assert this_listening.counted("refused_records_total", topic=AUTH_EVENTS) == 0

    run(story())
    assert queued(made.store) == []


def test_the_workers_own_word_is_taken_however_long_it_is_and_whatever_its_time(
    connection: Connection, made: TokenBuilder
) -> None:
    many = [because("mass_read", evidence=[f"{number}".rjust(128) for number in range(32)])] * 40

    async def story() -> None:
        async with listening(connection, made) as this_listening:
            decoded_record = decision(*many, occurred_at=now_ms() + 3_600_000)
            assert len(encode(decoded_record.record)) > DEFAULT_LIMITS.max_bytes
            await tell(connection, decoded_record)
            await this_listening.until(lambda: len(queued(made.store)) == 1, "the token")

    run(story())


@pytest.mark.parametrize("asked", ["beginning_offsets", "committed", "commit", "getmany", "position"])
def test_brokers_that_fail_once_are_read_anew_and_nothing_of_what_they_gave_is_lost(
    connection: Connection,
    made: TokenBuilder,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(leader, "RETRY_S", 0.05)
    failed = fail_once(monkeypatch, asked)

    async def story() -> None:
        async with listening(connection, made) as this_listening:
            await tell(connection, revocation())
            await this_listening.until(lambda: len(queued(made.store)) == 1 and bool(failed), "the token")

    run(story())
    assert "reading Kafka is suspended: " in caplog.text
    assert "not now" in caplog.text


@pytest.mark.parametrize("topic", TOPICS)
def test_a_record_whose_header_has_a_name_that_is_no_text_holds_up_nothing(
    connection: Connection,
    made: TokenBuilder,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil_headers(monkeypatch)

    async def story() -> None:
        async with listening(connection, made) as this_listening:
            await tell(connection, credential(event_id="e-1"), revocation(decision_id="d-1"))
            await write(connection, topic, b"s-1", b'{"action": "credential_added"}', header="no-text")
            await tell(connection, credential(event_id="e-2"), revocation(decision_id="d-2"))
            await this_listening.until(lambda: len(queued(made.store)) == 4, "what lies around it")
            await this_listening.until(
                lambda: this_listening.counted("refused_records_total", topic=topic) == 1, "the count"
            )
        async with listening(connection, made) as other:
            assert other.counted("refused_records_total", topic=topic) == 0

    run(story())
    assert {row.txn for row in queued(made.store)} == {"e-1", "e-2", "d-1", "d-2"}
    assert caplog.text.count("cannot be decoded: ") == 1
