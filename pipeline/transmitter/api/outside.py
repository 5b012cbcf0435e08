"""Access tokens of an authorization server outside: JWTs by its keys and issuer (RFC 9068, RFC 8725)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import json_b64decode
from starlette.concurrency import run_in_threadpool

from pipeline.transmitter.api.bearer import Check
from pipeline.transmitter.api.outside_keys import OutsideKeys
from pipeline.transmitter.api.problems import bad_token, missing_scope, unavailable
from pipeline.transmitter.services import Services
from pipeline.transmitter.store import receivers
from pipeline.transmitter.store.receivers import MANAGE, READ, Receiver
from pipeline.transmitter.store.texts import may_be_id

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
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

_log = logging.getLogger(__name__)


class OutsideTokens:
    """Checks tokens; a receiver that comes for the first time becomes one of this transmitter."""

    def __init__(self, services: Services, keys: OutsideKeys) -> None:
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
    if not isinstance(value, str) or not may_be_id(value) or value.startswith(NOT_OUTSIDE):
        raise bad_token(
            "this token does not name its client by a text of 1 to 128 letters, digits and ._~:@/+=-"
        )
    return value


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """`scope` (RFC 9068 §2.2.3), or `scp`, a text or a list, as some authorization servers write it."""
    given = claims.get("scope", claims.get("scp", ""))
    words = given.split(" ") if isinstance(given, str) else given if isinstance(given, list) else []
    return frozenset(word for word in words if isinstance(word, str)) & {READ, MANAGE}


def outside(services: Services) -> Check:
    """Check tokens of the authorization server that the settings name."""
    settings = services.settings
    keys = OutsideKeys(settings.token_jwks_url or "", services.clock)
    return OutsideTokens(services, keys).check
