"""Signing keys: RS256 or ES256 (RFC 7518 §3.3, §3.4), stored encrypted.

The newest key that is not retired signs. A retired key is published while tokens it signed are waiting
(`jwks`), and is deleted some time after.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import Connection, delete, insert, select, update

from pipeline.transmitter.store.database import Store, advisory_lock
from pipeline.transmitter.store.encryption import Sealer
from pipeline.transmitter.store.queue.dead_letters import needed_key_ids
from pipeline.transmitter.store.tables import signing_keys

Alg = Literal["RS256", "ES256"]
MIN_RSA_BITS: Final = 2048
"""Minimum length of an RSA key: RFC 7518 §3.3, and CAEP Interoperability Profile §2.6."""
TYP: Final = "secevent+jwt"
"""RFC 8417 §2.3; SSF 1.0 §4.1.1."""
_NOT_RETIRED = signing_keys.c.retired_at.is_(None)


class WeakKeyError(ValueError):
    """The key must not be used for signing; the message says why, and contains nothing of the key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key without its secret. Times in ms."""

    kid: str
    alg: str
    created_at: int
    retired_at: int | None


class Signer:
    """Signs with the newest key of the store; `refresh` reads whether another process made a newer one."""

    def __init__(self, sealer: Sealer, alg: Alg = "RS256", rsa_bits: int = MIN_RSA_BITS) -> None:
        if rsa_bits < MIN_RSA_BITS:
            raise WeakKeyError(f"an RSA key of {rsa_bits} bits is too weak; use {MIN_RSA_BITS} or more")
        self._sealer = sealer
        self._alg: Alg = alg
        self._bits = rsa_bits
        self._current: tuple[str, Alg, RSAKey | ECKey] | None = None
        self._public: dict[
            str, dict[str, Any]
        ] = {}  # a cache: reading a private key takes 60 ms, because it is checked

    def __repr__(self) -> str:
        return f"Signer({self.kid if self._current else None})"

    @property
    def kid(self) -> str:
        """The id of the signing key."""
        return self._signing[0]

    def sign(self, claims: Mapping[str, Any]) -> tuple[str, str]:
        """Return the key id and the token: *claims* as a compact JWS of type `secevent+jwt`."""
        kid, alg, key = self._signing
        header = {"typ": TYP, "alg": alg, "kid": kid}
        payload = json.dumps(claims, separators=(",", ":"))
        return kid, jws.serialize_compact(header, payload, key, registry=_REGISTRY)

    def sign_many(self, claims_list: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Like `sign`, for several tokens in a row, all with the same key."""
        return [self.sign(claims) for claims in claims_list]

    def refresh(self, conn: Connection) -> bool:
        """Use the newest key of the store; true if it has changed. False if the store has none."""
        newest = (signing_keys.c.created_at.desc(), signing_keys.c.kid)
        kid = conn.scalar(select(signing_keys.c.kid).where(_NOT_RETIRED).order_by(*newest).limit(1))
        if kid is None or (self._current is not None and kid == self._current[0]):
            return False
        row = conn.execute(select(signing_keys).where(signing_keys.c.kid == kid)).one()
        self._current = (kid, row.alg, _read(self._sealer.open(row.private_sealed), "the store"))
        return True

    def start(self, conn: Connection, now_ms: int) -> None:
        """Prepare for signing, with a new key if the store has none; *conn* writes."""
        advisory_lock(conn, "keys")
        if not self.refresh(conn) and self._current is None:
            self.rotate(conn, now_ms)

    def rotate(self, conn: Connection, now_ms: int) -> str:
        """Make a new key, sign with it, retire the ones before; return its id. *conn* writes."""
        rsa = self._alg == "RS256"
        return self._use(conn, RSAKey.generate_key(self._bits) if rsa else ECKey.generate_key("P-256"), now_ms)

    def import_pem(self, conn: Connection, pem: bytes, now_ms: int, where: str = "the file") -> str:
        """Sign with the private key in *pem* from now on, retire the ones before; return its id.

        Raises `WeakKeyError` if the key must not be used; the message names *where* it was. *conn* writes.
        """
        return self._use(conn, _read(pem.decode("ascii", "replace"), where), now_ms)

    def jwks(self, conn: Connection) -> dict[str, Any]:
        """Return the public keys (RFC 7517 §5): the signing key, and retired ones while their tokens wait."""
        needed = needed_key_ids(conn)
        newest = select(signing_keys).order_by(_NOT_RETIRED.desc(), signing_keys.c.created_at.desc())
        rows = [row for row in conn.execute(newest) if row.retired_at is None or row.kid in needed]
        for row in rows:
            if row.kid not in self._public:
                key = _read(self._sealer.open(row.private_sealed), "the store")
                self._public[row.kid] = key.as_dict(private=False, kid=row.kid, use="sig", alg=row.alg)
        return {"keys": [dict(self._public[row.kid]) for row in rows]}

    @property
    def _signing(self) -> tuple[str, Alg, RSAKey | ECKey]:
        if self._current is None:
            raise RuntimeError("the signer was neither started nor refreshed")
        return self._current

    def _use(self, conn: Connection, key: RSAKey | ECKey, now_ms: int) -> str:
        """Store *key* encrypted and sign with it; raises `SealError` if this key file is not the store's.

        Otherwise no transmitter with the right key file could read the new key, and all of them would end.
        """
        advisory_lock(conn, "keys")
        self.refresh(conn)
        kid = key.thumbprint()
        alg: Alg = "RS256" if isinstance(key, RSAKey) else "ES256"
        conn.execute(update(signing_keys).where(_NOT_RETIRED).values(retired_at=now_ms))
        sealed = self._sealer.seal(key.as_pem(private=True).decode())
        conn.execute(delete(signing_keys).where(signing_keys.c.kid == kid))  # a retired key may be imported again
        row = {"kid": kid, "alg": alg, "private_sealed": sealed, "created_at": now_ms}
        conn.execute(insert(signing_keys).values(row))
        self._current = (kid, alg, key)
        return kid


