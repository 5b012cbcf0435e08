"""Receivers and what they prove themselves with: a secret for a token, and tokens (RFC 6749 §4.4).

Neither is stored: of a secret its scrypt hash, of a token, which is long and random, its SHA-256.
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
"""N, r and p of scrypt (RFC 7914): 4 MiB and 7 ms. More would help nobody but whoever floods the token
endpoint: a secret has 256 random bits, which nobody guesses at any cost."""
_TENANT: Final = 64
"""Characters, as in every event."""
_NAME: Final = re.compile(r"[A-Za-z0-9._~@/+=-]{1,128}")
"""Of a receiver that has its secret from here: no colon, which ends a name in RFC 7617 §2."""
OF_STREAMS: Final = "declared-"
"""So begin the receivers of declared streams that name none; no client is one of them."""
_NOT_OF_STREAMS: Final = f"does not begin with {OF_STREAMS}"
READ: Final = "ssf.read"
MANAGE: Final = "ssf.manage"


class BadReceiverError(ValueError):
    """A receiver cannot be as it is said; the message says why."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who may ask, for what; *revoked_at* in ms. Its streams are told of what happens in its *tenant*."""

    receiver_id: str
    aud: str
    scopes: frozenset[str]
    created_at: int = 0
    revoked_at: int | None = None
    outside: bool = False  # an authorization server outside knows it; it has no secret here
    tenant: str | None = None

    def may(self, scope: str) -> bool:
        """Tell whether its scopes allow what needs *scope*: `ssf.manage` includes `ssf.read`."""
        return scope in self.scopes or (scope == READ and MANAGE in self.scopes)


def add(
    conn: Connection,
    receiver_id: str,
    aud: str,
    scopes: Iterable[str],
    now_ms: int,
    tenant: str | None = None,
) -> str:
    """Add a receiver, of *tenant* or of all, and return its secret, which is told this once.

    Raises `BadReceiverError` if the name is taken or cannot be one, if the tenant's cannot, or a declared
    stream of its says another tenant.
    """
    if not _NAME.fullmatch(receiver_id) or receiver_id.startswith(OF_STREAMS):
        raise BadReceiverError(
            f"{receiver_id!r}: a name is 1 to 128 letters, digits and ._~@/+=-, and {_NOT_OF_STREAMS}"
        )
    if conn.scalar(select(receivers.c.receiver_id).where(receivers.c.receiver_id == receiver_id)):
        raise BadReceiverError(f"{receiver_id}: there is or was a receiver of this name; take another")
    _check_streams(conn, receiver_id, tenant)
    secret = secrets.token_urlsafe(32)
    hashed = _hashed(secret, secrets.token_bytes(16))
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
    """Return the receiver that an authorization server outside knows, added if it is new here.

    Raises `BadReceiverError` if its name, or the tenant's, can be none.
    """
    if not is_valid_id(receiver_id) or receiver_id.startswith(OF_STREAMS):
        raise BadReceiverError(
            f"{receiver_id!r}: a name is 1 to 128 visible characters of ASCII, and {_NOT_OF_STREAMS}"
        )
    new = insert_into(conn, receivers).values(_row(receiver_id, aud, scopes, now_ms, tenant))
    conn.execute(new.on_conflict_do_nothing())
    return _receiver(conn.execute(select(receivers).where(receivers.c.receiver_id == receiver_id)).one())


def check(conn: Connection, receiver_id: str, secret: str) -> Receiver | None:
    """Return the receiver whose secret this is, unless it is revoked.

    A wrong secret takes as long as a name that nobody has: neither can be told from the other.
    """
    named = select(receivers).where(receivers.c.receiver_id == receiver_id)
    row = conn.execute(named).one_or_none() if is_valid_id(receiver_id) else None
    stored = _NOBODY if row is None or row.secret_hash is None else row.secret_hash
    cost, salt, _ = stored.removeprefix("scrypt$").rsplit("$", 2)  # as it was when the secret was made
    good = hmac.compare_digest(_hashed(secret, bytes.fromhex(salt), cost), stored)
    return _receiver(row) if good and row is not None and row.revoked_at is None else None


def get(conn: Connection, receiver_id: str) -> Receiver | None:
    """Return the receiver of this name, revoked or not; `None` where there is none."""
    named = select(receivers).where(receivers.c.receiver_id == receiver_id)
    row = conn.execute(named).one_or_none() if is_valid_id(receiver_id) else None
    return None if row is None else _receiver(row)


def every(conn: Connection) -> list[Receiver]:
    """Return all receivers, those revoked too, the oldest first."""
    oldest = select(receivers).order_by(receivers.c.created_at, receivers.c.receiver_id)
    return [_receiver(row) for row in conn.execute(oldest)]


