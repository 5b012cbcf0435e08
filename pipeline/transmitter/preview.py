"""Preview of the tokens that decisions become: built as the transmitter builds them, verified as receivers verify them.

Used by the demonstration. The store is a temporary one, and nothing is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import KeySet
from sqlalchemy import select

from pipeline.transmitter.protocol import Stream
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.encryption import load
from pipeline.transmitter.store.signing_keys import TYP, open_signer
from pipeline.transmitter.store.tables import sets
from pipeline.transmitter.tokens.builder import DecodedRecord, TokenBuilder
from pipeline.transmitter.tokens.subjects import Subjects
from schemas.topics import TOPICS

ISSUER: Final = "https://risk.example.org"
AUD: Final = "https://idp.example.org/ssf"
_ALG: Final = "RS256"
_CLAIMS: Final = jwt.JWTClaimsRegistry(iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUD})


@dataclass(frozen=True, slots=True)
class Token:
    """A verified token: its JOSE header, its claims, and the session it is about."""

    session_id: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def event(self) -> str:
        """The last segment of the event type's URI."""
        return str(next(iter(self.claims["events"]))).rpartition("/")[2]

    @property
    def payload(self) -> Mapping[str, Any]:
        """The payload of the event."""
        payload: Mapping[str, Any] = next(iter(self.claims["events"].values()))
        return payload

    def text(self) -> str:
        """Header and claims as indented JSON."""
        header = json.dumps(self.header, ensure_ascii=False)
        return f"{header}\n{json.dumps(self.claims, indent=2, ensure_ascii=False)}"


def tokens_of(messages: Sequence[tuple[str, bytes]], now_ms: int) -> list[Token]:
    """Return the tokens that *messages* (topic and value of output records) become for an interoperable stream.

    Each token is verified with the published keys; raises `joserfc.errors.JoseError` if one is invalid.
    """
    decoded_records = [
        DecodedRecord(topic, TOPICS[topic].model.model_validate_json(value).model_dump()) for topic, value in messages
    ]
    sessions = {fields["decision_id"]: fields["session_id"] for _, fields in decoded_records}
    with TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/store.db", load(Path(folder) / "store.key"))
        try:
            texts, keys = _build_tokens(store, decoded_records, now_ms)
        finally:
            store.close()
    published = KeySet.import_key_set(keys)
    return [_verified(text, published, sessions) for text in texts]


def _build_tokens(store: Store, decoded_records: Sequence[DecodedRecord], now_ms: int) -> tuple[list[str], Any]:
    """Return all tokens in the order they were made, and the published JWK Set."""
    signer = open_signer(store, _ALG, 2048, now_ms)
    stream = Stream("idp", "idp", AUD, created_at=now_ms, updated_at=now_ms)
    with store.begin() as conn:
        streams.add(conn, store.sealer, stream)
    TokenBuilder(store, signer, Subjects.load(None), ISSUER).build(decoded_records, now_ms)
    with store.read() as conn:
        return list(conn.scalars(select(sets.c.jwt).order_by(sets.c.seq))), signer.jwks(conn)


def _verified(text: str, keys: KeySet, sessions: Mapping[str, str]) -> Token:
    token = jwt.decode(text, keys, algorithms=[_ALG])
    _CLAIMS.validate(token.claims)
    if token.header["typ"] != TYP:
        raise ValueError(f"a token of type {token.header['typ']!r}")
    return Token(sessions.get(token.claims["txn"], ""), token.header, token.claims)
