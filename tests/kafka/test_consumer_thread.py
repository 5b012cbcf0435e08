"""How brokers are asked: for what a moment brings while records flow, else for the first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest
from faust.transport.drivers import aiokafka as driver

from pipeline.kafka.app import WorkerConfig, consumer_config
from pipeline.kafka.connection import Connection
from pipeline.kafka.consumer_thread import (
    ENOUGH_BYTES,
    POLL_SECONDS,
    AdaptiveFetchWait,
    BatchConsumerThread,
    ConsumerConfig,
)
from pipeline.kafka.fencing import Lease
from pipeline.kafka.partition_tasks import TaskManager
from pipeline.processing.observer import NullObserver

Answer = Mapping[str, list[str]]
NOTHING: Answer = {}
A_CALL: Answer = {"api-calls": ["a call"]}
WHILE_RECORDS_FLOW, TO_THE_FIRST = (5, ENOUGH_BYTES), (250, 1)
WHILE_OTHERS_ARE_LINED_UP = POLL_SECONDS / 5


class ThreadWithoutConsumer(BatchConsumerThread):
    """The consumer's thread, without a consumer."""

    consumer_config = ConsumerConfig(cast("Any", None), cast("Any", None), fetch_wait_ms=5, idle_wait_ms=250)

    def __init__(self, multiplier: float = 1.0) -> None:
        """No thread is begun, and no consumer says how to assign partitions."""
        self._fetch_wait = cast("AdaptiveFetchWait", SimpleNamespace(multiplier=lambda: multiplier))


def _asked(*fetches: tuple[Answer, float], multiplier: float = 1.0) -> list[tuple[int, int]]:
    """Milliseconds and bytes that brokers are asked to wait for, after each of *fetches* with its wait."""
    answers = iter([answer for answer, _ in fetches])
    fetcher = SimpleNamespace(_records={}, _fetch_max_wait_ms=5, _fetch_min_bytes=ENOUGH_BYTES)
    consumer: Any = SimpleNamespace(
        _fetcher=fetcher, _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=None))
    )

    async def answered(*_: object) -> Answer:
        return next(answers)

    async def story() -> list[tuple[int, int]]:
        asked = []
        for _, wait in fetches:
            await ThreadWithoutConsumer(multiplier)._fetch_records(consumer, set(), wait)
            asked.append((fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes))
        return asked

    with patch.object(driver.AIOKafkaConsumerThread, "_fetch_records", answered):
        return asyncio.run(story())


def test_where_nothing_came_the_next_answer_comes_with_the_first_record() -> None:
    assert _asked((A_CALL, POLL_SECONDS), (NOTHING, POLL_SECONDS)) == [WHILE_RECORDS_FLOW, TO_THE_FIRST]


def test_with_the_first_record_others_are_collected_again() -> None:
    assert _asked((NOTHING, POLL_SECONDS), (A_CALL, POLL_SECONDS)) == [TO_THE_FIRST, WHILE_RECORDS_FLOW]


def test_a_short_look_while_others_are_lined_up_does_not_mean_that_nothing_comes() -> None:
    assert _asked((NOTHING, WHILE_OTHERS_ARE_LINED_UP)) == [WHILE_RECORDS_FLOW]


def test_a_busy_worker_lets_brokers_collect_for_longer() -> None:
    assert _asked((A_CALL, POLL_SECONDS), (NOTHING, POLL_SECONDS), multiplier=2.6) == [
        (13, ENOUGH_BYTES),
        TO_THE_FIRST,
    ]


@pytest.mark.parametrize(
    ("embedded", "set_to", "waits"),
    [(False, 5, (5, 250)), (False, 1_000, (1_000, 1_000)), (True, 5, (5, 5)), (True, 1_000, (10, 10))],
)
def test_an_embedded_broker_which_wakes_no_fetch_is_asked_often(
    embedded: bool,
    set_to: int,
    waits: tuple[int, int],
) -> None:
    edge = WorkerConfig(Connection("127.0.0.1:1", embedded=embedded), fetch_wait_ms=set_to)
    reading = consumer_config(edge, Lease(10.0), TaskManager(NullObserver(), 1.0))
    assert (reading.fetch_wait_ms, reading.idle_wait_ms) == waits


def test_a_consumer_that_no_broker_answers_is_stopped_and_leaves_nothing_open() -> None:
    closed = []

    async def cancelled(_: object) -> None:
        raise asyncio.CancelledError  # what aiokafka says of the fetches that it cancelled itself

    async def close() -> None:
        closed.append("connections")

    thread = ThreadWithoutConsumer()
    thread._consumer = SimpleNamespace(_client=SimpleNamespace(close=close))
    with patch.object(driver.AIOKafkaConsumerThread, "on_thread_stop", cancelled):
        asyncio.run(thread.on_thread_stop())
    assert closed == ["connections"]
