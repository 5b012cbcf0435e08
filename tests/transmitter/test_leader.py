"""Of several transmitters on one store one works; when it is gone another does, and what fails is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from pipeline.kafka.topics import BrokerUnreachableError
from pipeline.transmitter import leader
from pipeline.transmitter.leader import LeaderLoop, RestartingReader
from pipeline.transmitter.store.database import Store, StoreError
from tests.support.stores import new_store

PATIENCE = 30.0
"""Seconds within which whatever is waited for has happened."""


class LeaderTask:
    """Runs until it is stopped, or fails when it is told to; *stubborn* hears of no stop."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.stubborn = stubborn
        self.failure: BaseException | None = None
        self.begun = self.ended = self.cancelled = False
        self.wake = asyncio.Event()

    def stop(self) -> None:
        if not self.stubborn:
            self.wake.set()

    def fail(self, failure: BaseException) -> None:
        self.failure = failure
        self.wake.set()

    async def run(self) -> None:
        self.begun = True
        try:
            await self.wake.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.ended = True
        if self.failure is not None:
            raise self.failure


class Crew:
    """A transmitter: the parts it made, those of one beginning in a row of their own, and what it showed."""

    def __init__(self, store: Store, *, stubborn: bool = False) -> None:
        self.made: list[tuple[LeaderTask, LeaderTask]] = []
        self.shown: list[bool] = []
        self._stubborn = stubborn
        self.working = LeaderLoop(store, self._make, 0.0, self.shown.append)
        self.task = asyncio.create_task(self.working.run())

    def _make(self) -> tuple[LeaderTask, LeaderTask]:
        self.made.append((LeaderTask(), LeaderTask(stubborn=self._stubborn)))
        return self.made[-1]

    @property
    def works(self) -> bool:
        return bool(self.made) and all(part.begun and not part.ended for part in self.made[-1])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = new_store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHECK_S", "RETRY_S"):
        monkeypatch.setattr(leader, name, 0.02)


async def until(what: str, holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is looked at rings no bell
            await asyncio.sleep(0.01)
    assert holds(), what


@asynccontextmanager
async def crew(store: Store, *, stubborn: bool = False) -> AsyncIterator[Crew]:
    this_crew = Crew(store, stubborn=stubborn)
    try:
        yield this_crew
    finally:
        this_crew.working.stop()
        await asyncio.wait({this_crew.task})


def test_one_works_and_the_other_stands_by_until_it_has_ended(store: Store) -> None:
    async def story() -> None:
        async with crew(store) as first:
            await until("the first works", lambda: first.works)
            async with crew(store) as second:
                await asyncio.sleep(0.2)
                assert (second.made, set(second.shown)) == ([], {False})
                first.working.stop()
                await until("the second works", lambda: second.works)
                assert all(part.ended for part in first.made[0])

    asyncio.run(story())


def test_a_stop_lets_every_part_end_by_itself(store: Store) -> None:
    async def story() -> None:
        async with crew(store) as this_crew:
            await until("it works", lambda: this_crew.works)
            this_crew.working.stop()
            await this_crew.task
        assert [(part.ended, part.cancelled) for part in this_crew.made[0]] == [(True, False)] * 2
        assert (this_crew.shown, this_crew.working.stopped_cleanly) == ([True, False], True)

    asyncio.run(story())


def test_a_part_that_does_not_end_is_given_up_in_bounded_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leader, "STOP_MARGIN_S", 0.1)

    async def story() -> None:
        async with crew(store, stubborn=True) as this_crew:
            await until("it works", lambda: this_crew.works)
            this_crew.working.stop()
            await this_crew.task
        assert [part.cancelled for part in this_crew.made[0]] == [False, True]
        assert not this_crew.working.stopped_cleanly

    asyncio.run(story())
    assert "LeaderTask did not end in 0 s; its unfinished work is repeated" in caplog.text


def test_a_store_that_cannot_be_used_now_lets_all_of_the_work_begin_anew(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with crew(store) as this_crew:
            await until("it works", lambda: this_crew.works)
            this_crew.made[0][0].fail(StoreError("the store cannot be used now"))
            await until("it works again", lambda: len(this_crew.made) == 2 and this_crew.works)
            assert this_crew.made[0][1].ended

    asyncio.run(story())
    assert "the transmitter retries in 0 s: the store cannot be used now" in caplog.text


class Deaf:
    """Reads Kafka, which does not answer the first *times*."""

    def __init__(self, times: int) -> None:
        self.times, self.begun = times, 0
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        self.begun += 1
        if self.begun <= self.times:
            raise BrokerUnreachableError("no broker answers")
        await self._stop.wait()


def test_brokers_that_do_not_answer_are_asked_again_and_nothing_else_waits_for_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        part = Deaf(3)
        restarting_reader = asyncio.create_task((kept := RestartingReader(part)).run())
        await until("it reads", lambda: part.begun == 4)
        kept.stop()
        async with asyncio.timeout(PATIENCE):
            await restarting_reader

    asyncio.run(story())
    assert caplog.text.count("reading Kafka is suspended: no broker answers") == 3


def test_who_waits_for_brokers_ends_when_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "RETRY_S", 600.0)

    async def story() -> None:
        part = Deaf(99)
        restarting_reader = asyncio.create_task((kept := RestartingReader(part)).run())
        await until("it has asked", lambda: part.begun == 1)
        kept.stop()
        async with asyncio.timeout(PATIENCE):
            await restarting_reader

    asyncio.run(story())


def test_a_bug_ends_it_and_the_other_parts_in_order(store: Store) -> None:
    async def story() -> None:
        async with crew(store) as this_crew:
            await until("it works", lambda: this_crew.works)
            this_crew.made[0][0].fail(ZeroDivisionError())
            await asyncio.wait({this_crew.task})
        assert isinstance(this_crew.task.exception(), ZeroDivisionError)
        assert [(part.ended, part.cancelled) for part in this_crew.made[0]] == [(True, False)] * 2

    asyncio.run(story())


def test_a_lead_that_is_lost_ends_the_work_and_it_stands_by(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [True]

    class Lead:
        def __bool__(self) -> bool:
            return held[0]

        def is_held(self) -> bool:
            return held[0]

    @contextmanager
    def lead(_: Store) -> Iterator[Lead]:
        yield Lead()

    monkeypatch.setattr(leader, "lead", lead)

    async def story() -> None:
        async with crew(store) as this_crew:
            await until("it works", lambda: this_crew.works)
            held[0] = False
            await until("its parts have ended", lambda: all(part.ended for part in this_crew.made[0]))
            await asyncio.sleep(0.1)
            assert (len(this_crew.made), this_crew.shown[-1]) == (1, False)
            held[0] = True
            await until("it works again", lambda: len(this_crew.made) == 2 and this_crew.works)

    asyncio.run(story())
