"""RFC 8417, SSF 1.0 §4 and CAEP 1.0 §3: what stands in a token."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import jwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from okta.models.security_event_token_request_jwt_body import SecurityEventTokenRequestJwtBody
from okta.models.security_event_token_request_jwt_header import SecurityEventTokenRequestJwtHeader

from tests.support.ssf_receiver import CAEP, Json, Receiver, Set
from tests.support.ssf_records import Record, credential, decision, revocation
from tests.support.ssf_transmitter import Rig, transmitter
from tests.support.waiting import until

pytestmark = pytest.mark.slow

REVOKED = f"{CAEP}session-revoked"
RISK = f"{CAEP}risk-level-change"
COMPLIANCE = f"{CAEP}device-compliance-change"
CREDENTIAL = f"{CAEP}credential-change"

AT = 1_795_501_749_123
ANA = {"session_id": "s-7", "principal_id": "ana", "device_id": "phone-7", "decision_id": "d-7"}

SAID: tuple[Record, ...] = (
    decision("MEDIUM", "HIGH", "device_rooted", occurred_at=AT, decided_at=AT, **ANA),
    revocation(decided_at=AT, deadline=AT + 60_000, **ANA),
    credential(occurred_at=AT, event_id="e-7", session_id="s-7", principal_id="ana"),
)
"""One story: a jailbroken phone, the revocation that follows, a changed password; all at one moment."""

ABOUT = {
    REVOKED: ("d-7", {"initiating_entity": "policy"}),
    RISK: ("d-7", {"principal": "USER", "current_level": "HIGH", "previous_level": "MEDIUM"}),
    COMPLIANCE: ("d-7", {"current_status": "not-compliant", "previous_status": "compliant"}),
    CREDENTIAL: (None, {"credential_type": "password", "change_type": "update"}),
}
"""Of each type: the decision that its `txn` is, and members that it must have as they are."""

FORMATS = {
    "email": {"format", "email"},
    "iss_sub": {"format", "iss", "sub"},
    "opaque": {"format", "id"},
}
"""RFC 9493 §3.2: the members of each format, and no other."""


@pytest.fixture(scope="module")
def receiver(rig: Rig) -> Receiver:
    return rig.receiver("tokens")


@pytest.fixture(scope="module")
def received(rig: Rig, receiver: Receiver) -> dict[str, Set]:
    """The token of each type, by type."""
    stream = receiver.create()
    rig.say(*SAID)
    found = receiver.collect(stream, len(ABOUT))
    return {this_set.event: this_set for this_set in found}


def test_T1_the_header_names_type_algorithm_and_a_published_key(receiver: Receiver, received: dict[str, Set]) -> None:
    kids = {key["kid"] for key in receiver.keys()["keys"]}

    assert set(received) == set(ABOUT)
    for this_set in received.values():
        assert this_set.header == {"typ": "secevent+jwt", "alg": "RS256", "kid": this_set.header["kid"]}
        assert this_set.header["kid"] in kids


def test_T2_a_token_has_one_event_and_neither_sub_nor_exp(received: dict[str, Set]) -> None:
    for this_set in received.values():
        assert list(this_set.claims["events"]) == [this_set.event]
        assert not {"sub", "exp"} & set(this_set.claims)


def test_T3_a_token_says_who_speaks_when_to_whom_and_of_whom(rig: Rig, received: dict[str, Set]) -> None:
    receiver = rig.receiver("tokens")
    for this_set in received.values():
        assert this_set.claims["iss"] == rig.issuer
        assert this_set.claims["aud"] == receiver.aud
        assert type(this_set.claims["iat"]) is int
        assert time.time() - 600 < this_set.claims["iat"] <= time.time()
        assert this_set.claims["jti"]
        assert this_set.claims["sub_id"]["format"] == "iss_sub"
    assert len({item.claims["jti"] for item in received.values()}) == len(received)


def test_T4_reasons_are_texts_by_language(received: dict[str, Set]) -> None:
    for this_set in received.values():
        for member in ("reason_admin", "reason_user"):
            texts = this_set.payload.get(member)
            assert isinstance(texts, dict), (this_set.event, member)
            assert texts.get("en"), (this_set.event, member)
            assert all(isinstance(text, str) and text.strip() for text in texts.values())
    assert received[REVOKED].payload["reason_user"]["en"].startswith("Your device no longer meets")


def test_T5_who_caused_it_is_one_of_four_and_times_are_whole_seconds(received: dict[str, Set]) -> None:
    for this_set in received.values():
        assert this_set.payload["initiating_entity"] in {"admin", "user", "policy", "system"}
        assert type(this_set.payload["event_timestamp"]) is int
        assert this_set.payload["event_timestamp"] == AT // 1000


def test_T6_each_type_has_its_members_with_the_words_of_its_table(received: dict[str, Set]) -> None:
    for event, (_, members) in ABOUT.items():
        payload = received[event].payload
        assert {name: payload.get(name) for name in members} == members, event


def test_T7_txn_is_the_decision_that_tokens_share(received: dict[str, Set]) -> None:
    for event, (txn, _) in ABOUT.items():
        if txn is not None:
            assert received[event].claims["txn"] == txn, event


def test_T8_the_same_records_again_make_no_new_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), redelivery_s=0.2) as rig:
        receiver = rig.receiver("t8")
        first, second = receiver.create(), receiver.create()
        rig.say(*SAID)
        this_sets, two = (receiver.peek(stream, len(ABOUT)) for stream in (first, second))
        rig.stop()
        rig.start()
        rig.say(*SAID)
        rig.say(*reversed(SAID))

        again = receiver.peek(first, len(ABOUT))
        assert [token.claims for token in again] == [token.claims for token in this_sets]
        jtis = [{token.claims["jti"] for token in tokens} for tokens in (this_sets, two)]
        assert len(jtis[0] | jtis[1]) == 2 * len(ABOUT)
        receiver.poll(first, ack=list(jtis[0]))
        rig.say(*SAID)
        until("nothing more", lambda: receiver.poll(first).json["sets"], lambda sets: not sets)


def test_T9_subjects_have_the_form_of_the_stream_and_no_foreign_member(rig: Rig) -> None:
    receiver = rig.receiver("t9")
    forms: dict[str, Json] = {
        "iss_sub": {"format": "iss_sub", "iss": rig.idp, "sub": "00u-ana"},
        "email": {"format": "email", "email": "ana@example.com"},
        "complex": {
            "format": "complex",
            "user": {"format": "iss_sub", "iss": rig.idp, "sub": "00u-ana"},
            "session": {"format": "opaque", "id": "s-7"},
            "tenant": {"format": "opaque", "id": "default"},
        },
    }
    for form, subject in forms.items():
        stream = receiver.create(subject_form=form, events_requested=[REVOKED])
        rig.say(revocation(**{**ANA, "decision_id": f"d-{form}"}))
        (this_set,) = receiver.collect(stream, 1)
        assert this_set.claims["sub_id"] == subject
        simple = [subject] if form != "complex" else [part for part in subject.values() if part != "complex"]
        assert [part for part in simple if set(part) != FORMATS[part["format"]]] == []


@pytest.mark.node
def test_T10_pyjwt_joserfc_jose_and_oktas_models_take_the_same_token(rig: Rig) -> None:
    receiver = rig.receiver("t10")
    stream = receiver.create(subject_form="complex", subject_in_event=True, events_requested=[REVOKED])
    rig.say(revocation(**{**ANA, "decision_id": "d-okta"}))
    (text,) = receiver.poll(stream).json["sets"].values()
    keys = receiver.keys()

    claims = receiver.verified(text).claims  # PyJWT
    known = KeySet.import_key_set({"keys": keys["keys"]})
    assert joserfc_jwt.decode(text, known, algorithms=["RS256"]).claims == claims
    assert _jose(text, keys, rig.issuer, receiver.aud) == claims
    body = SecurityEventTokenRequestJwtBody.from_dict(claims)
    header = SecurityEventTokenRequestJwtHeader.from_dict(jwt.get_unverified_header(text))
    assert body is not None
    assert header is not None
    assert body.to_dict()["events"][REVOKED]["subject"]["user"]["sub"] == "00u-ana"


def _jose(text: str, keys: Json, issuer: str, audience: str) -> Json:
    """What node's `jose` reads, strictly."""
    node = shutil.which("node")
    assert node, "node is not installed; on Debian: apt-get install nodejs npm"
    folder = Path(__file__).parent.parent / "jose"
    asked = json.dumps({"tokens": [text], "jwks": keys, "issuer": issuer, "audience": audience})
    done = subprocess.run([node, "verify.mjs"], cwd=folder, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    claims: Json = json.loads(done.stdout)[0].get("payload")
    return claims
