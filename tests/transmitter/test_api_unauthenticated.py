"""Who shows nothing, guesses, or asks what nobody should: it costs them, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import pytest
from sqlalchemy import event

from pipeline.transmitter.api import auth, oauth, rate_limits
from pipeline.transmitter.api.discovery import HEALTH_MS
from pipeline.transmitter.store import receivers
from tests.support.transmitter_api import Api

GUESS = "a guess"


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"requests_per_minute": 3}


def _guess(api: Api) -> int:
    return api.ask("GET", "/ssf/stream", token=GUESS.replace(" ", "-")).status


def _client(api: Api, client_id: str, secret: str = GUESS) -> int:
    granted = {"client_id": client_id, "client_secret": secret}
    return api.form("/oauth/token", basic=None, grant_type="client_credentials", **granted).status


def test_what_strangers_do_from_an_address_costs_no_receiver_there_anything(api: Api) -> None:
    secret, token = api.secret("idp"), api.token(name="other")
    assert _client(api, "idp", secret) == 200

    assert [_guess(api) for _ in range(4)] == [401, 401, 401, 429]
    assert [_client(api, "idp") for _ in range(4)] == [401, 401, 401, 429]
    assert [api.ask("GET", "/jwks.json").status for _ in range(4)] == [200, 200, 200, 429]

    assert _client(api, "idp", secret) == 200
    assert api.ask("GET", "/ssf/stream", token=token).status == 200
    assert [api.ask("GET", "/health").status for _ in range(5)] == [200] * 5


def test_a_client_that_was_never_seen_waits_while_somebody_guesses_from_where_it_is(api: Api) -> None:
    secret = api.secret("new")
    assert [_client(api, "new") for _ in range(4)] == [401, 401, 401, 429]

    assert _client(api, "new", secret) == 429
    api.address = "192.0.2.8"
    assert _client(api, "new", secret) == 200
    api.address = "192.0.2.7"
    assert _client(api, "new", secret) == 200


def test_clients_with_good_secrets_use_nothing_of_their_address(api: Api) -> None:
    secrets = {f"client-{number}": api.secret(f"client-{number}") for number in range(6)}

    assert [_client(api, *pair) for pair in secrets.items()] == [200] * 6
    assert [_client(api, "client-0", secrets["client-0"]) for _ in range(3)] == [200, 200, 429]


def test_a_client_that_is_revoked_is_a_stranger_again(api: Api) -> None:
    secret = api.secret("leaving")
    assert _client(api, "leaving", secret) == 200
    with api.services.store.begin() as conn:
        receivers.revoke(conn, "leaving", api.now)

    assert [_client(api, "leaving", secret) for _ in range(5)] == [401, 401, 401, 401, 429]


def test_of_clients_too_those_longest_silent_are_forgotten(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "MAX_TRACKED", 1)
    name, other = api.secret("one"), api.secret("other")
    assert (_client(api, "one", name), _client(api, "other", other)) == (200, 200)
    assert [_client(api, "nobody") for _ in range(3)] == [401] * 3

    assert (_client(api, "one", name), _client(api, "other", other)) == (429, 200)


def test_requests_for_a_token_that_are_none_are_counted_too(api: Api) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}

    asked = [api.ask("POST", "/oauth/token", b"{}").status for _ in range(2)]
    asked += [api.ask("POST", "/oauth/token", b"a=1&a=2", headers=form).status for _ in range(2)]

    assert asked == [400, 400, 400, 429]


def test_whoever_has_an_ipv6_address_has_its_neighbours_too(api: Api) -> None:
    asked = []
    for last in ("1::1", "1::2", "1:ffff::3", "1::4", "2::1"):
        api.address = f"2001:db8:0:{last}"
        asked.append(_guess(api))

    assert asked == [401, 401, 401, 429, 401]


def test_health_looks_at_the_store_once_a_second_however_many_ask(api: Api) -> None:
    looked: list[str] = []

    @event.listens_for(api.services.store.engine, "before_cursor_execute")
    def _note(*arguments: Any) -> None:
        looked.append(arguments[2])

    async def many() -> list[int]:
        asked = [api.call("GET", "/t1/health") for _ in range(20)]
        return [answer.status for answer in await asyncio.gather(*asked)]

    assert asyncio.run(many()) == [200] * 20
    assert api.ask("GET", "/health").status == 200
    assert looked.count("SELECT 1") == 1
    api.now += HEALTH_MS
    assert api.ask("GET", "/health").status == 200
    assert looked.count("SELECT 1") == 2


@pytest.mark.parametrize("known", [True, False])
def test_a_body_of_somebody_without_a_token_may_be_as_long_as_a_form(api: Api, *, known: bool) -> None:
    long = json.dumps({"description": "", "more": "x" * rate_limits.UNAUTHENTICATED_BODY}).encode()

    if known:
        assert api.ask("POST", "/ssf/stream", long, token=api.token()).status == 201
    else:
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert api.ask("POST", "/oauth/token", long, headers=form).status == 413
        assert api.ask("GET", "/jwks.json", long).status == 413


JSON = "application/json"
DEEP = b"[" * 100_000
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "deep": (DEEP, {}),
    "deep inside": (b'{"delivery": ' + DEEP + b"]" * 100_000 + b"}", {}),
    "no UTF-8": (b'{"description": "\xff"}', {}),
    "a lone surrogate": (b'{"description": "\\ud800"}', {}),
    "NUL": (b'{"description": "\\u0000"}', {}),
    "a huge number": (b'{"description": ' + b"9" * 5000 + b"}", {}),
    "compressed": (gzip.compress(b"{}"), {"content-encoding": "gzip"}),
    "of another kind": (b"{}", {"content-type": "text/plain"}),
    "of no kind": (b"{}", {"content-type": ""}),
    "a list": (b"[]", {}),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_stream_is_400(api: Api, name: str) -> None:
    body, headers = BODIES[name]

    found = api.ask("POST", "/ssf/stream", body, token=api.token(), headers=headers)

    assert (found.status, found.error, found.headers["content-type"]) == (400, "invalid_request", JSON)


def test_an_address_that_is_too_long_is_refused_before_it_is_read(api: Api) -> None:
    token, long = api.token(), "&".join(["a"] * auth.MAX_ADDRESS_BYTES)

    answers = [
        api.ask("GET", f"/ssf/stream?{long}", token=token),
        api.ask("GET", f"/ssf/stream?{long}"),
        api.ask("GET", f"/jwks.json?{long}"),
        api.ask("POST", f"/ssf/poll/{'a' * auth.MAX_ADDRESS_BYTES}", {}, token=token),
    ]

    assert [(answer.status, answer.error) for answer in answers] == [(414, "uri_too_long")] * 4


def test_a_token_or_a_secret_is_shown_once(api: Api) -> None:
    token, other = api.token(), [("authorization", f"Bearer {api.token(name='other')}")]
    proof = base64.b64encode(f"client:{api.secret('client')}".encode()).decode()
    form = {"content-type": "application/x-www-form-urlencoded", "authorization": f"Basic {proof}"}
    body, again = b"grant_type=client_credentials", [("authorization", "Basic Og==")]

    assert api.ask("GET", "/ssf/stream", token=token, also=other).status == 400
    assert api.ask("POST", "/oauth/token", body, headers=form, also=again).status == 400
    assert api.ask("POST", "/oauth/token", body, headers=form).status == 200


STREAM = "/t1/ssf/stream"
ODD = {
    # method, path: without a token, with one
    ("GET", "//t1/ssf/stream"): (401, 404),
    ("GET", "/t1/ssf/stream/"): (401, 404),
    ("GET", "/T1/ssf/stream"): (401, 404),
    ("GET", "/ssf/stream"): (401, 404),
    ("GET", "/t1"): (401, 404),
    ("GET", "/t1/jwks.json/../ssf/stream"): (401, 404),
    ("GET", "/t1/oauth/token/../../ssf/stream"): (401, 404),
    ("GET", f"/.well-known/ssf-configuration/../..{STREAM}"): (404, 404),
    ("POST", "/t1/ssf/poll/a/b"): (401, 404),
    ("POST", "/t1/ssf/poll/"): (401, 404),
    ("HEAD", STREAM): (401, 405),
    ("OPTIONS", STREAM): (401, 405),
    ("TRACE", STREAM): (401, 405),
    ("BREW", STREAM): (401, 405),
    ("DELETE", "/t1/jwks.json"): (405, 405),
    ("GET", "/t1/oauth/token"): (405, 405),
}
"""Paths are as a server gives them, with what was encoded in them decoded."""


@pytest.mark.parametrize(("method", "path"), ODD)
def test_an_odd_path_or_method_opens_nothing(api: Api, method: str, path: str) -> None:
    answers = [asyncio.run(api.call(method, path, token=token)) for token in (None, api.token())]

    assert tuple(answer.status for answer in answers) == ODD[method, path]
    assert [answer.headers["cache-control"] for answer in answers] == ["no-store"] * 2
