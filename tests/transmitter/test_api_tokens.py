"""Who may ask: tokens given out, shown, expired and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest

from pipeline.transmitter.api.oauth import ClientRequest
from pipeline.transmitter.store import receivers
from tests.support.transmitter_api import Answer, Api


@pytest.fixture
def secret(api: Api) -> str:
    return api.secret("client")


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, 'Bearer realm="ssf"'),
        ("Bearer nobody-s", 'Bearer realm="ssf", error="invalid_token"'),
        ("Bearer", 'Bearer realm="ssf", error="invalid_token"'),
        ("Bearer not one word", 'Bearer realm="ssf", error="invalid_token"'),
        ("Bearer \u00e9", 'Bearer realm="ssf", error="invalid_token"'),
        ("Basic aWRwOng=", 'Bearer realm="ssf", error="invalid_token"'),
    ],
)
def test_without_a_good_token_it_is_401(api: Api, header: str | None, challenge: str) -> None:
    found = api.ask("GET", "/ssf/stream", headers={} if header is None else {"authorization": header})

    assert found.status == 401
    assert found.headers["www-authenticate"].startswith(challenge)
    assert ("error=" in found.headers["www-authenticate"]) == (header is not None)


def test_a_token_in_the_address_is_not_looked_at_and_beside_another_it_is_refused(api: Api) -> None:
    token = api.token()

    assert api.ask("GET", f"/ssf/stream?access_token={token}").status == 401
    assert api.ask("GET", f"/ssf/stream?access_token={token}", token=token).status == 400
    assert api.ask("GET", "/ssf/stream", token=token).status == 200


def test_a_token_for_reading_does_not_write(api: Api) -> None:
    found = api.ask("POST", "/ssf/stream", {}, token=api.token("ssf.read"))

    assert (found.status, found.error) == (403, "insufficient_scope")
    assert 'error="insufficient_scope"' in found.headers["www-authenticate"]
    assert 'scope="ssf.manage"' in found.headers["www-authenticate"]


def test_a_client_gets_a_token_that_is_good_until_its_end(api: Api, secret: str) -> None:
    given = api.form("/oauth/token", basic=("client", secret), grant_type="client_credentials")

    assert given.status == 200
    assert {**given.json, "access_token": "…"} == {
        "access_token": "…",
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "ssf.manage ssf.read",
    }
    assert (given.headers["cache-control"], given.headers["pragma"]) == ("no-store", "no-cache")
    token = given.json["access_token"]
    assert api.ask("GET", "/ssf/stream", token=token).status == 200
    api.now += 3_599_999
    assert api.ask("GET", "/ssf/stream", token=token).status == 200
    api.now += 1
    assert api.ask("GET", "/ssf/stream", token=token).status == 401


def test_a_client_may_prove_itself_in_the_form(api: Api, secret: str) -> None:
    given = api.form(
        "/oauth/token",
        grant_type="client_credentials",
        client_id="client",
        client_secret=secret,
        scope="ssf.read",
    )

    assert (given.status, given.json["scope"]) == (200, "ssf.read")


def test_name_and_secret_are_form_urlencoded_in_the_header_or_as_they_are(api: Api) -> None:
    name = "idp+eu@example.com"
    secret = api.secret(name)

    for this_name in (quote_plus(name), name):
        assert api.form("/oauth/token", basic=(this_name, secret), grant_type="client_credentials").status == 200


@pytest.mark.parametrize(
    ("members", "status", "error"),
    [
        ({"grant_type": "client_credentials", "client_secret": "guessed"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "nobody"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "\x00"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({}, 400, "invalid_request"),
        ({"grant_type": "client_credentials", "scope": "openid"}, 400, "invalid_scope"),
    ],
)
def test_what_a_client_asks_wrongly_is_refused(
    api: Api, secret: str, members: dict[str, str], status: int, error: str
) -> None:
    asked: dict[str, Any] = {"client_id": "client", "client_secret": secret, **members}

    given = api.form("/oauth/token", **asked)

    assert (given.status, given.error) == (status, error)
    assert ("www-authenticate" in given.headers) == (status == 401)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"grant_type=a&grant_type=a", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % number for number in range(40)), "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
    ],
)
def test_a_form_that_is_none_is_refused(api: Api, body: bytes, kind: str) -> None:
    given = api.ask("POST", "/oauth/token", body, headers={"content-type": kind})

    assert (given.status, given.error) == (400, "invalid_request")


@pytest.mark.parametrize("header", ["Basic", "Basic ===", "Basic aWRw", "Basic /w==", "Digest aWRwOng="])
def test_a_header_that_proves_nothing_is_refused(api: Api, header: str) -> None:
    headers = {"authorization": header, "content-type": "application/x-www-form-urlencoded"}

    given = api.ask("POST", "/oauth/token", b"grant_type=client_credentials", headers=headers)

    assert (given.status, given.error) == (401, "invalid_client")


def test_a_client_that_may_read_gets_no_more(api: Api) -> None:
    secret = api.secret("reader", ("ssf.read",))

    def given(**scope: str) -> Answer:
        return api.form("/oauth/token", basic=("reader", secret), grant_type="client_credentials", **scope)

    assert given().json["scope"] == "ssf.read"
    assert given(scope="ssf.manage").error == "invalid_scope"


def test_a_client_takes_back_its_own_token_and_nobody_else_s(api: Api, secret: str) -> None:
    mine, others = api.token(name="client"), api.token(name="other")

    for token in (mine, others, "nobody-s"):
        assert api.form("/oauth/revoke", basic=("client", secret), token=token).status == 200
    assert api.ask("GET", "/ssf/stream", token=mine).status == 401
    assert api.ask("GET", "/ssf/stream", token=others).status == 200
    assert api.form("/oauth/revoke", basic=("client", secret)).status == 400
    assert api.form("/oauth/revoke", basic=("client", "guessed"), token=others).status == 401


def test_a_receiver_that_is_revoked_has_no_tokens(api: Api) -> None:
    secret = api.secret("leaving")
    token = api.token(name="leaving")
    with api.services.store.begin() as conn:
        receivers.revoke(conn, "leaving", api.now)

    assert api.ask("GET", "/ssf/stream", token=token).status == 401
    again = api.form("/oauth/token", basic=("leaving", secret), grant_type="client_credentials")
    assert (again.status, again.error) == (401, "invalid_client")


def test_tokens_and_secrets_are_not_in_what_is_printed(tmp_path: Path) -> None:
    assert "hidden" not in repr(ClientRequest({"client_secret": "hidden"}, "idp", "hidden"))
