"""Access tokens of an authorization server outside; PyJWT signs them, another library than checks them."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.warnings import InsecureKeyLengthWarning

from pipeline.transmitter.api import external_tokens
from pipeline.transmitter.protocol import Stream
from pipeline.transmitter.store import receivers, streams
from tests.support.authorization_server import (
    AS,
    CLAIMS,
    EC,
    GOOD,
    RSA,
    WEAK,
    Server,
    jwks,
    serving,
    signed,
    signed_text,
    token,
)
from tests.support.stores import NOW
from tests.support.transmitter_api import ISSUER, Api, new_api


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        yield served


@pytest.fixture
def api_settings(server: Server) -> dict[str, Any]:
    return {"token_issuer": AS, "token_jwks_url": server.url, "allow_insecure": True}


def _confused() -> str:
    """A token signed by the public key as if it were a secret (RFC 8725 §2.1)."""
    header, claims = ({"alg": "HS256", "kid": "rsa"}, CLAIMS)
    payload = b".".join(
        base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=") for fields in (header, claims)
    )
    secret = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    proof = base64.urlsafe_b64encode(hmac.digest(secret, payload, "sha256")).rstrip(b"=")
    return f"{payload.decode()}.{proof.decode()}"


def _weak() -> str:
    with pytest.warns(InsecureKeyLengthWarning):
        return token(WEAK, kid="weak")


def _fresh(api: Api) -> str:
    return token(iat=api.now // 1000, exp=api.now // 1000 + 300)


def _list(api: Api, token: str) -> int:
    return api.ask("GET", "/ssf/stream", token=token).status


def test_a_good_token_lets_its_client_in_and_makes_it_a_receiver(api: Api) -> None:
    made = api.ask("POST", "/ssf/stream", {}, token=token())

    assert (made.status, made.json["aud"]) == (201, "idp")
    assert api.ask("GET", "/ssf/stream", token=token(EC, "ES256", "ec")).json == [made.json]
    assert api.ask("GET", "/ssf/stream", token=token(client_id="other")).json == []
    with api.services.store.read() as conn:
        assert [receiver.receiver_id for receiver in receivers.every(conn)] == ["idp", "other"]


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"scope": "ssf.read"}, 403),
        ({"scope": None, "scp": ["ssf.manage"]}, 201),
        ({"scope": None, "scp": "ssf.manage"}, 201),
        ({"scope": "openid"}, 403),
        ({"scope": None}, 403),
        ({"client_id": None, "azp": "by-azp"}, 201),
        ({"client_id": None}, 201),
        ({"client_id": None, "sub": None}, 401),
        ({"client_id": "declared-okta"}, 401),
        ({"client_id": "a b"}, 401),
        ({"client_id": ["idp"]}, 401),
        ({"aud": ["https://other.example.com", ISSUER]}, 201),
        ({"aud": "https://other.example.com"}, 401),
        ({"aud": None}, 401),
        ({"iss": "https://elsewhere.example.com"}, 401),
        ({"iss": None}, 401),
        ({"exp": NOW // 1000}, 401),
        ({"exp": None}, 401),
        ({"exp": "never"}, 401),
        ({"exp": NOW // 1000 + 3600}, 201),
        ({"exp": NOW // 1000 + 3601}, 401),
        ({"exp": 10**400}, 401),
        ({"iat": NOW // 1000 - 3000, "exp": NOW // 1000 + 601}, 401),
        ({"nbf": 0}, 201),
        ({"nbf": NOW // 1000 + 30, "exp": NOW // 1000 + 3630}, 201),
        ({"nbf": NOW // 1000 + 60}, 201),
        ({"nbf": NOW // 1000 + 61}, 401),
        ({"iat": NOW // 1000 + 61}, 401),
        ({"iat": None}, 401),
        ({"iat": None, "nbf": NOW // 1000}, 201),
    ],
    ids=str,
)
def test_claims_are_checked(api: Api, claims: dict[str, Any], status: int) -> None:
    made = api.ask("POST", "/ssf/stream", {}, token=signed(claims))

    assert made.status == status
    if status == 401:
        assert 'error="invalid_token"' in made.headers["www-authenticate"]


def test_a_token_that_lives_too_long_is_refused_with_what_to_do(api: Api) -> None:
    long = api.ask("GET", "/ssf/stream", token=token(exp=NOW // 1000 + 7200))
    text = "this token is valid for longer than 3600 seconds; request a shorter one"

    assert long.json == {"error": "invalid_token", "error_description": text}
    assert long.headers["www-authenticate"] == (
        f'Bearer realm="ssf", error="invalid_token", error_description="{text}"'
    )


def test_an_operator_may_take_tokens_that_live_longer(server: Server, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"token_issuer": AS, "token_jwks_url": server.url, "token_longest_s": 7200}
    api = new_api(tmp_path, allow_insecure=True, **settings)

    assert _list(api, token(exp=NOW // 1000 + 7200)) == 200
    assert _list(api, token(exp=NOW // 1000 + 7201)) == 401
    api.services.store.close()


def test_a_token_that_may_nothing_here_is_counted_as_refused(server: Server, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"token_issuer": AS, "token_jwks_url": server.url, "requests_per_minute": 2}
    api = new_api(tmp_path, allow_insecure=True, **settings)

    assert [_list(api, token(scope="openid")) for _ in range(3)] == [403, 403, 429]
    assert _list(api, token()) == 200
    api.services.store.close()


@pytest.mark.parametrize(
    "token",
    [
        "not.a.jwt",
        "two.parts",
        "eyJhbGciOiJub25lIn0.e30.",
        _weak(),
        token(kid="encrypts"),
        token(kid="nobody-s"),
        token(kid=None),
        token(EC, "ES256", "rsa"),
        token(kid="ec"),
        token(rsa.generate_private_key(65_537, 2048)),
        jwt.encode(CLAIMS, "x" * 32, "HS256", headers={"kid": "secret"}),
        _confused(),
        jwt.encode(CLAIMS, RSA, "RS256", headers={"kid": "rsa", "typ": "secevent+jwt"}),
        jwt.encode(CLAIMS, RSA, "RS256", headers={"kid": "rsa", "crit": ["b64"], "b64": False}),
        token()[:-4] + "AAAA",
        signed_text('{"a": ' + "[" * 2000 + "]" * 2000 + "}"),
        signed_text("[]"),
    ],
)
def test_a_token_that_is_not_signed_as_it_should_be_is_refused(api: Api, token: str) -> None:
    assert _list(api, token) == 401


def test_a_receiver_that_the_operator_revoked_stays_out(api: Api) -> None:
    assert _list(api, token()) == 200
    with api.services.store.begin() as conn:
        receivers.revoke(conn, "idp", api.now)

    assert _list(api, token()) == 401


def test_a_receiver_keeps_the_audience_the_operator_gave_it(api: Api) -> None:
    with api.services.store.begin() as conn:
        receivers.ensure(conn, "idp", "https://idp.example.com/ssf", ["ssf.read"], NOW)
        given = Stream("s-1", "idp", "https://idp.example.com/ssf", created_at=NOW)
        streams.add(conn, api.services.store.sealer, given)

    made = api.ask("POST", "/ssf/stream", {}, token=token())

    assert (made.status, made.json["aud"]) == (201, "https://idp.example.com/ssf")


def test_keys_are_fetched_once_and_an_unknown_one_is_looked_for_once_in_a_while(api: Api, server: Server) -> None:
    assert [_list(api, token()) for _ in range(3)] == [200] * 3
    assert server.asked == 1

    assert [_list(api, token(kid="new")) for _ in range(3)] == [401] * 3
    assert server.asked == 1
    server.body = json.dumps({"keys": [{**jwks()[0], "kid": "new"}]}).encode()
    api.now += external_tokens.MIN_FETCH_INTERVAL_MS
    assert (_list(api, token(kid="new")), _list(api, token())) == (200, 401)
    assert server.asked == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (302, b""), (200, b"{"), (200, b"[]"), (200, b'{"keys": 5}'), (200, GOOD + b" " * 300_000)],
    ids=["500", "302", "broken", "list", "number", "long"],
)
def test_while_no_keys_can_be_had_known_ones_are_good_for_an_hour(
    api: Api, server: Server, status: int, body: bytes
) -> None:
    good, server.status, server.body = server.body, status, body
    assert _list(api, token()) == 503
    server.status, server.body = 200, good
    api.now += external_tokens.MIN_FETCH_INTERVAL_MS
    assert _list(api, token()) == 200

    server.status, server.body = status, body
    api.now += external_tokens.REFRESH_MS + 1
    assert _list(api, _fresh(api)) == 200
    api.now += external_tokens.MAX_STALE_MS
    assert _list(api, _fresh(api)) == 503


def test_a_server_that_is_not_there_is_503_and_no_mistake_of_ours(tmp_path: Path) -> None:
    with serving() as server:
        gone = server.url
    api = new_api(tmp_path, token_issuer=AS, token_jwks_url=gone, allow_insecure=True)

    assert _list(api, token()) == 503
    api.services.store.close()


def test_there_is_no_token_endpoint_beside_it(api: Api) -> None:
    assert api.form("/oauth/token", grant_type="client_credentials").status == 404
    schemes = api.ask("GET", "/openapi.json").json["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {"oauth2": "http"}