def assign(conn: Connection, receiver_id: str, tenant: str | None) -> bool:
    """Let the streams of a receiver hear of *tenant* from now on, of `None`: of every one.

    What waits was said before, and is still sent. False if there is no such receiver, or it is revoked.
    Raises `BadReceiverError` if a declared stream of its says another tenant, or if this can be none.
    """
    live = (receivers.c.receiver_id == receiver_id) & receivers.c.revoked_at.is_(None)
    if not conn.execute(update(receivers).where(live).values(tenant=_checked(tenant))).rowcount:
        return False
    _check_streams(conn, receiver_id, tenant)
    made = (stream_table.c.receiver_id == receiver_id) & ~stream_table.c.declared
    conn.execute(update(stream_table).where(made).values(tenant=tenant))
    return True


def revoke(conn: Connection, receiver_id: str, now_ms: int) -> bool:
    """Take everything back from a receiver: secret, tokens, and its streams are disabled.

    False if there is none, or it is revoked already.
    """
    live = (receivers.c.receiver_id == receiver_id) & receivers.c.revoked_at.is_(None)
    if not conn.execute(update(receivers).where(live).values(revoked_at=now_ms)).rowcount:
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
    """Return a new token of a receiver, good for *scopes* and *lifetime_ms*."""
    token = secrets.token_urlsafe(32)
    row = {
        "token_hash": _digest(token),
        "receiver_id": receiver_id,
        "scopes": _told(scopes),
        "expires_at": now_ms + lifetime_ms,
    }
    conn.execute(insert(tokens).values(row))
    return token


def holder(conn: Connection, token: str, now_ms: int) -> Receiver | None:
    """Return whose token this is, with the token's scopes; `None` if it is expired, revoked or nobody's."""
    live = (tokens.c.token_hash == _digest(token)) & (tokens.c.expires_at > now_ms)
    asked = select(receivers, tokens.c.scopes.label("granted")).join(tokens)
    row = conn.execute(asked.where(live, receivers.c.revoked_at.is_(None))).one_or_none()
    return None if row is None else _receiver(row, row.granted)


def revoke_token(conn: Connection, token: str, receiver_id: str) -> bool:
    """Take a token back, if it is the receiver's own (RFC 7009 §2.1); false if there was none."""
    mine = (tokens.c.token_hash == _digest(token)) & (tokens.c.receiver_id == receiver_id)
    return conn.execute(delete(tokens).where(mine)).rowcount == 1


def purge(conn: Connection, now_ms: int) -> int:
    """Delete the tokens that are expired; return how many."""
    return conn.execute(delete(tokens).where(tokens.c.expires_at <= now_ms)).rowcount


def _row(receiver_id: str, aud: str, scopes: Iterable[str], now_ms: int, tenant: str | None) -> dict[str, Any]:
    row = {"receiver_id": receiver_id, "aud": aud, "scopes": _told(scopes), "created_at": now_ms}
    return {**row, "tenant": _checked(tenant)}


def _checked(tenant: str | None) -> str | None:
    if tenant is not None and not (is_text(tenant) and len(tenant) <= _TENANT):
        raise BadReceiverError(f"{tenant!r}: a tenant is 1 to {_TENANT} characters")
    return tenant


def _check_streams(conn: Connection, receiver_id: str, tenant: str | None) -> None:
    table = stream_table.c
    mine = select(table.stream_id, table.tenant).where(table.receiver_id == receiver_id, table.declared)
    other = None if tenant is None else conn.execute(mine.where(table.tenant != _checked(tenant))).first()
    if other is not None:
        raise BadReceiverError(
            f"{receiver_id}: its stream {other.stream_id} says the tenant {other.tenant} in the file of "
            "SESSION_RISK_TRANSMITTER_STREAMS_FILE; take that out first, and start the transmitter with it"
        )


def _receiver(row: Row[Any], scopes: str | None = None) -> Receiver:
    given = frozenset((row.scopes if scopes is None else scopes).split())
    outside = row.secret_hash is None
    return Receiver(row.receiver_id, row.aud, given, row.created_at, row.revoked_at, outside, row.tenant)


def _told(scopes: Iterable[str]) -> str:
    return " ".join(sorted(set(scopes)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _hashed(secret: str, salt: bytes, cost: str = _COST) -> str:
    n, r, p = map(int, cost.split("$"))
    digest = hashlib.scrypt(secret.encode(errors="replace"), salt=salt, n=n, r=r, p=p)
    return f"scrypt${cost}${salt.hex()}${digest.hex()}"


_NOBODY: Final = f"scrypt${_COST}${'00' * 16}${'00' * 64}"
