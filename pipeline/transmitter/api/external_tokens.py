"""Access tokens of an external authorization server: JWTs verified with its JWK Set (RFC 9068, RFC 8725).

PyJWT's `PyJWKClient` (2.15) does not replace `JwksCache`: it fetches the keys anew for every token with an
unknown key id, so that anyone can make us flood the authorization server
(`test_keys_are_fetched_once_and_an_unknown_one_is_looked_for_once_in_a_while`). It also rejects valid tokens as
soon as a refresh fails, raises `JSONDecodeError` for a broken JWK Set and reads responses of any length
(`test_while_no_keys_can_be_had_known_ones_are_good_for_an_hour`).
"""

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

from pipeline.transmitter.api.auth import TokenCheck
from pipeline.transmitter.api.errors import bad_token, missing_scope, unavailable
from pipeline.transmitter.services import Services
from pipeline.transmitter.store import receivers
from pipeline.transmitter.store.receivers import MANAGE, READ, Receiver
from pipeline.transmitter.store.tables import is_valid_id

REFRESH_MS: Final = 900_000
"""Age at which the keys are fetched again: a withdrawn key is trusted no longer than this."""
MIN_FETCH_INTERVAL_MS: Final = 10_000
"""Shortest time between two fetches, however many tokens name unknown keys."""
MAX_STALE_MS: Final = 3_600_000
"""How long the keys stay valid while their server does not respond."""
TIMEOUT_S: Final = 5.0
MAX_JWKS_BYTES: Final = 262_144
MIN_RSA_BITS: Final = 2048

Key = RSAKey | ECKey | OKPKey
_KEY_CLASSES: Final[dict[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}
"""By `kty` (RFC 7518 §6.1, RFC 8037 §2); never `oct`, which would be a shared secret."""

_log = logging.getLogger(__name__)


class JwksCache:
    """Finds a key by its id; an unknown id triggers one more fetch, at most every `MIN_FETCH_INTERVAL_MS`.

    While keys are being fetched again, the known ones stay valid: a server that hangs delays one call only.
    """

    def __init__(self, url: str, clock: Callable[[], int]) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str | None, Key] = {}
        self._fetched_at: int | None = None
        self._tried_at: int | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> Key | None:
        """Return the key *kid*, or the only key if the token names none.

        Raises:
            OSError: no key is still valid, and none can be fetched.
        """
        known, age = self._pick(kid), self._age(self._fetched_at)
        if known is None or age > (MAX_STALE_MS if self._lock.locked() else REFRESH_MS):
            async with self._lock:
                await self._refresh(kid)
            return self._pick(kid)
        return known

    def _pick(self, kid: str | None) -> Key | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _age(self, time_ms: int | None) -> float:
        return float("inf") if time_ms is None else self._clock() - time_ms

    async def _refresh(self, kid: str | None) -> None:
        if self._age(self._fetched_at) <= REFRESH_MS and self._pick(kid) is not None:
            return  # a concurrent request fetched the keys
        if self._age(self._tried_at) >= MIN_FETCH_INTERVAL_MS:
            self._tried_at = self._clock()
            try:
                self._keys = _keys(await _fetch(self._url))
                self._fetched_at = self._clock()
            except OSError as error:
                _log.warning("The keys of the authorization server could not be fetched: %s", error)
        if self._age(self._fetched_at) > MAX_STALE_MS:
            self._keys = {}
            raise OSError(f"no valid JWK Set came from {self._url} for {MAX_STALE_MS // 60_000} minutes")


