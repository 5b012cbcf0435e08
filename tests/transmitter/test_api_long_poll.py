"""Long polls (RFC 8936 §2.2), and the bell that ends them."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED, Task, create_task
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Timer
from typing import Any, TypeVar

import pytest

from pipeline.transmitter import notifier
from pipeline.transmitter.api import polling as api_polling
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.store import queue
from tests.support.stores import token as signed
from tests.support.transmitter_api import Answer, Api, new_api

NOTHING = {"sets": {}, "moreAvailable": False}
T = TypeVar("T")


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"long_poll_s": 600}


@pytest.fixture
def poll(api: Api) -> Callable[[], Task[Answer]]:
    """Begin a long poll of the stream `stream`, which has nothing yet."""
    token = api.token()
    stream = api.stream(token)["stream_id"]
    api.ids = {"stream": stream, "token": token}
    return lambda: create_task(api.call("POST", f"/t1/ssf/poll/{stream}", {}, token=token))


def _in_time(work: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(60):
            return await work()

    return asyncio.run(bounded())


def _put(api: Api, jti: str) -> None:
    with api.services.store.begin() as conn:
        queue.put(conn, [signed(jti, api.ids["stream"])], api.now)


def test_a_long_poll_ends_when_the_bell_rings(
    api: Api, poll: Callable[[], Task[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "POLL_S", 600.0)

    async def work() -> Any:
        polling = poll()
        await asyncio.sleep(0.1)
        assert not polling.done()
        await asyncio.to_thread(_put, api, "a")
        api.services.notifier.notify([api.ids["stream"]])
        return (await polling).json

    assert _in_time(work) == {"sets": {"a": "jwt of a"}, "moreAvailable": False}


def test_what_another_process_stores_is_found_without_a_ring(api: Api, poll: Callable[[], Task[Answer]]) -> None:
    async def work() -> Any:
        polling = poll()
        await asyncio.sleep(0.1)
        await asyncio.to_thread(_put, api, "a")
        return (await polling).json

    assert _in_time(work) == {"sets": {"a": "jwt of a"}, "moreAvailable": False}


def test_a_long_poll_ends_empty_after_its_time(tmp_path: Path) -> None:
    api = new_api(tmp_path, long_poll_s=0.2)
    token = api.token()
    path = f"/ssf/poll/{api.stream(token)['stream_id']}"

    assert api.ask("POST", path, {}, token=token).json == NOTHING
    api.services.store.close()


def test_a_long_poll_ends_when_the_process_does(api: Api, poll: Callable[[], Task[Answer]]) -> None:
    async def work() -> Any:
        polling = poll()
        await asyncio.sleep(0.1)
        api.services.notifier.close()
        return [(await polling).json, (await poll()).json]

    assert _in_time(work) == [NOTHING, NOTHING]


def test_who_hangs_up_is_handed_nothing(
    api: Api, poll: Callable[[], Task[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "POLL_S", 600.0)
    path, token = f"/t1/ssf/poll/{api.ids['stream']}", api.ids["token"]

    async def work() -> list[Any]:
        gone = asyncio.Event()
        polling = create_task(api.call("POST", path, {}, token=token, gone=gone))
        await asyncio.sleep(0.1)
        gone.set()
        await asyncio.to_thread(_put, api, "a")
        api.services.notifier.notify([api.ids["stream"]])
        return [(await polling).json, (await poll()).json]

    assert _in_time(work) == [NOTHING, {"sets": {"a": "jwt of a"}, "moreAvailable": False}]


@pytest.mark.parametrize(
    ("method", "path", "output", "status"),
    [
        ("DELETE", "/ssf/stream?stream_id={stream}", None, 404),
        ("POST", "/ssf/status", {"status": "disabled"}, None),
    ],
)
def test_a_long_poll_notices_what_becomes_of_its_stream(
    api: Api, poll: Callable[[], Task[Answer]], method: str, path: str, output: Any, status: int | None
) -> None:
    stream, token = api.ids["stream"], api.ids["token"]
    body = None if output is None else {"stream_id": stream, **output}

    async def work() -> int | None:
        polling = poll()
        await asyncio.sleep(0.1)
        await api.call(method, f"/t1{path.format(stream=stream)}", body, token=token)
        if status is None:  # it goes on waiting, and is handed nothing
            await asyncio.to_thread(_put, api, "a")
            api.services.notifier.notify([stream])
            done, _ = await asyncio.wait([polling], timeout=1.5)
            api.services.notifier.close()
            assert (done, (await polling).json) == (set(), NOTHING)
            return None
        return (await polling).status

    assert _in_time(work) == status


def test_of_many_long_polls_of_a_stream_only_some_wait(api: Api, poll: Callable[[], Task[Answer]]) -> None:
    async def work() -> list[Any]:
        waiting = {poll() for _ in range(api_polling.MAX_LONG_POLLS + 2)}
        done: set[Task[Answer]] = set()
        while len(done) < 2:
            ended, waiting = await asyncio.wait(waiting, return_when=FIRST_COMPLETED)
            done |= ended
        assert len(waiting) == api_polling.MAX_LONG_POLLS
        api.services.notifier.close()
        return [(await task).json for task in (*done, *waiting)]

    assert _in_time(work) == [NOTHING] * (api_polling.MAX_LONG_POLLS + 2)


def test_the_bell_keeps_a_ring_for_who_comes_next() -> None:
    async def work() -> list[bool]:
        notifier = Notifier()
        notifier.notify(["a"])
        return [await notifier.wait("a", 0.01), await notifier.wait("a", 0.01), await notifier.wait("b", 0.01)]

    assert _in_time(work) == [True, False, False]


def test_the_bell_wakes_all_who_wait_from_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "POLL_S", 600.0)

    async def work() -> list[bool]:
        notifier = Notifier()
        waiting = [create_task(notifier.wait("a", 600)) for _ in range(3)]
        Timer(0.1, notifier.notify, [["a", "b"]]).start()  # the loop sleeps by then
        return await asyncio.gather(*waiting)

    assert _in_time(work) == [True, True, True]


def test_the_bell_forgets_who_waits_no_more_and_streams_that_are_gone() -> None:
    async def work() -> None:
        notifier = Notifier()
        await notifier.wait("a", 0.01)
        notifier.notify(["a"])
        notifier.forget("a")
        assert await notifier.wait("a", 0.01) is False
        assert (notifier._waiting, notifier._pending) == ({}, set())

    _in_time(work)
