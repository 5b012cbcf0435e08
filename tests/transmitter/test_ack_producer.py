"""An enforcer's word by HTTP goes on to Kafka, or whoever sent it is told in time that it did not."""

from __future__ import annotations

import asyncio
import time

import pytest

from pipeline.kafka.client import read_retained
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.processing.processor import Record
from pipeline.transmitter import ack_producer
from pipeline.transmitter.ack_producer import AckProducer
from pipeline.transmitter.services import AckNotSentError
from schemas.control import RevocationAck
from schemas.decode import encode
from schemas.topics import REVOCATION_ACKS
from tests.support.transmitter_records import ack

WORD = RevocationAck.model_validate(ack(tenant="acme").record)
PATIENCE = 20.0


async def written(connection: Connection) -> list[Record]:
    return [record async for record in read_retained(connection, [REVOCATION_ACKS])]


def test_a_word_is_safe_in_kafka_with_the_tenant_that_it_is_of() -> None:
    with EmbeddedBroker() as broker:
        broker.create([REVOCATION_ACKS])
        connection = Connection(broker.bootstrap, embedded=True)

        async def story() -> list[Record]:
            passing = AckProducer(connection)
            await passing.write(WORD)
            await passing.close()
            return await written(connection)

        (record,) = asyncio.run(story())
    assert (record.key, record.value) == (b"s-1", encode(WORD))
    assert list(record.headers) == [("tenant", b"acme")]


def test_where_no_broker_answers_it_is_told_and_the_next_word_is_tried_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        passing = AckProducer(Connection("127.0.0.1:1"))
        for _ in range(2):
            with pytest.raises(AckNotSentError, match="cannot be stored now; send it again later"):
                await passing.write(WORD)
        await passing.close()

    asyncio.run(story())
    assert caplog.text.count("an acknowledgement could not be written to Kafka") == 2


def test_brokers_that_fall_silent_keep_neither_those_who_wait_nor_a_stop_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(broker: EmbeddedBroker) -> float:
        passing = AckProducer(Connection(broker.bootstrap, embedded=True))
        await passing.write(WORD)
        broker.__exit__(None, None, None)
        monkeypatch.setattr(ack_producer, "SEND_TIMEOUT_S", 0.5)
        began = time.monotonic()
        async with asyncio.timeout(2 * PATIENCE):
            given = await asyncio.gather(*(passing.write(WORD) for _ in range(5)), return_exceptions=True)
            await passing.close()
        assert [type(base_exception) for base_exception in given] == [AckNotSentError] * 5
        return time.monotonic() - began

    with EmbeddedBroker() as broker:
        broker.create([REVOCATION_ACKS])
        assert asyncio.run(story(broker)) < PATIENCE
