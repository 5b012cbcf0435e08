"""Access tokens of an authorization server outside: JWTs by its keys and issuer (RFC 9068, RFC 8725)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import aiohttp
from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import json_b64decode
from starlette.concurrency import run_in_threadpool

from pipeline.transmitter.api.auth import Check
from pipeline.transmitter.api.errors import bad_token, missing_scope, unavailable
from pipeline.transmitter.services import Services
from pipeline.transmitter.store import receivers
from pipeline.transmitter.store.receivers import MANAGE, READ, Receiver
from pipeline.transmitter.store.tables import is_valid_id

FRESH_MS: Final = 900_000
"""Keys are fetched again after so long: one that was withdrawn is believed no longer than this."""
PAUSE_MS: Final = 10_000
"""Least time between two fetches, however many tokens name keys that nobody has."""
STALE_MS: Final = 3_600_000
"""So long the keys are good while their server does not answer."""
TIMEOUT_S: Final = 5.0
LONGEST: Final = 262_144
LEAST_RSA_BITS: Final = 2048

Key = RSAKey | ECKey | OKPKey
_KINDS: Final[dict[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}
"""By `kty` (RFC 7518 §6.1, RFC 8037 §2); never `oct`, which would be a secret."""

_log = logging.getLogger(__name__)


class JwksCache:
    """Finds a key by its id; an id not seen before is looked for once more, at most every `PAUSE_MS`.

    While keys are fetched again, known ones go on being good: a server that hangs holds up one call.
    """

    def __init__(self, url: str, clock: Callable[[], int]) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str | None, Key] = {}
        self._fetched_at: int | None = None
        self._tried_at: int | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> Key | None:
        """Return the key *kid*, or the only one there is if the token names none.

        Raises:
            OSError: there are no keys that are still good, and none can be fetched.
        """
        known, age = self._pick(kid), self._age(self._fetched_at)
        if known is None or age > (STALE_MS if self._lock.locked() else FRESH_MS):
            async with self._lock:
                await self._refresh(kid)
            return self._pick(kid)
        return known

    def _pick(self, kid: str | None) -> Key | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _age(self, at: int | None) -> float:
        return float("inf") if at is None else self._clock() - at

    async def _refresh(self, kid: str | None) -> None:
        if self._age(self._fetched_at) <= FRESH_MS and self._pick(kid) is not None:
            return  # another request fetched it meanwhile
        if self._age(self._tried_at) >= PAUSE_MS:
            self._tried_at = self._clock()
            try:
                self._keys = _keys(await _fetch(self._url))
                self._fetched_at = self._clock()
            except OSError as error:
                _log.warning("The keys of the authorization server could not be fetched: %s", error)
        if self._age(self._fetched_at) > STALE_MS:
            self._keys = {}
            raise OSError(f"nothing good came from {self._url} for {STALE_MS // 60_000} minutes")


async def _fetch(url: str) -> bytes:
    """Fetch *url*: no redirects, no proxies, no compression, bounded in time and size."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False, headers=headers) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise OSError(f"it answered with status {answer.status}")
            body = bytearray()
            async for piece in answer.content.iter_chunked(65_536):
                body += piece
                if len(body) > LONGEST:
                    raise OSError(f"it answered with more than {LONGEST} bytes")
            return bytes(body)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


def _keys(body: bytes) -> dict[str | None, Key]:
    """Read a JWK Set (RFC 7517 §5): keys that are not understood, or are too weak, are left out."""
    try:
        found = json.loads(body)["keys"]
        keys = [key for data in found if (key := _key(data)) is not None]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise OSError("it did not answer with a JWK Set") from None
    return {key.kid: key for key in keys}


def _key(data: Any) -> Key | None:
    if not isinstance(data, dict) or data.get("use", "sig") != "sig" or data.get("kty") not in _KINDS:
        return None
    if data["kty"] == "RSA" and _bits(data.get("n")) < LEAST_RSA_BITS:
        return None
    public = {name: value for name, value in data.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}
    try:
        return _KINDS[data["kty"]].import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _bits(modulus: Any) -> int:
    """Bits of a number in base64url (RFC 7518 §6.3.1.1), to the next eight."""
    return len(modulus.rstrip("=")) * 6 // 8 * 8 if isinstance(modulus, str) else 0


ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
"""Asymmetric ones only: what is published must not be what signs (RFC 8725 §2.1)."""

TYPES: Final = ("at+jwt", "application/at+jwt", "jwt", None)
"""RFC 9068 §2.1, and what authorization servers without it write. Never `secevent+jwt`."""

CLIENT: Final = ("client_id", "azp", "sub")
"""Claims that may name the client, first found first: RFC 9068 §2.2, OpenID Connect, the rest."""

