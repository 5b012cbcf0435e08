"""Keycloak as the last hop: polls a stream of session-risk and emits each event through Keycloak.

    python deploy/transmitter/keycloak.py          # settings: see README.md beside this file

Keycloak's receivers then hear of it signed by Keycloak, as if Keycloak had seen it itself. A token is
acknowledged once Keycloak has answered; while it does not, the token comes again (RFC 8936 §2.4).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

logger = logging.getLogger("keycloak-relay")

POLL: Final = "urn:ietf:rfc:8936"
CAEP: Final = "https://schemas.openid.net/secevent/caep/"
PATIENCE_S: Final = 60.0
"""For one request; longer than the transmitter's long poll."""
PAUSE_S: Final = 5.0
"""Before the next poll when something did not answer."""
LONGEST: Final = 4_194_304
"""Bytes of an answer that are read."""

DONE: Final = ("dispatched", "dropped_filtered", "dropped_unsubscribed")
"""What Keycloak says when it is done with an event: sent on, or not wanted by its receiver."""
WRONG: Final = (
    "subject_not_found",
    "unknown_event_type",
    "event_type_not_emittable",
    "invalid_request",
    "invalid_event_data",
)
"""What it says when the same event would be refused another time, too."""

Json = dict[str, Any]


class Unanswered(Exception):
    """Somebody did not answer, or not as agreed: it is tried again later."""


class _StayHere(HTTPRedirectHandler):
    """A redirect would carry the token elsewhere."""

    def redirect_request(self, *_args: Any) -> None:
        return None


_opener = build_opener(_StayHere)


def call(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> tuple[int, Any]:
    """Return status and decoded JSON (`None` where there is none); raise `Unanswered` if nobody answers."""
    if urlsplit(url).scheme not in ("https", "http"):
        raise Unanswered(f"{url}: not an address on the web")
    request = Request(url, data=body, headers=dict(headers), method=method)  # noqa: S310  # looked at above
    try:
        with _opener.open(request, timeout=PATIENCE_S) as answer:
            return answer.status, _json(answer.read(LONGEST))
    except HTTPError as error:
        with error:
            return error.code, _json(error.read(LONGEST))
    except (URLError, OSError) as error:
        raise Unanswered(f"{url}: {error}") from error


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


@dataclass(slots=True)
class Client:
    """Speaks to one side with a token of its own (RFC 6749 §4.4), taken anew when it is refused."""

    token_url: str
    client_id: str
    secret: str = field(repr=False)
    scope: str | None = None
    _token: str | None = field(default=None, repr=False)

    def ask(self, method: str, url: str, body: object = None) -> tuple[int, Any]:
        """One call, and once more with a new token if this one is over."""
        status, answer = self._once(method, url, body)
        if status == 401:
            self._token = None
            status, answer = self._once(method, url, body)
        return status, answer

    def _once(self, method: str, url: str, body: object) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._held()}", "Accept": "application/json"}
        if body is None:
            return call(method, url, headers)
        headers["Content-Type"] = "application/json"
        return call(method, url, headers, json.dumps(body).encode())

    def _held(self) -> str:
        if self._token is None:
            pair = f"{quote(self.client_id, safe='')}:{quote(self.secret, safe='')}"
            headers = {
                "Authorization": f"Basic {b64encode(pair.encode()).decode()}",
                "Content-Type": "application/x-www-form-urlencoded",
            }
            form = {"grant_type": "client_credentials", **({"scope": self.scope} if self.scope else {})}
            status, answer = call("POST", self.token_url, headers, urlencode(form).encode())
            if status != 200 or not isinstance(answer, dict) or "access_token" not in answer:
                raise Unanswered(f"{self.token_url}: no token, status {status}")
            self._token = str(answer["access_token"])
        return self._token


