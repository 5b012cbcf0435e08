"""How often and how much: rates, bodies; and what is written down of every call."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_calls import Api, new_api
from pipeline.transmitter import audit
from pipeline.transmitter.api import limits
from pipeline.transmitter.api.limits import Rates
from pipeline.transmitter.api.problems import Problem
from pipeline.transmitter.audit import Noted

GUESS = "a guess"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = new_api(tmp_path, requests_per_minute=3, max_body_bytes=2048)
    yield api
    api.services.store.close()


def test_a_receiver_that_asks_too_often_waits_and_others_do_not(api: Api) -> None:
    mine, others = api.token(), api.token(name="other")

    assert [api.ask("GET", "/ssf/stream", token=mine).status for _ in range(4)] == [200, 200, 200, 429]
    last = api.ask("GET", "/ssf/stream", token=mine)
    assert (last.error, last.headers["retry-after"]) == ("too_many_requests", "20")
    assert api.ask("GET", "/ssf/stream", token=others).status == 200
    api.now += 20_000
    assert [api.ask("GET", "/ssf/stream", token=mine).status for _ in range(2)] == [200, 429]


def test_an_address_that_guesses_tokens_or_secrets_waits_too(api: Api) -> None:
    guesses = [api.ask("GET", "/ssf/stream", token=f"guess-{number}").status for number in range(4)]

    assert guesses == [401, 401, 401, 429]
    assert api.form("/oauth/token", client_id="idp", client_secret=GUESS).status == 429
    assert api.ask("GET", "/ssf/stream", token=api.token()).status == 200


def test_who_asks_too_often_is_logged_once_until_it_may_again(caplog: pytest.LogCaptureFixture) -> None:
    now = [0]
    rates = Rates(1, lambda: now[0])
    for minute in (0, 60_000):
        now[0] = minute
        rates.spend("receiver:idp")
        for _ in range(3):
            with pytest.raises(Problem):
                rates.spend("receiver:idp")

    assert caplog.messages == ["receiver:idp asks more than 1 times a minute and is refused"] * 2


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    now = [100_000]
    rates = Rates(2, lambda: now[0])
    rates.spend("a")
    now[0] = 0
    rates.spend("a")

    with pytest.raises(Problem, match="more than 2 requests a minute"):
        rates.spend("a")


def test_of_too_many_names_the_longest_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_KNOWN", 2)
    rates = Rates(1, lambda: 0)
    for name in ("a", "b", "c", "a"):
        rates.spend(name)

    with pytest.raises(Problem):
        rates.spend("c")


def test_a_body_that_is_too_long_is_refused_whatever_it_says_of_its_length(api: Api) -> None:
    body, token = b'{"description": "' + b"x" * 2048 + b'"}', api.token()

    silent = api.ask("POST", "/ssf/stream", body, token=token)
    told = api.ask("POST", "/ssf/stream", b"", token=token, headers={"content-length": "2049"})
    huge = api.ask("POST", "/ssf/stream", b"", token=token, headers={"content-length": "9" * 5000})

    assert [(one.status, one.error) for one in (silent, told, huge)] == [(413, "too_large")] * 3


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.05)
    sent: list[Any] = []

    async def never(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(limits.Bodies(never, 10)({"type": "http", "headers": []}, receive, send))

    assert sent[0]["status"] == 408


def test_every_managing_call_is_written_down_with_who_where_what_and_status(tmp_path: Path) -> None:
    api = new_api(tmp_path)
    secret, token = api.secret("idp"), api.token()
    stream = api.stream(token)["stream_id"]
    one = {"stream_id": stream}
    api.ask("PATCH", "/ssf/stream", {**one, "aud": "another"}, token=token)
    api.ask("POST", "/ssf/verify", one, token=api.token(name="other"))
    api.ask("DELETE", f"/ssf/stream?stream_id={stream}")
    api.ask("POST", f"/ssf/poll/{stream}", {"returnImmediately": True}, token=token)
    api.ask("POST", f"/ssf/poll/{stream}", {"returnImmediately": True})
    api.form("/oauth/token", basic=("idp", secret), grant_type="client_credentials")
    api.form("/oauth/token", client_id="idp", client_secret=GUESS, grant_type="client_credentials")
    api.ask("GET", "/health")

    with api.services.store.read() as conn:
        noted = list(reversed(audit.recent(conn)))
    assert noted == [
        Noted(api.now, action, status, who, "192.0.2.7", which)
        for action, status, who, which in [
            ("POST /ssf/stream", 201, "idp", stream),
            ("PATCH /ssf/stream", 400, "idp", stream),
            ("POST /ssf/verify", 404, "other", stream),
            ("DELETE /ssf/stream", 401, None, None),
            ("POST /ssf/poll", 401, None, stream),
            ("POST /oauth/token", 200, "idp", None),
            ("POST /oauth/token", 401, "idp", None),
        ]
    ]
    api.services.store.close()


def test_nothing_secret_is_written_down(tmp_path: Path) -> None:
    api = new_api(tmp_path)
    secret = api.secret("idp")
    given = api.form("/oauth/token", basic=("idp", secret), grant_type="client_credentials").json
    hook = {"method": "urn:ietf:rfc:8935", "endpoint_url": "https://idp.example.com/events"}
    api.stream(given["access_token"], delivery={**hook, "authorization_header": "Bearer of-theirs"})
    api.services.store.close()

    dump = "\n".join(sqlite3.connect(tmp_path / "store.db").iterdump())

    assert [word for word in (secret, given["access_token"], "of-theirs") if word in dump] == []


def test_a_mistake_here_is_told_without_its_trace(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistake(*_: Any) -> Any:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("pipeline.transmitter.streams.of_receiver", mistake)
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
    with pytest.raises(ZeroDivisionError):
        asyncio.run(api.app(scope, receive, send))

    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]


def test_a_store_that_does_not_answer_is_told_as_such(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    token = api.token()
    with api.services.store.begin() as conn:
        conn.exec_driver_sql("DROP TABLE audit")
        conn.exec_driver_sql("ALTER TABLE streams RENAME TO lost")

    found = api.ask("GET", "/ssf/stream", token=token)

    assert (found.status, found.error, found.headers["retry-after"]) == (503, "temporarily_unavailable", "1")
