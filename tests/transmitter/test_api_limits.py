"""How often and how much: rates, bodies; and what is said when something goes wrong here."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from pipeline.transmitter.api import rate_limits
from pipeline.transmitter.api.errors import Problem
from pipeline.transmitter.api.rate_limits import RateLimiter
from tests.support.transmitter_api import Api

GUESS = "a guess"


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"requests_per_minute": 3, "max_body_bytes": 2048}


def test_a_receiver_that_asks_too_often_waits_and_others_do_not(api: Api) -> None:
    mine, others = api.token(), api.token(name="other")

    assert [api.ask("GET", "/ssf/stream", token=mine).status for _ in range(4)] == [200, 200, 200, 429]
    last = api.ask("GET", "/ssf/stream", token=mine)
    assert (last.error, last.headers["retry-after"]) == ("too_many_requests", "20")
    assert api.ask("GET", "/ssf/stream", token=others).status == 200
    api.now += 20_000
    assert [api.ask("GET", "/ssf/stream", token=mine).status for _ in range(2)] == [200, 429]


def test_who_asks_too_often_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0]
    rates = RateLimiter(60, lambda: now[0])
    for now[0] in range(0, 90_000, 100):  # ten times as often as it may; each second one is taken
        with suppress(Problem):
            rates.count("receiver idp")

    assert caplog.messages == ["receiver idp exceeds 60 requests a minute and is refused"] * 2


def test_what_is_given_back_was_not_asked_and_no_more_than_that() -> None:
    rates = RateLimiter(1, lambda: 0)
    rates.uncount("a")
    rates.count("a")
    rates.uncount("a")
    rates.count("a")

    with pytest.raises(Problem):
        rates.count("a")


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    now = [100_000]
    rates = RateLimiter(2, lambda: now[0])
    rates.count("a")
    now[0] = 0
    rates.count("a")

    with pytest.raises(Problem, match="more than 2 requests a minute"):
        rates.count("a")


def test_of_too_many_names_the_longest_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_TRACKED", 2)
    rates = RateLimiter(1, lambda: 0)
    for name in ("a", "b", "c", "a"):
        rates.count(name)

    with pytest.raises(Problem):
        rates.count("c")


def test_a_body_that_is_too_long_is_refused_whatever_it_says_of_its_length(api: Api) -> None:
    body, token = b'{"description": "' + b"x" * 2048 + b'"}', api.token()

    silent = api.ask("POST", "/ssf/stream", body, token=token)
    answer = api.ask("POST", "/ssf/stream", b"", token=token, headers={"content-length": "2049"})
    huge = api.ask("POST", "/ssf/stream", b"", token=token, headers={"content-length": "9" * 5000})

    assert [(this_answer.status, this_answer.error) for this_answer in (silent, answer, huge)] == [
        (413, "too_large")
    ] * 3


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "BODY_TIMEOUT_S", 0.05)
    sent: list[Any] = []

    async def never(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(rate_limits.BodyLimitMiddleware(never, 10)({"type": "http", "headers": []}, receive, send))

    assert sent[0]["status"] == 408


def test_a_mistake_here_is_told_without_its_trace(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistake(*_: Any) -> Any:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("pipeline.transmitter.store.streams.of_receiver", mistake)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"authorization", f"Bearer {api.token()}".encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/t1/ssf/stream",
        "query_string": b"",
        "headers": headers,
    }

    async def call() -> None:
        await api.app(scope, receive, send)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(call())

    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]


def test_a_store_that_does_not_answer_is_told_as_such(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    token = api.token()
    with api.services.store.begin() as conn:
        conn.exec_driver_sql("DROP TABLE audit")
        conn.exec_driver_sql("ALTER TABLE streams RENAME TO lost")

    found = api.ask("GET", "/ssf/stream", token=token)

    assert (found.status, found.error, found.headers["retry-after"]) == (503, "temporarily_unavailable", "1")
