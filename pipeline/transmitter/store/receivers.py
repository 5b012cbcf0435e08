"""Receivers and their credentials: client secrets, and the access tokens issued for them (RFC 6749 §4.4).

Neither is stored: of a secret only its scrypt hash, of a token, which is long and random, its SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import insert_into
from pipeline.transmitter.store.tables import is_valid_id, receivers, tokens
from pipeline.transmitter.store.tables import streams as stream_table
from pipeline.transmitter.subject_identifiers import is_text

_COST: Final = "4096$8$1"
"""N, r and p of scrypt (RFC 7914): 4 MiB and 7 ms. A higher cost would only help whoever floods the token
endpoint: a secret has 256 random bits, which nobody guesses at any cost.
"""
_MAX_TENANT_LENGTH: Final = 64
"""Longest tenant name, as in every event."""
_CLIENT_NAME: Final = re.compile(r"[A-Za-z0-9._~@/+=-]{1,128}")
"""Of a receiver with a secret: no colon, which ends the user id in RFC 7617 §2."""
DECLARED_PREFIX: Final = "declared-"
"""Prefix of the receivers of declared streams without one of their own; no client has it."""
_NOT_DECLARED: Final = f"does not begin with {DECLARED_PREFIX}"
READ: Final = "ssf.read"
MANAGE: Final = "ssf.manage"


class BadReceiverError(ValueError):
    """A receiver's properties are invalid; the message says why."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver, its audience and its scopes; times in ms. Its streams get the events of its *tenant*."""

    receiver_id: str
    aud: str
    scopes: frozenset[str]
    created_at: int = 0
    revoked_at: int | None = None
    outside: bool = False  # known by an external authorization server; it has no secret here
    tenant: str | None = None

    def may(self, scope: str) -> bool:
        """Whether its scopes include *scope*: `ssf.manage` includes `ssf.read`."""
        return scope in self.scopes or (scope == READ and MANAGE in self.scopes)


def add(
    conn: Connection,
    receiver_id: str,
    aud: str,
    scopes: Iterable[str],
    now_ms: int,
    tenant: str | None = None,
) -> str:
    """Add a receiver, of *tenant* or of all, and return its secret, which is available only now.

    Raises `BadReceiverError` if the name is taken or invalid, the tenant is invalid, or a declared stream of
    the receiver has another tenant.
    """
    if not _CLIENT_NAME.fullmatch(receiver_id) or receiver_id.startswith(DECLARED_PREFIX):
        raise BadReceiverError(f"{receiver_id!r}: a name is 1 to 128 letters, digits and ._~@/+=-, and {_NOT_DECLARED}")
    if conn.scalar(select(receivers.c.receiver_id).where(receivers.c.receiver_id == receiver_id)):
        raise BadReceiverError(f"{receiver_id}: there is or was a receiver of this name; choose another")
    _check_streams(conn, receiver_id, tenant)
    secret = secrets.token_urlsafe(32)
    hashed = _secret_hash(secret, secrets.token_bytes(16))
    row = _row(receiver_id, aud, scopes, now_ms, tenant) | {"secret_hash": hashed}
    conn.execute(insert(receivers).values(row))
    return secret


def ensure(
    conn: Connection,
    receiver_id: str,
    aud: str,
    scopes: Iterable[str],
    now_ms: int,
    tenant: str | None = None,
) -> Receiver:
    """Return the receiver that an external authorization server knows, adding it if it is new here.

    Raises `BadReceiverError` if its name or its tenant is invalid.
    """
    if not is_valid_id(receiver_id) or receiver_id.startswith(DECLARED_PREFIX):
        raise BadReceiverError(f"{receiver_id!r}: a name is 1 to 128 visible characters of ASCII, and {_NOT_DECLARED}")
    new = insert_into(conn, receivers).values(_row(receiver_id, aud, scopes, now_ms, tenant))
    conn.execute(new.on_conflict_do_nothing())
    return _receiver(conn.execute(select(receivers).where(receivers.c.receiver_id == receiver_id)).one())


def check(conn: Connection, receiver_id: str, secret: str) -> Receiver | None:
    """Return the receiver with this secret, unless it is revoked.

    A wrong secret takes as long as an unknown name, so that the two cannot be distinguished.
    """
    named = select(receivers).where(receivers.c.receiver_id == receiver_id)
    row = conn.execute(named).one_or_none() if is_valid_id(receiver_id) else None
    stored = _UNMATCHABLE_HASH if row is None or row.secret_hash is None else row.secret_hash
    cost, salt, _ = stored.removeprefix("scrypt$").rsplit("$", 2)  # the cost at which the secret was hashed
    good = hmac.compare_digest(_secret_hash(secret, bytes.fromhex(salt), cost), stored)
    return _receiver(row) if good and row is not None and row.revoked_at is None else None


def get(conn: Connection, receiver_id: str) -> Receiver | None:
    """Return the receiver of this name, revoked or not; `None` if there is none."""
    named = select(receivers).where(receivers.c.receiver_id == receiver_id)
    row = conn.execute(named).one_or_none() if is_valid_id(receiver_id) else None
    return None if row is None else _receiver(row)


def every(conn: Connection) -> list[Receiver]:
    """Return all receivers, including revoked ones, the oldest first."""
    oldest = select(receivers).order_by(receivers.c.created_at, receivers.c.receiver_id)
    return [_receiver(row) for row in conn.execute(oldest)]


