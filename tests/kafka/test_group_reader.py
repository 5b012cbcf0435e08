"""Reading on for a group: what brokers do not answer, or not this time, is told and may be tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownError,
)

from pipeline.kafka import group_reader
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import BrokerUnreachableError, RightsMissingError, TopicsNotReadyError

PATIENCE = 30.0
PLACE = TopicPartition("session-risk", 0)
ASKED = {
    "end_offsets": "does not report the offsets of its topics",
    "offsets_for_times": "does not look offsets up by time",
    "committed": "does not return the committed offsets",
    "commit": "does not commit offsets",
    "getmany": "returns no records",
    "position": "does not report how much is unread",
}
"""What brokers are asked, and what they fail to do when they do not answer."""


class Reader:
    """A consumer of one partition. What *fails* raises *failure*, or is never answered."""

    def __init__(self, fails: str = "", failure: BaseException | None = None) -> None:
        self.fails = fails
        self.failure = failure
        self.kept: list[Any] = []
        self.sought: list[Any] = []

    async def _answer(self, name: str, given: Any) -> Any:
        if name != self.fails:
            return given
        if self.failure is None:
            await asyncio.Event().wait()
        raise self.failure or AssertionError

    async def stop(self) -> None:
        self.kept.append("stopped")

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    def assign(self, places: list[TopicPartition]) -> None:
        assert places == [PLACE]

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.sought.append((place, offset))

    async def end_offsets(self, places: list[TopicPartition]) -> Any:
        return await self._answer("end_offsets", dict.fromkeys(places, 7))

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> Any:
        return await self._answer("offsets_for_times", dict.fromkeys(times))

    async def committed(self, place: TopicPartition) -> Any:
        return await self._answer("committed", None)

    async def commit(self, offsets: Any = None) -> None:
        self.kept.append(await self._answer("commit", offsets))

    async def getmany(self, **asked: int) -> Any:
        return await self._answer("getmany", {})

    def highwater(self, place: TopicPartition) -> int:
        return 9

    async def position(self, place: TopicPartition) -> Any:
        return await self._answer("position", 7)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_reader, "RESPONSE_TIMEOUT_S", 0.05)


def read_with(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], int]:
    """Begin, read once, commit, and say how far there is to read."""

    @asynccontextmanager
    async def given(*_: object, **__: object) -> AsyncIterator[Reader]:
        yield reader

    monkeypatch.setattr(group_reader, "open_reader", given)
    monkeypatch.setattr(group_reader, "start_consumer", given)

    async def story() -> dict[tuple[str, int], int]:
        ours = group_reader.group_reader(Connection("kafka:9092"), "ours", [PLACE.topic], 0)
        async with asyncio.timeout(PATIENCE), ours as read:
            assert await read.chunk(10, 1) == []
            await read.commit()
            return await read.lag()

    return asyncio.run(story())


def test_a_new_group_begins_at_the_end_where_nothing_came_since_and_keeps_that_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = Reader()

    assert read_with(reader, monkeypatch) == {("session-risk", 0): 2}
    assert reader.sought == [(PLACE, 7)]
    assert reader.kept == [{PLACE: 7}, None, "stopped"]


def test_one_commit_is_under_way_at_a_time_and_what_was_given_since_is_kept_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, answer = Reader(), asyncio.Event()

    async def commit() -> None:
        reader.kept.append("asked")
        await answer.wait()
        reader.kept.append("kept")

    monkeypatch.setattr(reader, "commit", commit)
    read = group_reader.GroupReader(reader, Connection("kafka:9092"), [PLACE.topic])

    async def story() -> None:
        for _ in range(2):
            with pytest.raises(BrokerUnreachableError, match="no answer in"):
                await read.commit()
        assert reader.kept == ["asked"]
        answer.set()
        await read.commit()
        await read.end()

    asyncio.run(story())
    assert reader.kept == ["asked", "kept", "asked", "kept"]


def test_a_commit_that_fails_is_told_once_and_the_next_one_is_asked_anew() -> None:
    reader = Reader("commit", UnknownError())
    read = group_reader.GroupReader(reader, Connection("kafka:9092"), [PLACE.topic])

    async def story() -> None:
        with pytest.raises(BrokerUnreachableError):
            await read.commit()
        reader.fails = ""
        await read.commit()
        await read.end()

    asyncio.run(story())
    assert reader.kept == [None]


def test_what_is_not_kept_in_the_end_is_given_up() -> None:
    reader = Reader("commit")
    read = group_reader.GroupReader(reader, Connection("kafka:9092"), [PLACE.topic])

    async def story() -> int:
        with pytest.raises(BrokerUnreachableError):
            await read.commit()
        await read.end()
        return len(asyncio.all_tasks())

    assert asyncio.run(story()) == 1


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("failure", [KafkaTimeoutError("slow"), UnknownError(), ConnectionResetError()])
def test_whatever_brokers_fail_to_do_may_be_tried_again(
    asked: str, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BrokerUnreachableError) as exception_info:
        read_with(Reader(asked, failure), monkeypatch)

    assert str(exception_info.value) == f"kafka:9092 {ASKED[asked]}: {failure!r}"


@pytest.mark.parametrize("asked", ASKED)
def test_who_is_never_answered_waits_no_longer_than_it_may_take(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokerUnreachableError) as exception_info:
        read_with(Reader(asked), monkeypatch)

    assert str(exception_info.value) == f"kafka:9092 {ASKED[asked]}: no answer in 0.05 s"


@pytest.mark.parametrize("asked", ["committed", "commit"])
def test_a_group_that_it_may_not_be_is_told_with_what_to_do_and_stays_so(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RightsMissingError) as exception_info:
        read_with(Reader(asked, GroupAuthorizationFailedError("ours")), monkeypatch)

    assert str(exception_info.value) == (
        "kafka:9092 does not let this client read as group ours; `session-risk topics acls` lists the rights "
        "of each role, and grants them"
    )


@pytest.mark.parametrize("asked", ASKED)
def test_a_topic_that_it_may_not_read_is_told_with_what_to_do_and_stays_so(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RightsMissingError, match="does not let this client read topic session-risk"):
        read_with(Reader(asked, TopicAuthorizationFailedError("session-risk")), monkeypatch)


class Missing:
    async def __aenter__(self) -> Reader:
        raise TopicsNotReadyError("kafka:9092 has no topic session-risk")

    async def __aexit__(self, *_: object) -> None:
        raise AssertionError


@pytest.mark.parametrize("there", [True, False])
def test_topics_are_missing_only_where_a_broker_answers_and_does_not_have_them(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def ping_broker(_: Connection) -> None:
        if not there:
            raise BrokerUnreachableError("no broker answers")

    monkeypatch.setattr(group_reader, "open_reader", lambda *_: Missing())
    monkeypatch.setattr(group_reader, "ping_broker", ping_broker)

    async def story() -> None:
        async with group_reader.group_reader(Connection("kafka:9092"), "ours", [PLACE.topic], 0):
            raise AssertionError

    with pytest.raises(TopicsNotReadyError if there else BrokerUnreachableError):
        asyncio.run(story())
