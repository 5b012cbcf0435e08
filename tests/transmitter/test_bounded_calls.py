"""A question put in a thread: its answer in time, or none, and what comes too late is not lost."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from pipeline.transmitter.leader import call_with_timeout

PATIENCE = 30.0


def test_an_answer_in_time_is_given_and_a_failure_is_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert asyncio.run(call_with_timeout(lambda: 7, PATIENCE)) == 7
    with pytest.raises(ZeroDivisionError):
        asyncio.run(call_with_timeout(fail, PATIENCE))


def test_who_is_not_answered_goes_on_and_what_comes_too_late_is_taken_by_another() -> None:
    answer, taken = threading.Event(), threading.Event()
    given: list[int] = []

    def wait() -> int:
        answer.wait(PATIENCE)
        return 7

    def late(number: int) -> None:
        given.append(number)
        taken.set()

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(call_with_timeout(wait, 0.05, late))
    took = time.monotonic() - began
    before = list(given)
    answer.set()

    assert taken.wait(PATIENCE)
    assert (before, given) == ([], [7])
    assert took < PATIENCE / 2


def test_an_answer_that_comes_as_time_is_up_is_given_and_not_taken_twice() -> None:
    given: list[int] = []

    async def story() -> int:
        asking = asyncio.create_task(call_with_timeout(lambda: 7, 0.02, given.append))
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - the loop is held up past the time
        return await asking

    assert asyncio.run(story()) == 7
    assert given == []


def test_a_failure_that_comes_too_late_bothers_nobody() -> None:
    answer, failed = threading.Event(), threading.Event()

    def fail() -> None:
        answer.wait(PATIENCE)
        failed.set()
        raise ZeroDivisionError

    with pytest.raises(TimeoutError):
        asyncio.run(call_with_timeout(fail, 0.05))
    answer.set()
    assert failed.wait(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "asks":
            thread.join(PATIENCE)
