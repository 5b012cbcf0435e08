"""A receiver of Shared Signals, written from the specifications and sharing no code with the transmitter.

It discovers (SSF 1.0 §7), asks for tokens (RFC 6749 §4.4), manages streams (SSF 1.0 §8), polls (RFC 8936) and
verifies what it gets (RFC 8417, SSF 1.0 §4) with PyJWT.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import jwt

from tests.support.ssf_http import Answer, Wire

POLL: Final = "urn:ietf:rfc:8936"
PUSH: Final = "urn:ietf:rfc:8935"
CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"
UNSET: Final = "unset"
PATIENCE: Final = 60.0
"""Seconds within which whatever is sent has arrived: the interop suite waits as long."""

Json = dict[str, Any]


def push_to(url: str, **members: str) -> Json:
    """The `delivery` of a stream that is pushed to *url* (RFC 8935)."""
    return {"method": PUSH, "endpoint_url": url, **members}


@dataclass(frozen=True, slots=True)
class Set:
    """A verified token: its JOSE header, its claims, and the one event in it."""

    header: Json
    claims: Json

    @property
    def event(self) -> str:
        (uri,) = self.claims["events"]
        return str(uri)

    @property
    def payload(self) -> Json:
        payload: Json = self.claims["events"][self.event]
        return payload


def well_known(issuer: str) -> str:
    """SSF 1.0 §7.2: between host and path, the trailing slash of the issuer removed."""
    at = urlsplit(issuer)
    return f"{at.scheme}://{at.netloc}/.well-known/ssf-configuration{at.path.rstrip('/')}"


@dataclass(slots=True)
class Receiver:
    """One receiver at the transmitter *issuer*, with what its operator was given."""

    wire: Wire
    issuer: str
    client_id: str
    secret: str = field(repr=False)
    aud: str
    scope: str = "ssf.manage ssf.read"
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)
    _metadata: Json = field(default_factory=dict)
    _known: Json = field(default_factory=dict)

    # --- Where things are, and who may ask ---

    @property
    def metadata(self) -> Json:
        """The discovery document, asked for once."""
        if not self._metadata:
            self._metadata = self.wire.call("GET", well_known(self.issuer)).json
        return self._metadata

    @property
    def token_url(self) -> str:
        """SSF's metadata names no token endpoint: the operator tells it."""
        return f"{self.issuer.rstrip('/')}/oauth/token"

    def post_form(self, url: str, form: Mapping[str, str], secret: str | None = None) -> Answer:
        """Send *form*, the client authenticated by HTTP Basic (RFC 6749 §2.3.1)."""
        pair = f"{quote(self.client_id, safe='')}:{quote(secret or self.secret, safe='')}"
        headers = {
            "Authorization": f"Basic {b64encode(pair.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.wire.call("POST", url, headers=headers, body=urlencode(form).encode())

    def ask_token(self, scope: str, secret: str | None = None) -> Answer:
        """RFC 6749 §4.4.2."""
        return self.post_form(self.token_url, {"grant_type": "client_credentials", "scope": scope}, secret)

    def token(self, scope: str | None = None) -> str:
        """An access token, asked for once."""
        scope = scope or self.scope
        if scope not in self._tokens:
            answer = self.ask_token(scope)
            assert answer.status == 200, answer
            self._tokens[scope] = answer.json["access_token"]
        return self._tokens[scope]

    def ask(
        self,
        method: str,
        url: str,
        json_body: object = UNSET,
        token: str | None = UNSET,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call of the management API; *token* of `None`: without one. Bytes are sent as they are."""
        sent = dict(headers or {})
        token = self.token() if token == UNSET else token
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        body: bytes | None = None
        if json_body != UNSET:
            sent.setdefault("Content-Type", "application/json")
            body = json_body if isinstance(json_body, bytes) else json.dumps(json_body).encode()
        return self.wire.call(method, url, headers=sent, body=body)

    # --- Streams ---

    @property
    def streams_url(self) -> str:
        return str(self.metadata["configuration_endpoint"])

    def url_of(self, stream_id: str, endpoint: str = "configuration_endpoint") -> str:
        """Where *stream_id* is asked about."""
        return f"{self.metadata[endpoint]}?stream_id={quote(stream_id, safe='')}"

    def create(self, **members: Any) -> Json:
        """Make a stream that must be made."""
        answer = self.ask("POST", self.streams_url, members)
        assert answer.status == 201, answer
        made: Json = answer.json
        return made

    def read(self, stream_id: str) -> Answer:
        return self.ask("GET", self.url_of(stream_id))

    def change(self, method: str, **members: Any) -> Answer:
        """PATCH or PUT (SSF 1.0 §8.1.1.3, §8.1.1.4)."""
        return self.ask(method, self.streams_url, members)

    def delete(self, stream_id: str) -> Answer:
        return self.ask("DELETE", self.url_of(stream_id))

    def status(self, stream_id: str) -> Answer:
        return self.ask("GET", self.url_of(stream_id, "status_endpoint"))

    def set_status(self, stream_id: str, status: str, **members: Any) -> Answer:
        body = {"stream_id": stream_id, "status": status, **members}
        return self.ask("POST", self.metadata["status_endpoint"], body)

    def ask_verification(self, stream_id: str, **members: Any) -> Answer:
        return self.ask("POST", self.metadata["verification_endpoint"], {"stream_id": stream_id, **members})

    # --- Polling (RFC 8936) ---

    def poll(self, stream: Json, **members: Any) -> Answer:
        """One poll; returns at once unless told otherwise."""
        return self.ask("POST", stream["delivery"]["endpoint_url"], {"returnImmediately": True, **members})

    def collect(self, stream: Json, count: int, event: str | None = None) -> list[Set]:
        """Poll and acknowledge until *count* tokens (of *event*) have come, in the order they came."""
        found: list[Set] = []
        deadline = time.monotonic() + PATIENCE
        ack: list[str] = []
        while len(found) < count or ack:
            assert time.monotonic() < deadline, f"{len(found)} of {count} came: {found}"
            answer = self.poll(stream, ack=ack)
            assert answer.status == 200, answer
            sets = answer.json["sets"]
            ack = list(sets)
            for jti, text in sets.items():
                this_set = self.verified(text)
                assert this_set.claims["jti"] == jti
                found += [this_set] if event in (None, this_set.event) else []
            time.sleep(0 if sets else 0.05)
        return found

    def peek(self, stream: Json, count: int) -> list[Set]:
        """Poll and acknowledge nothing until *count* tokens were seen, each once, in the order they came."""
        found: dict[str, Set] = {}
        deadline = time.monotonic() + PATIENCE
        while len(found) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} came: {found}"
            for jti, text in self.poll(stream).json["sets"].items():
                found.setdefault(jti, self.verified(text))
            time.sleep(0.05)
        return list(found.values())

    def declared(self) -> Json:
        """The stream that the operator declared for this receiver."""
        (stream,) = self.ask("GET", self.streams_url).json
        found: Json = stream
        return found

    # --- What was sent ---

    def keys(self) -> Json:
        """The key set, asked for anew."""
        keys: Json = self.wire.call("GET", self.metadata["jwks_uri"]).json
        return keys

    def verified(self, text: str) -> Set:
        """Check signature, issuer and audience as RFC 8417 §2 and the interop profile §2.6 ask."""
        header = jwt.get_unverified_header(text)
        assert (header["typ"], header["alg"]) == ("secevent+jwt", "RS256"), header
        if header["kid"] not in self._known:
            self._known = {key["kid"]: key for key in self.keys()["keys"]}
        claims = jwt.decode(
            text,
            jwt.PyJWK(self._known[header["kid"]]),
            algorithms=["RS256"],
            audience=self.aud,
            issuer=self.issuer,
            options={"require": ["iss", "jti", "iat", "aud"]},
        )
        return Set(header, claims)