NOT_OUTSIDE: Final = "declared-"
"""So begin the receivers of declared streams; nobody outside is one of them."""
EARLY: Final = ("nbf", "iat")
AHEAD_S: Final = 60
"""By so much the clock of the authorization server may be ahead. An expired token is expired at once."""


class ExternalTokenVerifier:
    """Checks tokens; a receiver that comes for the first time becomes one of this transmitter."""

    def __init__(self, services: Services, keys: JwksCache) -> None:
        self._services = services
        self._keys = keys
        self._audience = services.settings.token_audience or services.settings.issuer

    async def check(self, token: str) -> Receiver:
        """Say who holds *token*.

        Raises:
            Problem: it is not good (401), or the authorization server's keys cannot be had (503).
        """
        claims = self._claims(token, await self._key(token))
        receiver_id = _client(claims)
        scopes = _scopes(claims)
        if not scopes:
            raise missing_scope(READ)
        receiver = await run_in_threadpool(self._receiver, receiver_id)
        return replace(receiver, scopes=scopes)

    async def _key(self, token: str) -> RSAKey | ECKey | OKPKey:
        header = _header(token)
        kid = header.get("kid")
        typ = header.get("typ")
        if header.get("alg") not in ALGORITHMS or (typ.lower() if isinstance(typ, str) else typ) not in TYPES:
            raise bad_token("tokens of this kind are not taken here")
        try:
            key = await self._keys.find(kid if isinstance(kid, str) else None)
        except OSError as error:
            _log.error("The keys of the authorization server cannot be had: %s", error)
            raise unavailable("the keys of the authorization server cannot be had just now") from None
        if key is None:
            raise bad_token("no key of the authorization server signed this token")
        return key

    def _claims(self, token: str, key: RSAKey | ECKey | OKPKey) -> Mapping[str, Any]:
        rules = jwt.JWTClaimsRegistry(
            now=self._services.clock() // 1000,
            iss={"essential": True, "value": self._services.settings.token_issuer or ""},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims
            early: dict[str, Any] = {name: claims[name] for name in EARLY if name in claims}
            rules.validate({name: value for name, value in claims.items() if name not in early})
            jwt.JWTClaimsRegistry(now=rules.now, leeway=AHEAD_S).validate(early)
        except ClaimError as error:
            raise bad_token(f"the claim {error.claim} of this token is missing or not right") from None
        except (JoseError, ValueError, TypeError, RecursionError):
            raise bad_token("this token is not signed as it should be") from None
        self._check_lifetime(claims)
        return claims

    def _check_lifetime(self, claims: Mapping[str, Any]) -> None:
        """It must end soon: nobody can take it back (CAEP Interoperability Profile, "Authorization Server").

        It is good from `nbf` on, where there is one, but not before it was made.
        """
        begins = [claims[name] for name in EARLY if name in claims]
        if not begins:
            raise bad_token("this token does not say since when it is good: it has neither iat nor nbf")
        longest_s = self._services.settings.token_longest_s
        if claims["exp"] > max(begins) + longest_s:
            raise bad_token(f"this token is good for longer than {longest_s} seconds; ask for a shorter one")

    def _receiver(self, receiver_id: str) -> Receiver:
        """The receiver as it is known here: an operator may have given it another `aud`, or revoked it."""
        with self._services.store.read() as conn:
            known = receivers.get(conn, receiver_id)
        if known is None:
            with self._services.store.begin() as conn:
                now_ms = self._services.clock()
                known = receivers.ensure(conn, receiver_id, receiver_id, (READ, MANAGE), now_ms)
        if known.revoked_at is not None:
            raise bad_token("this receiver was revoked here")
        return known


def _header(token: str) -> Mapping[str, Any]:
    """The header of a JWT, not verified: it says which key to look for."""
    parts = token.split(".")
    if len(parts) != 3:
        raise bad_token("this token is not a JWT")
    try:
        header = json_b64decode(parts[0].encode())
    except (JoseError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise bad_token("this token is not a JWT")
    return header


def _client(claims: Mapping[str, Any]) -> str:
    value = next((claims[name] for name in CLIENT if name in claims), None)
    if not isinstance(value, str) or not is_valid_id(value) or value.startswith(NOT_OUTSIDE):
        raise bad_token("this token does not name its client by a text of 1 to 128 letters, digits and ._~:@/+=-")
    return value


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """`scope` (RFC 9068 §2.2.3), or `scp`, a text or a list, as some authorization servers write it."""
    given = claims.get("scope", claims.get("scp", ""))
    words = given.split(" ") if isinstance(given, str) else given if isinstance(given, list) else []
    return frozenset(word for word in words if isinstance(word, str)) & {READ, MANAGE}


def outside(services: Services) -> Check:
    """Check tokens of the authorization server that the settings name."""
    settings = services.settings
    keys = JwksCache(settings.token_jwks_url or "", services.clock)
    return ExternalTokenVerifier(services, keys).check
