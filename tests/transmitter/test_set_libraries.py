"""Tokens before the eyes of others: PyJWT, npm's `jose`, and the models of Okta's own SDK.

`npm ci --prefix tests/jose` installs the second.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Literal

import jwt
import pytest
from okta.models.security_event_token_request_jwt_body import SecurityEventTokenRequestJwtBody
from okta.models.security_event_token_request_jwt_header import SecurityEventTokenRequestJwtHeader

from pipeline.transmitter.protocol import CAEP
from pipeline.transmitter.store.signing_keys import open_signer
from pipeline.transmitter.tokens.builder import TokenBuilder
from pipeline.transmitter.tokens.stream_events import stream_updated, verification
from pipeline.transmitter.tokens.subjects import Subjects
from tests.support.transmitter_records import (
    AUD,
    ISSUER,
    T0,
    credential,
    decision,
    new_store,
    queued,
    revocation,
    stream,
)

JOSE = Path(__file__).parent.parent / "jose"
OKTA = (f"{CAEP}session-revoked", f"{CAEP}device-compliance-change")
EVENTS = 4


class Received:
    """What one stream was told, and the keys to verify it by."""

    def __init__(self, folder: Path, alg: Literal["RS256", "ES256"] = "RS256", **members: Any) -> None:
        wanting = stream(**members)
        store = new_store(folder, wanting)
        signer = open_signer(store, alg, 2048, T0)
        TokenBuilder(store, signer, Subjects.load(None), ISSUER).build(
            [revocation(), decision("device_rooted"), credential()], T0
        )
        self.tokens = [row.jwt for row in queued(store)]
        self.control = [
            verification(wanting, ISSUER, signer, T0, "abc").jwt,
            stream_updated(wanting, ISSUER, signer, T0, "paused", "nobody takes what is held").jwt,
        ]
        with store.read() as conn:
            self.jwks = signer.jwks(conn)
        store.close()


def by_pyjwt(token: str, jwks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, as PyJWT finds them good."""
    header = jwt.get_unverified_header(token)
    key = jwt.PyJWKSet.from_dict(jwks)[header["kid"]]
    claims = jwt.decode(
        token,
        key,
        algorithms=["RS256", "ES256"],
        audience=AUD,
        issuer=ISSUER,
        options={"require": ["iss", "jti", "iat", "aud", "sub_id", "events"], "verify_iat": False},
    )
    return header, claims


def by_node(tokens: list[str], jwks: dict[str, Any], audience: str = AUD) -> list[dict[str, Any]]:
    """What npm's jose makes of *tokens*."""
    assert (JOSE / "node_modules" / "jose").is_dir(), "run `npm ci --prefix tests/jose`"
    asked = {"jwks": jwks, "issuer": ISSUER, "audience": audience, "tokens": tokens}
    done = subprocess.run(
        ["node", "verify.mjs"],
        cwd=JOSE,
        input=json.dumps(asked).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
@pytest.mark.parametrize("form", ["iss_sub", "complex"])
def test_every_token_is_good_for_pyjwt(tmp_path: Path, alg: Any, form: str) -> None:
    received_records = Received(tmp_path, alg, subject_form=form)

    for token in (*received_records.tokens, *received_records.control):
        header, claims = by_pyjwt(token, received_records.jwks)
        assert (header["typ"], header["alg"]) == ("secevent+jwt", alg)
        assert len(claims["events"]) == 1
    assert len(received_records.tokens) == EVENTS


@pytest.mark.node
@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_every_token_is_good_for_node_and_says_there_what_it_says_here(tmp_path: Path, alg: Any) -> None:
    received_records = Received(tmp_path, alg)
    tokens = [*received_records.tokens, *received_records.control]

    found = by_node(tokens, received_records.jwks)

    here = [by_pyjwt(token, received_records.jwks) for token in tokens]
    assert [(fields["header"], fields["payload"]) for fields in found] == here


@pytest.mark.node
def test_node_refuses_what_is_no_token_of_ours(tmp_path: Path) -> None:
    received_records = Received(tmp_path)
    header, claims = by_pyjwt(received_records.tokens[0], received_records.jwks)
    head, body, signature = received_records.tokens[0].split(".")
    unsigned = jwt.encode(claims, "", algorithm="none", headers={**header, "alg": "none"})
    changed = jwt.utils.base64url_encode(json.dumps({**claims, "jti": "other"}).encode()).decode()

    refused = by_node([unsigned, f"{head}.{changed}.{signature}", f"{head}.{body}."], received_records.jwks)

    assert [fields["code"] for fields in refused] == [
        "ERR_JOSE_ALG_NOT_ALLOWED",
        "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
        "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
    ]
    (stranger,) = by_node(received_records.tokens[:1], received_records.jwks, audience="https://other.example.org")
    assert stranger == {"code": "ERR_JWT_CLAIM_VALIDATION_FAILED"}


def test_what_okta_takes_is_in_the_form_of_its_own_sdk(tmp_path: Path) -> None:
    received_records = Received(
        tmp_path,
        subject_form="complex",
        subject_in_event=True,
        events_requested=OKTA,
        aud="https://o.okta.com",
    )

    bodies = []
    for token in received_records.tokens:
        header = jwt.get_unverified_header(token)
        assert SecurityEventTokenRequestJwtHeader.from_dict(header)
        claims = jwt.decode(token, options={"verify_signature": False})
        body = SecurityEventTokenRequestJwtBody.from_dict(claims)
        assert body is not None
        bodies.append(body.to_dict()["events"])

    user = {"format": "iss_sub", "iss": ISSUER, "sub": "ana"}
    revoked, compliance = bodies
    assert revoked[OKTA[0]] == {
        "event_timestamp": T0 // 1000,
        "initiating_entity": "policy",
        "reason_admin": {"en": "The session's device is jailbroken or rooted. (device_rooted)"},
        "reason_user": {"en": "Your device no longer meets the security rules, so you were signed out."},
        "subject": {"user": user},
    }
    device = {"format": "iss_sub", "iss": ISSUER, "sub": "phone-1"}
    assert compliance[OKTA[1]]["subject"] == {"user": user, "device": device}
    assert compliance[OKTA[1]]["current_status"] == "not-compliant"


def test_oktas_sdk_refuses_the_form_without_the_switch(tmp_path: Path) -> None:
    received_records = Received(tmp_path, subject_form="complex", events_requested=OKTA)
    claims = jwt.decode(received_records.tokens[0], options={"verify_signature": False})

    with pytest.raises(ValueError, match="subject"):
        SecurityEventTokenRequestJwtBody.from_dict(claims)
