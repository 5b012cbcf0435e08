"""Access tokens of an authorization server outside; PyJWT signs them, another library than checks them."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import RSAKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.warnings import InsecureKeyLengthWarning

from api_calls import ISSUER, Api, new_api
from pipeline.transmitter import receivers, streams
from pipeline.transmitter.api import outside_keys
from pipeline.transmitter.records import Stream
from stores import NOW

AS = "https://as.example.com"
RSA = rsa.generate_private_key(65_537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
WEAK = rsa.generate_private_key(65_537, 1024)  # noqa: S505  # it is to be refused
CLAIMS = {
    "iss": AS,
    "aud": ISSUER,
    "exp": NOW // 1000 + 300,
    "iat": NOW // 1000,
    "sub": "idp",
    "client_id": "idp",
    "scope": "openid ssf.manage",
}


def _jwks() -> list[Any]:
    return [
        {**json.loads(RSAAlgorithm.to_jwk(RSA.public_key())), "kid": "rsa", "use": "sig"},
        {**json.loads(ECAlgorithm.to_jwk(EC.public_key())), "kid": "ec"},
        {**json.loads(RSAAlgorithm.to_jwk(WEAK.public_key())), "kid": "weak"},
        {**json.loads(RSAAlgorithm.to_jwk(RSA.public_key())), "kid": "encrypts", "use": "enc"},
        {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode(), "kid": "secret"},
        {"kty": "RSA", "n": "!", "kid": "broken"},
        {"kty": "LATTICE", "kid": "unknown"},
        "no key",
    ]


GOOD = json.dumps({"keys": _jwks()}).encode()


@dataclass
class Server:
    """Where the keys are: what it answers, and how often it was asked."""

    body: bytes = b""
    status: int = 200
    asked: int = 0
    url: str = ""


@contextmanager
def serving() -> Iterator[Server]:
    served = Server(GOOD)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class names it so
            served.asked += 1
            led_on = self.path == "/elsewhere"
            body = GOOD if led_on else served.body
            self.send_response(200 if led_on else served.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:  # who asked has heard enough
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        yield served


@pytest.fixture
def api(server: Server, tmp_path: Path) -> Iterator[Api]:
    api = new_api(tmp_path, token_issuer=AS, token_jwks_url=server.url, allow_insecure=True)
    yield api
    api.services.store.close()


def _confused() -> str:
    """A token signed by the public key as if it were a secret (RFC 8725 §2.1)."""
    header, claims = ({"alg": "HS256", "kid": "rsa"}, CLAIMS)
    said = b".".join(
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims)
    )
    secret = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    proof = base64.urlsafe_b64encode(hmac.digest(secret, said, "sha256")).rstrip(b"=")
    return f"{said.decode()}.{proof.decode()}"


def _weak() -> str:
    with pytest.warns(InsecureKeyLengthWarning):
        return _token(WEAK, kid="weak")


def _token(key: Any = RSA, alg: str = "RS256", kid: str | None = "rsa", **claims: Any) -> str:
    given = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    headers = {"typ": "at+jwt"} if kid is None else {"typ": "at+jwt", "kid": kid}
    return jwt.encode(given, key, alg, headers=headers)


def _list(api: Api, token: str) -> int:
    return api.ask("GET", "/ssf/stream", token=token).status


def test_a_good_token_lets_its_client_in_and_makes_it_a_receiver(api: Api) -> None:
    made = api.ask("POST", "/ssf/stream", {}, token=_token())

    assert (made.status, made.json["aud"]) == (201, "idp")
    assert api.ask("GET", "/ssf/stream", token=_token(EC, "ES256", "ec")).json == [made.json]
    assert api.ask("GET", "/ssf/stream", token=_token(client_id="other")).json == []
    with api.services.store.read() as conn:
        assert [one.receiver_id for one in receivers.every(conn)] == ["idp", "other"]


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
        ({"nbf": NOW // 1000 + 60}, 201),
        ({"nbf": NOW // 1000 + 61}, 401),
        ({"iat": NOW // 1000 + 61}, 401),
        ({"iat": None}, 201),
    ],
    ids=str,
)
def test_claims_are_checked(api: Api, claims: dict[str, Any], status: int) -> None:
    made = api.ask("POST", "/ssf/stream", {}, token=_signed(claims))

    assert made.status == status
    if status == 401:
        assert 'error="invalid_token"' in made.headers["www-authenticate"]


def _signed(claims: dict[str, Any]) -> str:
    """Sign claims that PyJWT would not let out."""
    given = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    key = RSAKey.import_key(json.loads(RSAAlgorithm.to_jwk(RSA)))
    return jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, json.dumps(given), key)


@pytest.mark.parametrize(
    "token",
    [
        "not.a.jwt",
        "two.parts",
        "eyJhbGciOiJub25lIn0.e30.",
        _weak(),
        _token(kid="encrypts"),
        _token(kid="nobody-s"),
        _token(kid=None),
        _token(EC, "ES256", "rsa"),
        _token(kid="ec"),
        _token(rsa.generate_private_key(65_537, 2048)),
        jwt.encode(CLAIMS, "x" * 32, "HS256", headers={"kid": "secret"}),
        _confused(),
        jwt.encode(CLAIMS, RSA, "RS256", headers={"kid": "rsa", "typ": "secevent+jwt"}),
        jwt.encode(CLAIMS, RSA, "RS256", headers={"kid": "rsa", "crit": ["b64"], "b64": False}),
        _token()[:-4] + "AAAA",
    ],
)
def test_a_token_that_is_not_signed_as_it_should_be_is_refused(api: Api, token: str) -> None:
    assert _list(api, token) == 401


def test_a_receiver_that_the_operator_revoked_stays_out(api: Api) -> None:
    assert _list(api, _token()) == 200
    with api.services.store.begin() as conn:
        receivers.revoke(conn, "idp", api.now)

    assert _list(api, _token()) == 401


def test_a_receiver_keeps_the_audience_the_operator_gave_it(api: Api) -> None:
    with api.services.store.begin() as conn:
        receivers.ensure(conn, "idp", "https://idp.example.com/ssf", ["ssf.read"], NOW)
        given = Stream("s-1", "idp", "https://idp.example.com/ssf", created_at=NOW)
        streams.add(conn, api.services.store.sealer, given)

    made = api.ask("POST", "/ssf/stream", {}, token=_token())

    assert (made.status, made.json["aud"]) == (201, "https://idp.example.com/ssf")


def test_keys_are_fetched_once_and_an_unknown_one_is_looked_for_once_in_a_while(
    api: Api, server: Server
) -> None:
    assert [_list(api, _token()) for _ in range(3)] == [200] * 3
    assert server.asked == 1

    assert [_list(api, _token(kid="new")) for _ in range(3)] == [401] * 3
    assert server.asked == 1
    server.body = json.dumps({"keys": [{**_jwks()[0], "kid": "new"}]}).encode()
    api.now += outside_keys.PAUSE_MS
    assert (_list(api, _token(kid="new")), _list(api, _token())) == (200, 401)
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
    assert _list(api, _token()) == 503
    server.status, server.body = 200, good
    api.now += outside_keys.PAUSE_MS
    assert _list(api, _token()) == 200

    server.status, server.body = status, body
    api.now += outside_keys.FRESH_MS + 1
    assert _list(api, _token(exp=NOW)) == 200
    api.now += outside_keys.STALE_MS
    assert _list(api, _token(exp=NOW)) == 503


def test_a_server_that_is_not_there_is_503_and_no_mistake_of_ours(tmp_path: Path) -> None:
    with serving() as server:
        gone = server.url
    api = new_api(tmp_path, token_issuer=AS, token_jwks_url=gone, allow_insecure=True)

    assert _list(api, _token()) == 503
    api.services.store.close()


def test_there_is_no_token_endpoint_beside_it(api: Api) -> None:
    assert api.form("/oauth/token", grant_type="client_credentials").status == 404
    schemes = api.ask("GET", "/openapi.json").json["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {"oauth2": "http"}