@dataclass(slots=True)
class Relay:
    """From the stream at *issuer* to *emit_url*."""

    issuer: str
    here: Client
    keycloak: Client
    emit_url: str
    _metadata: Json = field(default_factory=dict)
    _stream: Json = field(default_factory=dict)

    def begin(self) -> None:
        """Discover the transmitter, and take its poll stream or make one."""
        at = urlsplit(self.issuer)
        url = f"{at.scheme}://{at.netloc}/.well-known/ssf-configuration{at.path.rstrip('/')}"
        status, metadata = call("GET", url, {"Accept": "application/json"})
        if status != 200 or metadata.get("issuer") != self.issuer:
            raise Unanswered(f"{url}: not the configuration of {self.issuer}, status {status}")
        self._metadata = metadata
        streams_url = metadata["configuration_endpoint"]
        status, streams = self.here.ask("GET", streams_url)
        if status != 200:
            raise Unanswered(f"{streams_url}: streams are not told, status {status}")
        polled = [one for one in streams if one["delivery"]["method"] == POLL]
        if not polled:
            status, made = self.here.ask("POST", streams_url, {"delivery": {"method": POLL}})
            if status != 201:
                raise Unanswered(f"{streams_url}: no stream was made, status {status}")
            polled = [made]
        self._stream = polled[0]

    def step(self, ack: list[str], errors: Json, *, wait: bool = True) -> tuple[list[str], Json]:
        """Poll once, pass on what came, and return what the next poll acknowledges and refuses."""
        body = {"returnImmediately": not wait, "ack": ack, "setErrs": errors}
        url = self._stream["delivery"]["endpoint_url"]
        status, answer = self.here.ask("POST", url, body)
        if status != 200:
            raise Unanswered(f"{url}: status {status}")
        done: list[str] = []
        wrong: Json = {}
        for jti, token in answer["sets"].items():
            if (refusal := self._pass_on(jti, token)) is None:
                done.append(jti)
            elif refusal:
                wrong[jti] = {"err": "invalid_request", "description": refusal}
        return done, wrong

    def _pass_on(self, jti: str, token: str) -> str | None:
        """Emit one event: `None` if it is done with, a sentence if it never will be, "" if it comes again."""
        try:
            claims = jwt.decode(token, self._keys(), algorithms=["RS256", "ES256"]).claims
        except (JoseError, ValueError) as error:
            return f"not signed by the keys of {self.issuer}: {error}"
        ((event, payload),) = claims["events"].items()
        if not event.startswith(CAEP):
            return None  # of the stream itself: a verification, a change of status
        body = {"eventType": event, "sub_id": claims["sub_id"], "event": payload}
        try:
            status, answer = self.keycloak.ask("POST", self.emit_url, body)
        except Unanswered as error:
            logger.warning("%s stays: %s", jti, error)
            return ""
        word = answer.get("status") if isinstance(answer, dict) else None
        logger.info("%s %s: %s (%d)", jti, event, word, status)
        if word in DONE:
            return None
        return f"Keycloak says {word}: {answer.get('message', '')}" if word in WRONG else ""

    def _keys(self) -> KeySet:
        status, keys = call("GET", self._metadata["jwks_uri"], {"Accept": "application/json"})
        if status != 200:
            raise Unanswered(f"{self._metadata['jwks_uri']}: status {status}")
        return KeySet.import_key_set(keys)


def of_environment(values: Mapping[str, str]) -> Relay:
    """Read the settings; raises `KeyError` with the name of one that is missing."""
    issuer, keycloak, realm = (values[name] for name in ("RELAY_ISSUER", "KEYCLOAK_URL", "KEYCLOAK_REALM"))
    admin = f"{keycloak.rstrip('/')}/admin/realms/{quote(realm, safe='')}"
    return Relay(
        issuer,
        Client(
            f"{issuer.rstrip('/')}/oauth/token",
            values["RELAY_CLIENT_ID"],
            values["RELAY_CLIENT_SECRET"],
            "ssf.manage ssf.read",
        ),
        Client(
            f"{keycloak.rstrip('/')}/realms/{quote(realm, safe='')}/protocol/openid-connect/token",
            values["KEYCLOAK_CLIENT_ID"],
            values["KEYCLOAK_CLIENT_SECRET"],
        ),
        f"{admin}/ssf/clients/{quote(values['KEYCLOAK_RECEIVER'], safe='')}/events/emit",
    )


def main() -> int:
    """Relay until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        relay = of_environment(os.environ)
    except KeyError as error:
        logger.error("the setting %s is missing; see README.md beside this file", error.args[0])  # noqa: TRY400 - the sentence says it all
        return 2
    ack: list[str] = []
    errors: Json = {}
    begun = False
    while True:
        try:
            if not begun:
                relay.begin()
                begun = True
            ack, errors = relay.step(ack, errors)
        except Unanswered as error:
            logger.warning("%s; again in %.0f s", error, PAUSE_S)
            time.sleep(PAUSE_S)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
