"""An authorization server outside: the keys it shows, and the access tokens it signs by PyJWT."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jws
from joserfc.jwk import RSAKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.stores import NOW
from tests.support.transmitter_api import ISSUER

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


def jwks() -> list[Any]:
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


GOOD = json.dumps({"keys": jwks()}).encode()


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


def token(key: Any = RSA, alg: str = "RS256", kid: str | None = "rsa", **claims: Any) -> str:
    given = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    headers = {"typ": "at+jwt"} if kid is None else {"typ": "at+jwt", "kid": kid}
    return jwt.encode(given, key, alg, headers=headers)


def signed(claims: dict[str, Any]) -> str:
    """Sign claims that PyJWT would not let out."""
    given = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return signed_text(json.dumps(given))


def signed_text(text: str) -> str:
    """Sign *text*, which may be no claims at all."""
    key = RSAKey.import_key(json.loads(RSAAlgorithm.to_jwk(RSA)))
    return jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, text, key)