def assign(conn: Connection, receiver_id: str, tenant: str | None) -> bool:
    """Restrict the streams of a receiver to events of *tenant* from now on; `None` means all tenants.

    Tokens that already wait are still sent. Returns false if there is no such receiver, or it is revoked.
    Raises `BadReceiverError` if a declared stream of the receiver has another tenant, or the tenant is invalid.
    """
    not_revoked = (receivers.c.receiver_id == receiver_id) & receivers.c.revoked_at.is_(None)
    if not conn.execute(update(receivers).where(not_revoked).values(tenant=_valid_tenant(tenant))).rowcount:
        return False
    _check_streams(conn, receiver_id, tenant)
    made = (stream_table.c.receiver_id == receiver_id) & ~stream_table.c.declared
    conn.execute(update(stream_table).where(made).values(tenant=tenant))
    return True


def revoke(conn: Connection, receiver_id: str, now_ms: int) -> bool:
    """Revoke a receiver with its secret and its tokens, and disable its streams.

    Returns false if there is none, or it is revoked already.
    """
    not_revoked = (receivers.c.receiver_id == receiver_id) & receivers.c.revoked_at.is_(None)
    if not conn.execute(update(receivers).where(not_revoked).values(revoked_at=now_ms)).rowcount:
        return False
    conn.execute(delete(tokens).where(tokens.c.receiver_id == receiver_id))
    for stream_id in conn.scalars(
        select(stream_table.c.stream_id)
        .where(stream_table.c.receiver_id == receiver_id)
        .order_by(stream_table.c.stream_id)
    ).all():
        streams.set_status(conn, stream_id, "disabled", "the receiver was revoked", now_ms)
    return True


def issue(conn: Connection, receiver_id: str, scopes: Iterable[str], now_ms: int, lifetime_ms: int) -> str:
    """Return a new token of a receiver, valid for *scopes* and *lifetime_ms*."""
    token = secrets.token_urlsafe(32)
    row = {
        "token_hash": _token_hash(token),
        "receiver_id": receiver_id,
        "scopes": _scopes_text(scopes),
        "expires_at": now_ms + lifetime_ms,
    }
    conn.execute(insert(tokens).values(row))
    return token


def holder(conn: Connection, token: str, now_ms: int) -> Receiver | None:
    """Return the receiver of this token, with the token's scopes; `None` if it is expired, revoked or unknown."""
    not_revoked = (tokens.c.token_hash == _token_hash(token)) & (tokens.c.expires_at > now_ms)
    query = select(receivers, tokens.c.scopes.label("granted")).join(tokens)
    row = conn.execute(query.where(not_revoked, receivers.c.revoked_at.is_(None))).one_or_none()
    return None if row is None else _receiver(row, row.granted)


def revoke_token(conn: Connection, token: str, receiver_id: str) -> bool:
    """Revoke a token of the receiver (RFC 7009 §2.1); false if it has no such token."""
    own = (tokens.c.token_hash == _token_hash(token)) & (tokens.c.receiver_id == receiver_id)
    return conn.execute(delete(tokens).where(own)).rowcount == 1


def purge(conn: Connection, now_ms: int) -> int:
    """Delete expired tokens; return how many."""
    return conn.execute(delete(tokens).where(tokens.c.expires_at <= now_ms)).rowcount


def _row(receiver_id: str, aud: str, scopes: Iterable[str], now_ms: int, tenant: str | None) -> dict[str, Any]:
    row = {"receiver_id": receiver_id, "aud": aud, "scopes": _scopes_text(scopes), "created_at": now_ms}
    return {**row, "tenant": _valid_tenant(tenant)}


def _valid_tenant(tenant: str | None) -> str | None:
    if tenant is not None and not (is_text(tenant) and len(tenant) <= _MAX_TENANT_LENGTH):
        raise BadReceiverError(f"{tenant!r}: a tenant is 1 to {_MAX_TENANT_LENGTH} characters")
    return tenant


def _check_streams(conn: Connection, receiver_id: str, tenant: str | None) -> None:
    table = stream_table.c
    own = select(table.stream_id, table.tenant).where(table.receiver_id == receiver_id, table.declared)
    conflict = None if tenant is None else conn.execute(own.where(table.tenant != _valid_tenant(tenant))).first()
    if conflict is not None:
        raise BadReceiverError(
            f"{receiver_id}: its stream {conflict.stream_id} has the tenant {conflict.tenant} in the file of "
            "SESSION_RISK_TRANSMITTER_STREAMS_FILE; remove that first, and restart the transmitter"
        )


def _receiver(row: Row[Any], scopes: str | None = None) -> Receiver:
    scope_set = frozenset((row.scopes if scopes is None else scopes).split())
    outside = row.secret_hash is None
    return Receiver(row.receiver_id, row.aud, scope_set, row.created_at, row.revoked_at, outside, row.tenant)


def _scopes_text(scopes: Iterable[str]) -> str:
    return " ".join(sorted(set(scopes)))


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _secret_hash(secret: str, salt: bytes, cost: str = _COST) -> str:
    n, r, p = map(int, cost.split("$"))
    digest = hashlib.scrypt(secret.encode(errors="replace"), salt=salt, n=n, r=r, p=p)
    return f"scrypt${cost}${salt.hex()}${digest.hex()}"


_UNMATCHABLE_HASH: Final = f"scrypt${_COST}${'00' * 16}${'00' * 64}"