async def _fetch(url: str) -> bytes:
    """Fetch *url*: no redirects, no proxies, no compression, bounded in time and size."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False, headers=headers) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise OSError(f"it responded with status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                if len(body) > MAX_JWKS_BYTES:
                    raise OSError(f"it responded with more than {MAX_JWKS_BYTES} bytes")
            return bytes(body)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


def _keys(body: bytes) -> dict[str | None, Key]:
    """Parse a JWK Set (RFC 7517 §5); unsupported and weak keys are left out."""
    try:
        entries = json.loads(body)["keys"]
        keys = [key for data in entries if (key := _key(data)) is not None]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise OSError("its response is not a JWK Set") from None
    return {key.kid: key for key in keys}


def _key(data: Any) -> Key | None:
    if not isinstance(data, dict) or data.get("use", "sig") != "sig" or data.get("kty") not in _KEY_CLASSES:
        return None
    if data["kty"] == "RSA" and _bits(data.get("n")) < MIN_RSA_BITS:
        return None
    public = {name: value for name, value in data.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}
    try:
        return _KEY_CLASSES[data["kty"]].import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _bits(modulus: Any) -> int:
    """Bits of a base64url number (RFC 7518 §6.3.1.1), rounded down to a multiple of eight."""
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
"""Only asymmetric algorithms: the published key must not be able to sign (RFC 8725 §2.1)."""

TYPES: Final = ("at+jwt", "application/at+jwt", "jwt", None)
"""RFC 9068 §2.1, and what authorization servers without it write. Never `secevent+jwt`."""

CLIENT_CLAIMS: Final = ("client_id", "azp", "sub")
"""Claims that may name the client; the first one present counts: RFC 9068 §2.2, OpenID Connect, others."""

DECLARED_PREFIX: Final = "declared-"
"""Prefix of the receivers of declared streams; no external client may be one of them."""
START_CLAIMS: Final = ("nbf", "iat")
MAX_CLOCK_SKEW_S: Final = 60
"""How far the clock of the authorization server may be ahead. Expiry has no such tolerance."""


class ExternalTokenVerifier:
    """Verifies tokens; a receiver seen for the first time is added to the store."""

    def __init__(self, services: Services, keys: JwksCache) -> None:
        self._services = services
        self._keys = keys
        self._audience = services.settings.token_audience or services.settings.issuer

    async def check(self, token: str) -> Receiver:
        """Return the receiver that holds *token*.

        Raises:
            Problem: the token is invalid (401), or the authorization server's keys are unavailable (503).
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
            raise bad_token("tokens of this type or algorithm are not accepted")
        try:
            key = await self._keys.find(kid if isinstance(kid, str) else None)
        except OSError as error:
            _log.error("The keys of the authorization server are unavailable: %s", error)
            raise unavailable("the keys of the authorization server are unavailable now") from None
        if key is None:
            raise bad_token("no key of the authorization server signed this token")
        return key

    def _claims(self, token: str, key: RSAKey | ECKey | OKPKey) -> Mapping[str, Any]:
        registry = jwt.JWTClaimsRegistry(
            now=self._services.clock() // 1000,
            iss={"essential": True, "value": self._services.settings.token_issuer or ""},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims
            start_claims: dict[str, Any] = {name: claims[name] for name in START_CLAIMS if name in claims}
            registry.validate({name: value for name, value in claims.items() if name not in start_claims})
            jwt.JWTClaimsRegistry(now=registry.now, leeway=MAX_CLOCK_SKEW_S).validate(start_claims)
        except ClaimError as error:
            raise bad_token(f"the claim {error.claim} of this token is missing or invalid") from None
        except (JoseError, ValueError, TypeError, RecursionError):
            raise bad_token("the signature of this token is invalid") from None
        self._check_lifetime(claims)
        return claims

    def _check_lifetime(self, claims: Mapping[str, Any]) -> None:
        """Refuse a token that expires late, because nobody can revoke it.

        CAEP Interoperability Profile, "Authorization Server". The lifetime starts at `nbf` if there is one, but
        not before `iat`.
        """
        starts = [claims[name] for name in START_CLAIMS if name in claims]
        if not starts:
            raise bad_token("this token has neither iat nor nbf, so its lifetime is unknown")
        max_lifetime_s = self._services.settings.token_longest_s
        if claims["exp"] > max(starts) + max_lifetime_s:
            raise bad_token(f"this token is valid for longer than {max_lifetime_s} seconds; request a shorter one")

    def _receiver(self, receiver_id: str) -> Receiver:
        """The receiver as stored: the operator may have changed its `aud`, or revoked it."""
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
    """The header of a JWT, not yet verified: it names the key to use."""
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
    value = next((claims[name] for name in CLIENT_CLAIMS if name in claims), None)
    if not isinstance(value, str) or not is_valid_id(value) or value.startswith(DECLARED_PREFIX):
        raise bad_token("this token does not name its client by 1 to 128 letters, digits and ._~:@/+=-")
    return value


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """`scope` (RFC 9068 §2.2.3), or `scp`, a string or a list, as some authorization servers write it."""
    value = claims.get("scope", claims.get("scp", ""))
    scopes = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(scope for scope in scopes if isinstance(scope, str)) & {READ, MANAGE}


def external_token_check(services: Services) -> TokenCheck:
    """Return the check of tokens of the authorization server that the settings name."""
    settings = services.settings
    keys = JwksCache(settings.token_jwks_url or "", services.clock)
    return ExternalTokenVerifier(services, keys).check
