"""A store that says nothing, neither yes nor no: the lead counts as lost, and a signal is obeyed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from pipeline.transmitter import leader
from pipeline.transmitter.store.database import Store
from tests.support.stores import new_store
from tests.transmitter.test_leader import PATIENCE, crew, until


class Silence:
    """Stands for `leading.lead`, whose database stops answering for a while: `enter`, `held` or `exit`."""

    def __init__(self) -> None:
        self.silent = self.waiting = ""
        self.answers = threading.Event()
        self.entered = self.exited = 0

    def __call__(self, _: Store) -> Silence:
        return self

    def __enter__(self) -> Self:
        self._wait("enter")
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._wait("exit")
        self.exited += 1

    def __bool__(self) -> bool:
        return True

    def is_held(self) -> bool:
        self._wait("held")
        return True

    def _wait(self, what: str) -> None:
        if self.silent == what:
            self.waiting = what
            self.answers.wait(PATIENCE)

    def fall_silent(self, what: str) -> None:
        self.answers.clear()
        self.silent = what

    def answer(self) -> None:
        self.silent = ""
        self.answers.set()


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    made = Silence()
    monkeypatch.setattr(leader, "lead", made)
    for name in ("CHECK_S", "RETRY_S", "STORE_TIMEOUT_S"):
        monkeypatch.setattr(leader, name, 0.05)
    yield made
    made.answer()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = new_store(tmp_path)
    yield opened
    opened.close()


def test_a_lead_of_which_nothing_is_heard_is_lost_until_it_is_given_anew(
    store: Store, silence: Silence, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with crew(store) as this_crew:
            await until("it works", lambda: this_crew.works)
            silence.fall_silent("held")
            await until("its parts have ended", lambda: all(part.ended for part in this_crew.made[0]))
            silence.answer()
            await until("it works again", lambda: len(this_crew.made) == 2 and this_crew.works)

    asyncio.run(story())
    assert "the store did not answer within 0.05 s who leads" in caplog.text
    assert "the leadership is lost; another transmitter may lead now" in caplog.text


@pytest.mark.parametrize("what", ["held", "exit"])
def test_whoever_is_told_to_end_ends_although_the_store_says_nothing(store: Store, silence: Silence, what: str) -> None:
    async def story() -> None:
        async with crew(store) as this_crew:
            await until("it works", lambda: this_crew.works)
            silence.fall_silent(what)
            if what == "held":
                await until("it asks", lambda: silence.waiting == what)
            this_crew.working.stop()
            async with asyncio.timeout(PATIENCE / 2):
                await this_crew.task
            assert all(part.ended for part in this_crew.made[0])
            assert this_crew.working.stopped_cleanly

    asyncio.run(story())


def test_a_lead_that_cannot_be_given_back_is_told(
    store: Store, silence: Silence, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with crew(store) as this_crew:
            await until("it works", lambda: this_crew.works)
            silence.fall_silent("exit")
            this_crew.working.stop()
            await this_crew.task

    asyncio.run(story())
    assert "the leadership could not be given back within 0.05 s" in caplog.text


def test_a_lead_that_is_given_too_late_is_given_back_and_asked_for_again(
    store: Store, silence: Silence, caplog: pytest.LogCaptureFixture
) -> None:
    silence.fall_silent("enter")

    async def story() -> None:
        async with crew(store) as this_crew:
            await until("it gave up", lambda: "did not answer within 0.05 s who leads" in caplog.text)
            assert (this_crew.made, silence.entered) == ([], 0)
            silence.answer()
            await until("it works", lambda: this_crew.works)
            await until("the late leads were given back", lambda: silence.exited == silence.entered - 1)

    asyncio.run(story())
    assert silence.entered >= 2
