"""Records as the transmitter hears them, so that a test states only what matters, and what makes tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import select

from pipeline.transmitter.protocol import Stream
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.encryption import Sealer
from pipeline.transmitter.store.signing_keys import open_signer
from pipeline.transmitter.store.tables import sets
from pipeline.transmitter.tokens.builder import DecodedRecord, TokenBuilder
from pipeline.transmitter.tokens.subjects import Subjects
from schemas.control import RevocationAck
from schemas.decisions import Reason, SessionRevocation, SessionRisk
from schemas.events import AuthEvent
from schemas.topics import AUTH_EVENTS, REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK

T0 = 1_795_501_760_000
"""When everything happens, ms."""
ISSUER = "https://risk.example.org/t1"
AUD = "https://idp.example.org/ssf"
_WHO = {"session_id": "s-1", "principal_id": "ana"}


def revocation(**members: Any) -> DecodedRecord:
    """A command to end a session of ana, whose phone is jailbroken."""
    usual = {
        **_WHO,
        "decision_id": "d-1",
        "revocation_id": "r-1",
        "reason_admin": "The session's device is jailbroken or rooted.",
        "reason_user": "Your device no longer meets the security rules, so you were signed out.",
        "detections": ["device_rooted"],
        "score": 91.0,
        "decided_at": T0,
        "deadline": T0 + 60_000,
    }
    return DecodedRecord(SESSION_REVOCATIONS, SessionRevocation.model_validate({**usual, **members}).model_dump())


def because(detection: str, **members: Any) -> Reason:
    """A cause of a decision."""
    usual = {"text": f"It is {detection}.", "severity": "HIGH", "contribution": 8.0}
    return Reason.model_validate({"detection": detection, **usual, **members})


def decision(*reasons: Reason | str, previous: str = "LOW", level: str = "HIGH", **members: Any) -> DecodedRecord:
    """A decision about a session of ana on her phone, for *reasons*."""
    usual = {
        **_WHO,
        "device_id": "phone-1",
        "decision_id": "d-1",
        "occurred_at": T0,
        "decided_at": T0,
        "score": 50.0,
        "level": level,
        "previous_level": previous,
        "action": "allow",
        "mode": "enforce",
        "model": "default",
        "policy": "default",
        "reasons": [because(reason) if isinstance(reason, str) else reason for reason in reasons],
    }
    return DecodedRecord(SESSION_RISK, SessionRisk.model_validate({**usual, **members}).model_dump())


def credential(action: str = "credential_changed", **members: Any) -> DecodedRecord:
    """Something was done to a credential of ana: her password, unless told otherwise."""
    usual = {
        "type": "auth.event",
        **_WHO,
        "principal_kind": "human",
        "event_id": "e-1",
        "occurred_at": T0,
        "action": action,
        "amr": ["pwd"],
    }
    return DecodedRecord(AUTH_EVENTS, AuthEvent.model_validate({**usual, **members}).model_dump())


def ack(**members: Any) -> DecodedRecord:
    """The enforcer's word, two seconds later, that it is done."""
    usual = {"revocation_id": "r-1", "session_id": "s-1", "outcome": "revoked", "occurred_at": T0 + 2000}
    return DecodedRecord(REVOCATION_ACKS, RevocationAck.model_validate({**usual, **members}).model_dump())


def stream(stream_id: str = "st-1", **members: Any) -> Stream:
    """A stream of the identity provider."""
    return Stream(stream_id, **{"receiver_id": "idp", "aud": AUD, **members})


def new_store(folder: Path, *received: Stream) -> Store:
    """A store in *folder* that knows the streams *received*."""
    sealer = Sealer([Fernet(Fernet.generate_key())], "the tests' keys")
    return knowing(open_store(f"sqlite:///{folder / 'store.db'}", sealer), *received)


def knowing(store: Store, *received: Stream) -> Store:
    """The *store*, which knows the streams *received* now."""
    with store.begin() as conn:
        for this_stream in received:
            streams.add(conn, store.sealer, this_stream)
    return store


def token_builder(store: Store, subjects: Subjects | None = None) -> TokenBuilder:
    """What makes statements in *store*, by an RSA key of its own."""
    signer = open_signer(store, "RS256", 2048, T0)
    return TokenBuilder(store, signer, subjects or Subjects.load(None), ISSUER)


def queued(store: Store) -> list[Any]:
    """Every token in *store*, in the order of the queue."""
    with store.read() as conn:
        return list(conn.execute(select(sets).order_by(sets.c.seq)).all())
