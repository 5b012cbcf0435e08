"""Polls of what is about one subject: in its order, whoever polls, and without haste while it waits."""

from __future__ import annotations

import asyncio
from asyncio import create_task
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from pipeline.transmitter import notifier
from pipeline.transmitter.api.polling import MAX_ACKS
from pipeline.transmitter.store import queue
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.queue import dead_letters, polled
from tests.support.stores import token as signed
from tests.support.transmitter_api import Answer, Api, new_api

NOTHING = {"sets": {}, "moreAvailable": False}
SOON = {"returnImmediately": True}
T = TypeVar("T")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = new_api(tmp_path, long_poll_s=600, min_verification_s=30)
    token = api.token()
    api.ids = {"token": token, "stream": api.stream(token)["stream_id"]}
    yield api
    api.services.store.close()


def _put(api: Api, *jtis: str) -> None:
    """Put tokens in; the lane of each is its first letter."""
    with api.services.store.begin() as conn:
        queue.put(conn, [signed(jti, api.ids["stream"], jti[0]) for jti in jtis], api.now)


async def _call(api: Api, output: Any) -> Answer:
    return await api.call("POST", f"/t1/ssf/poll/{api.ids['stream']}", output, token=api.ids["token"])


def _poll(api: Api, **output: Any) -> tuple[list[str], bool]:
    found = asyncio.run(_awaited(_call(api, {**SOON, **output})))
    assert found.status == 200, found.body
    return list(found.json["sets"]), found.json["moreAvailable"]


async def _awaited(answer: Awaitable[T]) -> T:
    async with asyncio.timeout(60):
        return await answer


def test_what_is_behind_a_token_left_unanswered_waits_and_is_not_called_available(
    api: Api,
) -> None:
    _put(api, "a1", "a2", "b1")

    assert _poll(api, maxEvents=1) == (["a1"], True)
    assert _poll(api) == (["b1"], False)
    assert _poll(api, maxEvents=0) == ([], False)
    assert _poll(api, maxEvents=0, ack=["a1"]) == ([], True)
    assert _poll(api) == (["a2"], False)


def test_who_asks_for_more_as_long_as_more_is_available_comes_to_an_end(api: Api) -> None:
    _put(api, *(f"a{number}" for number in range(5)), "b1")

    seen: list[str] = []
    more = True
    while more:
        found, more = _poll(api, maxEvents=2)
        assert found
        seen += found
    assert seen == ["a0", "a1", "b1"]


def test_who_takes_what_it_is_handed_is_told_of_what_is_behind_it(api: Api) -> None:
    _put(api, "a1", "a2", "a3")

    assert _poll(api, maxEvents=1) == (["a1"], True)
    assert _poll(api, maxEvents=1, ack=["a1"]) == (["a2"], True)
    assert _poll(api, maxEvents=1, ack=["a2"]) == (["a3"], False)


def test_a_second_verification_comes_although_nothing_was_said_to_the_first(api: Api) -> None:
    stream, token = api.ids["stream"], api.ids["token"]
    for state in ("one", "two"):
        assert api.ask("POST", "/ssf/verify", {"stream_id": stream, "state": state}, token=token).status == 204
        assert [len(_poll(api, maxEvents=10)[0]) for _ in range(2)] == [1, 0]
        api.now += 30_000


def test_a_dry_run_tells_all_that_is_about_one_subject(tmp_path: Path) -> None:
    api = new_api(tmp_path, dry_run=True)
    token = api.token()
    api.ids = {"token": token, "stream": api.stream(token)["stream_id"]}
    with api.services.store.begin() as conn:
        tokens = [signed(f"a{number}", api.ids["stream"], jwt="h.e30.s") for number in range(3)]
        queue.put(conn, tokens, api.now)

    assert [_poll(api, maxEvents=2)[0] for _ in range(2)] == [[], []]
    with api.services.store.read() as conn:
        assert {dead_letter.jti for dead_letter in dead_letters.list_dead_letters(conn)} == {"a0", "a1", "a2"}
    api.services.store.close()


# --- Long polls ---


def test_a_word_about_one_lets_a_long_poll_have_what_is_behind_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "POLL_S", 600.0)
    _put(api, "a1", "a2")

    async def work() -> Any:
        assert list((await _call(api, {"maxEvents": 1})).json["sets"]) == ["a1"]
        polling = create_task(_call(api, {}))
        await asyncio.sleep(0.2)
        assert not polling.done()
        assert (await _call(api, {"ack": ["a1"], "maxEvents": 0})).status == 200
        return (await polling).json

    assert asyncio.run(_awaited(work())) == {"sets": {"a2": "jwt of a2"}, "moreAvailable": False}


def test_while_all_is_kept_back_a_long_poll_looks_now_and_then_writes_nothing_and_has_it_in_the_end(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "POLL_S", 0.1)
    _put(api, "a1", "a2")
    assert _poll(api, maxEvents=1) == (["a1"], True)
    looks = _counted(monkeypatch)

    async def work() -> Any:
        polling = create_task(_call(api, {}))
        await asyncio.sleep(0.55)
        assert not polling.done()
        assert 2 <= looks["reads"] <= 7
        assert looks["writes"] == 0
        api.now += 60_000
        return (await polling).json

    found = asyncio.run(_awaited(work()))
    assert found == {"sets": {"a1": "jwt of a1", "a2": "jwt of a2"}, "moreAvailable": False}


def test_a_poll_that_changes_nothing_writes_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(api, "a1", "b1")
    assert _poll(api) == (["a1", "b1"], False)
    assert _poll(api, ack=["a1"], setErrs={"b1": {"err": "invalid_key"}}) == ([], False)
    looks = _counted(monkeypatch)

    errors = {jti: {"err": "invalid_key"} for jti in ("a1", "b1", "nobody")}
    for by_key in ({}, {"maxEvents": 0}, {"ack": ["a1", "b1", "nobody"]}, {"setErrs": errors}):
        assert _poll(api, **by_key) == ([], False)

    assert looks["writes"] == 0


# --- How much may be said ---


def test_ten_thousand_words_are_taken_and_one_more_is_refused_with_a_sentence(api: Api) -> None:
    _put(api, "a1", "b1")
    jtis = ["a1", *(f"x{number}" for number in range(MAX_ACKS - 1))]
    error = {"err": "invalid_key"}

    for name, strs in (("ack", [*jtis, "b1"]), ("setErrs", dict.fromkeys([*jtis, "b1"], error))):
        refused = asyncio.run(_awaited(_call(api, {**SOON, name: strs})))
        text = f"{name}: 10001 are too many; send at most 10000, and the rest in the next poll"
        assert refused.status == 400
        assert refused.json == {"error": "invalid_request", "error_description": text}

    assert _poll(api, ack=jtis, setErrs=dict.fromkeys(jtis, error), maxEvents=0) == ([], True)
    assert _poll(api) == (["b1"], False)


def _counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count looks for what is ready, and transactions that write."""
    counted = {"reads": 0, "writes": 0}
    look, begin = polled.any_ready, Store.begin

    def looked(conn: Connection, *rest: Any) -> bool:
        counted["reads"] += 1
        return look(conn, *rest)

    def begun(store: Store) -> Any:
        counted["writes"] += 1
        return begin(store)

    monkeypatch.setattr(polled, "any_ready", looked)
    monkeypatch.setattr(Store, "begin", begun)
    return counted
