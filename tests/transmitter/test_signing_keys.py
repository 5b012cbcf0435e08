"""Keys and signatures: what is signed is verified by another library; keys change and nothing is orphaned."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from sqlalchemy import select

from pipeline.transmitter.protocol import SignedToken
from pipeline.transmitter.store import queue
from pipeline.transmitter.store import signing_keys as store_signing_keys
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.signing_keys import Alg, Signer, SigningKey, WeakKeyError, open_signer
from pipeline.transmitter.store.tables import signing_keys
from tests.support.stores import NOW, SEALER, token

CLAIMS = {
    "iss": "https://tr.example",
    "jti": "a1",
    "iat": 1,
    "events": {"urn:x": {"reason_admin": {"de": "ü"}}},
}


def _jwks(store: Store, signer: Signer) -> list[dict[str, Any]]:
    with store.read() as conn:
        found: list[dict[str, Any]] = signer.jwks(conn)["keys"]
    return found


def _rotate(store: Store, signer: Signer, now_ms: int) -> str:
    with store.begin() as conn:
        return signer.rotate(conn, now_ms)


def _verified(text: str, key: dict[str, Any]) -> Any:
    return jwt.decode(text, jwt.PyJWK(key), algorithms=[key["alg"]])


@pytest.mark.parametrize(("alg", "kty"), [("RS256", "RSA"), ("ES256", "EC")])
def test_a_token_is_verified_by_another_library_with_the_published_key(store: Store, alg: Alg, kty: str) -> None:
    signer = open_signer(store, alg, 2048, NOW)

    kid, text = signer.sign(CLAIMS)

    (key,) = _jwks(store, signer)
    assert jwt.get_unverified_header(text) == {"typ": "secevent+jwt", "alg": alg, "kid": kid}
    assert _verified(text, key) == CLAIMS
    assert (key["kid"], key["use"], key["alg"], key["kty"]) == (kid, "sig", alg, kty)


@pytest.mark.parametrize(("alg", "public"), [("RS256", {"n", "e"}), ("ES256", {"crv", "x", "y"})])
def test_only_public_members_are_published(store: Store, alg: Alg, public: set[str]) -> None:
    signer = open_signer(store, alg, 2048, NOW)

    (key,) = _jwks(store, signer)

    assert set(key) == {"kty", "kid", "use", "alg"} | public
    json.dumps(key)


def test_publishing_a_key_again_does_not_read_it_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = open_signer(store, "RS256", 2048, NOW)
    first = _jwks(store, signer)
    monkeypatch.setattr(store_signing_keys, "_read", None)
    first[0].clear()

    assert [set(key) for key in _jwks(store, signer)] == [{"kty", "kid", "use", "alg", "n", "e"}]


def test_many_are_signed_as_one_is(store: Store) -> None:
    signer = open_signer(store, "RS256", 2048, NOW)

    assert signer.sign_many([CLAIMS, CLAIMS]) == [signer.sign(CLAIMS)] * 2


def test_private_keys_lie_sealed_and_are_not_shown(store: Store) -> None:
    signer = open_signer(store, "RS256", 2048, NOW)
    with store.read() as conn:
        sealed = conn.execute(select(signing_keys.c.private_sealed)).scalar_one()

    assert b"PRIVATE" not in sealed
    assert "PRIVATE KEY" in SEALER.open(sealed)
    assert repr(signer) == f"Signer({signer.kid})"


def test_the_first_key_is_made_once_and_all_signers_have_it(store: Store) -> None:
    kids = {open_signer(store, "RS256", 2048, NOW + at).kid for at in range(3)}

    with store.read() as conn:
        assert [key.kid for key in store_signing_keys.list_keys(conn)] == list(kids)


def test_a_signer_that_was_not_started_does_not_sign() -> None:
    with pytest.raises(RuntimeError, match="the signer was neither started"):
        Signer(SEALER).sign(CLAIMS)
    assert repr(Signer(SEALER)) == "Signer(None)"


def test_a_new_key_signs_at_once_and_others_notice_when_they_refresh(store: Store) -> None:
    signer, other = (open_signer(store, "RS256", 2048, NOW) for _ in range(2))
    old = signer.kid

    new = _rotate(store, signer, NOW + 1)
    before = other.kid
    with store.read() as conn:
        noticed = [other.refresh(conn), other.refresh(conn)]

    assert new != old
    assert (before, signer.kid, other.kid, noticed) == (old, new, new, [True, False])


def test_a_new_key_may_be_of_another_algorithm(store: Store) -> None:
    open_signer(store, "RS256", 2048, NOW)
    signer = open_signer(store, "ES256", 2048, NOW)
    before = jwt.get_unverified_header(signer.sign(CLAIMS)[1])["alg"]

    _rotate(store, signer, NOW + 1)

    assert (before, jwt.get_unverified_header(signer.sign(CLAIMS)[1])["alg"]) == ("RS256", "ES256")


def test_an_old_key_is_published_until_nothing_it_signed_waits(store: Store) -> None:
    signer = open_signer(store, "RS256", 2048, NOW)
    old, text = signer.sign(CLAIMS)
    with store.begin() as conn:
        queue.put(conn, [SignedToken("s-1", "a1", "a", "session-revoked", old, text)], NOW)

    new = _rotate(store, signer, NOW + 1)
    while_it_waits = _jwks(store, signer)
    with store.begin() as conn:
        kept = store_signing_keys.delete_retired(conn, NOW + 99)
        queue.dead_letter(conn, 1, "timeout", "", NOW + 2)
    while_it_may_be_retried = _jwks(store, signer)
    with store.begin() as conn:
        queue.purge(conn, NOW + 3)

    assert [key["kid"] for key in while_it_waits] == [new, old]
    assert _verified(text, while_it_waits[1]) == CLAIMS
    assert while_it_may_be_retried == while_it_waits
    assert kept == set()
    assert [key["kid"] for key in _jwks(store, signer)] == [new]


def test_what_a_late_signer_signed_with_a_retired_key_publishes_it_again(store: Store) -> None:
    late, signer = (open_signer(store, "RS256", 2048, NOW) for _ in range(2))
    _rotate(store, signer, NOW + 1)
    kid, text = late.sign(CLAIMS)
    with store.begin() as conn:
        queue.put(conn, [token("a1", kid=kid, jwt=text)], NOW)

    found = {key["kid"]: key for key in _jwks(store, signer)}

    assert _verified(text, found[kid]) == CLAIMS


def test_keys_nothing_waits_for_are_forgotten_once_they_are_retired_long_enough(store: Store) -> None:
    signer = open_signer(store, "ES256", 2048, NOW)
    kids = [signer.kid, *(_rotate(store, signer, NOW + at) for at in (1, 2))]
    with store.begin() as conn:
        gone = store_signing_keys.delete_retired(conn, NOW + 2)
        left = store_signing_keys.list_keys(conn)

    assert gone == {kids[0]}
    assert left == [
        SigningKey(kids[2], "ES256", NOW + 2, None),
        SigningKey(kids[1], "ES256", NOW + 1, NOW + 2),
    ]


def _pem(key: Any, encryption: KeySerializationEncryption | None = None) -> bytes:
    payload: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return payload


WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is there to be refused
P256 = ec.generate_private_key(ec.SECP256R1())
REFUSED = {
    "short": (_pem(WEAK), "the file: an RSA key of 1024 bits is too weak; use 2048 or more"),
    "curve": (_pem(ec.generate_private_key(ec.SECP384R1())), "contains neither an RSA key nor one on the curve"),
    "kind": (_pem(ed25519.Ed25519PrivateKey.generate()), "contains neither an RSA key nor one on the curve"),
    "password": (_pem(P256, BestAvailableEncryption(b"x")), "contains no private key in PEM without a password"),
    "nothing": (b"\xff\x00", "contains no private key in PEM without a password"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_key_that_may_not_sign_is_refused_and_nothing_changes(store: Store, kind: str) -> None:
    signer = open_signer(store, "ES256", 2048, NOW)
    kid = signer.kid

    with pytest.raises(WeakKeyError) as refused, store.begin() as conn:
        signer.import_pem(conn, REFUSED[kind][0], NOW)

    assert REFUSED[kind][1] in str(refused.value)
    assert (signer.kid, len(_jwks(store, signer))) == (kid, 1)


def test_a_weak_key_in_the_store_is_refused_at_start(store: Store) -> None:
    with store.begin() as conn:
        sealed = SEALER.seal(_pem(WEAK).decode())
        row = {"kid": "k", "alg": "RS256", "private_sealed": sealed, "created_at": NOW}
        conn.execute(signing_keys.insert().values(row))

    with pytest.raises(WeakKeyError, match="the store: an RSA key of 1024 bits is too weak"):
        open_signer(store, "RS256", 2048, NOW)


def test_a_weak_length_is_refused_before_a_key_is_made() -> None:
    with pytest.raises(WeakKeyError, match="an RSA key of 1024 bits is too weak; use 2048 or more"):
        Signer(SEALER, "RS256", 1024)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), P256], ids=["RSA", "EC"])
def test_a_key_that_was_brought_signs_from_then_on_also_when_it_comes_back(store: Store, key: Any) -> None:
    signer = open_signer(store, "RS256", 2048, NOW)
    first = signer.kid
    for at in (1, 2):
        with store.begin() as conn:
            kid = signer.import_pem(conn, _pem(key), NOW + at)
            (used,) = [this_key for this_key in store_signing_keys.list_keys(conn) if this_key.retired_at is None]
        assert (signer.kid, used.kid, used.created_at) == (kid, kid, NOW + at)
        text = signer.sign(CLAIMS)[1]
        assert _verified(text, _jwks(store, signer)[0]) == CLAIMS
        if at == 1:
            _rotate(store, signer, NOW + 1)

    assert first != signer.kid