def open_signer(store: Store, alg: Alg, rsa_bits: int, now_ms: int) -> Signer:
    """Return a signer that is ready; a store without keys gets its first one."""
    signer = Signer(store.sealer, alg, rsa_bits)
    with store.begin() as conn:
        signer.start(conn, now_ms)
    return signer


def list_keys(conn: Connection) -> list[SigningKey]:
    """Return every key, the newest first."""
    columns = (signing_keys.c.kid, signing_keys.c.alg, signing_keys.c.created_at, signing_keys.c.retired_at)
    newest = select(*columns).order_by(_NOT_RETIRED.desc(), signing_keys.c.created_at.desc())
    return [SigningKey(*row) for row in conn.execute(newest)]


def delete_retired(conn: Connection, before_ms: int) -> set[str]:
    """Delete keys retired before *before_ms* that no waiting token needs; return their ids.

    *before_ms* must be so long ago that every process has refreshed its signer since: a day is plenty.
    """
    old = set(conn.scalars(select(signing_keys.c.kid).where(signing_keys.c.retired_at < before_ms)))
    deletable = old - needed_key_ids(conn)
    conn.execute(delete(signing_keys).where(signing_keys.c.kid.in_(deletable)))
    return deletable


def _read(pem: str, where: str) -> RSAKey | ECKey:
    """Read a private key; raises `WeakKeyError` unless it is RSA with at least 2048 bits, or EC on P-256."""
    try:
        private = load_pem_private_key(pem.encode("ascii", "replace"), None)
    except (ValueError, TypeError, JoseError):
        raise WeakKeyError(f"{where} contains no private key in PEM without a password") from None
    return _checked_key(private, pem, where)


def _checked_key(private: Any, pem: str, where: str) -> RSAKey | ECKey:
    bits, kind = getattr(private, "key_size", 0), type(private).__name__
    if "RSA" in kind:
        if bits < MIN_RSA_BITS:
            raise WeakKeyError(f"{where}: an RSA key of {bits} bits is too weak; use {MIN_RSA_BITS} or more")
        return RSAKey.import_key(pem)
    if getattr(getattr(private, "curve", None), "name", "") == "secp256r1":
        return ECKey.import_key(pem)
    raise WeakKeyError(f"{where}: contains neither an RSA key nor one on the curve P-256")


_REGISTRY: Final = jws.JWSRegistry(algorithms=["RS256", "ES256"])
