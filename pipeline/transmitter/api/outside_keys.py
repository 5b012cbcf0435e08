"""The public keys of an authorization server outside, fetched within bounds and kept for a while."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

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


class OutsideKeys:
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
