"""Signing: RS256 or ES256 (RFC 7518 §3.3, §3.4), by keys that lie sealed in the store.

One key signs, the newest that is not retired. A retired key is published for as long as something it signed
waits (`jwks`), and is forgotten some time after.
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
LEAST_BITS: Final = 2048
"""Of an RSA key: RFC 7518 §3.3, and CAEP Interoperability Profile §2.6."""
TYP: Final = "secevent+jwt"
"""RFC 8417 §2.3; SSF 1.0 §4.1.1."""
_LIVE = signing_keys.c.retired_at.is_(None)


class WeakKeyError(ValueError):
    """The key is not one that may sign; the message says why, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key as people see it: no secret is in it. Times in ms."""

    kid: str
    alg: str
    created_at: int
    retired_at: int | None


class Signer:
    """Signs with the newest key of the store; `refresh` tells it that another process made a newer one."""

    def __init__(self, sealer: Sealer, alg: Alg = "RS256", rsa_bits: int = LEAST_BITS) -> None:
        if rsa_bits < LEAST_BITS:
            raise WeakKeyError(f"an RSA key of {rsa_bits} bits is too weak; take {LEAST_BITS} or more")
        self._sealer = sealer
        self._alg: Alg = alg
        self._bits = rsa_bits
        self._signs: tuple[str, Alg, RSAKey | ECKey] | None = None
        self._public: dict[str, dict[str, Any]] = {}  # reading a private key takes 60 ms: it is checked

    def __repr__(self) -> str:
        return f"Signer({self.kid if self._signs else None})"

    @property
    def kid(self) -> str:
        """The id of the key that signs."""
        return self._signing[0]

    def sign(self, claims: Mapping[str, Any]) -> tuple[str, str]:
        """Return the key's id and the token: *claims* as a compact JWS of type `secevent+jwt`."""
        kid, alg, key = self._signing
        header = {"typ": TYP, "alg": alg, "kid": kid}
        payload = json.dumps(claims, separators=(",", ":"))
        return kid, jws.serialize_compact(header, payload, key, registry=_REGISTRY)

    def sign_many(self, many: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """As `sign`, one after another, all with the same key."""
        return [self.sign(claims) for claims in many]

    def refresh(self, conn: Connection) -> bool:
        """Take the newest key of the store; true if it is another than before. Without one, false."""
        newest = (signing_keys.c.created_at.desc(), signing_keys.c.kid)
        kid = conn.scalar(select(signing_keys.c.kid).where(_LIVE).order_by(*newest).limit(1))
        if kid is None or (self._signs is not None and kid == self._signs[0]):
            return False
        row = conn.execute(select(signing_keys).where(signing_keys.c.kid == kid)).one()
        self._signs = (kid, row.alg, _read(self._sealer.open(row.private_sealed), "the store"))
        return True

    def start(self, conn: Connection, now_ms: int) -> None:
        """Be ready to sign, with a new key if the store has none; *conn* writes."""
        advisory_lock(conn, "keys")
        if not self.refresh(conn) and self._signs is None:
            self.rotate(conn, now_ms)

    def rotate(self, conn: Connection, now_ms: int) -> str:
        """Make a new key, sign with it, retire those before; return its id. *conn* writes."""
        rsa = self._alg == "RS256"
        return self._use(conn, RSAKey.generate_key(self._bits) if rsa else ECKey.generate_key("P-256"), now_ms)

    def take(self, conn: Connection, pem: bytes, now_ms: int, where: str = "the file") -> str:
        """Sign with the private key in *pem* from now on, retire those before; return its id.

        Raises `WeakKeyError` if it is none that may sign, saying *where* it was. *conn* writes.
        """
        return self._use(conn, _read(pem.decode("ascii", "replace"), where), now_ms)

    def jwks(self, conn: Connection) -> dict[str, Any]:
        """Return the public keys (RFC 7517 §5): the one that signs, and retired ones something waits for."""
        needed = needed_key_ids(conn)
        newest = select(signing_keys).order_by(_LIVE.desc(), signing_keys.c.created_at.desc())
        rows = [row for row in conn.execute(newest) if row.retired_at is None or row.kid in needed]
        for row in rows:
            if row.kid not in self._public:
                key = _read(self._sealer.open(row.private_sealed), "the store")
                self._public[row.kid] = key.as_dict(private=False, kid=row.kid, use="sig", alg=row.alg)
        return {"keys": [dict(self._public[row.kid]) for row in rows]}

    @property
    def _signing(self) -> tuple[str, Alg, RSAKey | ECKey]:
        if self._signs is None:
            raise RuntimeError("a signer signs once it was started or refreshed")
        return self._signs

    def _use(self, conn: Connection, key: RSAKey | ECKey, now_ms: int) -> str:
        """Seal *key* and sign with it; raises `SealError` where this key file is not the store's.

        Nobody who has the store's could read the new key then, and every transmitter would end.
        """
        advisory_lock(conn, "keys")
        self.refresh(conn)
        kid = key.thumbprint()
        alg: Alg = "RS256" if isinstance(key, RSAKey) else "ES256"
        conn.execute(update(signing_keys).where(_LIVE).values(retired_at=now_ms))
        sealed = self._sealer.seal(key.as_pem(private=True).decode())
        conn.execute(delete(signing_keys).where(signing_keys.c.kid == kid))  # an old one may be taken again
        row = {"kid": kid, "alg": alg, "private_sealed": sealed, "created_at": now_ms}
        conn.execute(insert(signing_keys).values(row))
        self._signs = (kid, alg, key)
        return kid


def open_signer(store: Store, alg: Alg, rsa_bits: int, now_ms: int) -> Signer:
    """A signer that is ready; with the first key of the store if there was none."""
    signer = Signer(store.sealer, alg, rsa_bits)
    with store.begin() as conn:
        signer.start(conn, now_ms)
    return signer


def keys(conn: Connection) -> list[SigningKey]:
    """Return every key, the newest first."""
    columns = (signing_keys.c.kid, signing_keys.c.alg, signing_keys.c.created_at, signing_keys.c.retired_at)
    newest = select(*columns).order_by(_LIVE.desc(), signing_keys.c.created_at.desc())
    return [SigningKey(*row) for row in conn.execute(newest)]


def forget(conn: Connection, before_ms: int) -> set[str]:
    """Delete keys retired before *before_ms* that nothing waits for; return their ids.

    Give a time so long ago that every process has refreshed its signer since: a day is plenty.
    """
    old = set(conn.scalars(select(signing_keys.c.kid).where(signing_keys.c.retired_at < before_ms)))
    gone = old - needed_key_ids(conn)
    conn.execute(delete(signing_keys).where(signing_keys.c.kid.in_(gone)))
    return gone


def _read(pem: str, where: str) -> RSAKey | ECKey:
    """Read a private key; raises `WeakKeyError` unless it is RSA of 2048 bits or more, or EC on P-256."""
    try:
        private = load_pem_private_key(pem.encode("ascii", "replace"), None)
    except (ValueError, TypeError, JoseError):
        raise WeakKeyError(f"{where} holds no private key in PEM without a password, which is what signs") from None
    return _allowed(private, pem, where)


def _allowed(private: Any, pem: str, where: str) -> RSAKey | ECKey:
    bits, kind = getattr(private, "key_size", 0), type(private).__name__
    if "RSA" in kind:
        if bits < LEAST_BITS:
            raise WeakKeyError(f"{where}: an RSA key of {bits} bits is too weak; take {LEAST_BITS} or more")
        return RSAKey.import_key(pem)
    if getattr(getattr(private, "curve", None), "name", "") == "secp256r1":
        return ECKey.import_key(pem)
    raise WeakKeyError(f"{where}: holds neither an RSA key nor one on the curve P-256; only these sign")


_REGISTRY: Final = jws.JWSRegistry(algorithms=["RS256", "ES256"])
