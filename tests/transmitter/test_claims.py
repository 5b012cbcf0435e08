"""What stands in a token, claim by claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.transmitter.protocol import CAEP, EVENTS, SSF, SecurityEvent, Subject
from pipeline.transmitter.tokens.claims import claims_of, jti_of, lane_of, principal_of
from pipeline.transmitter.tokens.device_compliance import apply_decision
from pipeline.transmitter.tokens.events import events_of_record
from pipeline.transmitter.tokens.stream_events import stream_updated, verification
from pipeline.transmitter.tokens.subjects import Subjects
from tests.support.transmitter_records import (
    AUD,
    ISSUER,
    T0,
    because,
    credential,
    decision,
    revocation,
    stream,
)

SUBJECTS = Subjects.load(None)
NOW = T0 + 1999
ANA = {"format": "iss_sub", "iss": ISSUER, "sub": "ana"}


class Shown:
    """Signs nothing and shows what it was asked to sign."""

    def __init__(self) -> None:
        self.claims: Any = None

    def sign(self, claims: Any) -> tuple[str, str]:
        self.claims = claims
        return "k-1", "a.b.c"


def everything() -> list[SecurityEvent]:
    """One of each event."""
    security_events = [
        security_event
        for record in (revocation(), decision("device_rooted"), credential())
        for security_event in events_of_record(*record)
    ]
    return [*security_events, *apply_decision(decision("device_rooted").record, None)[1]]


def test_a_token_has_these_claims_and_no_other() -> None:
    (security_event,) = events_of_record(*revocation())

    assert claims_of(security_event, stream(), SUBJECTS, ISSUER, NOW) == {
        "iss": ISSUER,
        "jti": jti_of("d-1", "st-1", "session-revoked"),
        "iat": T0 // 1000 + 1,
        "aud": AUD,
        "txn": "d-1",
        "sub_id": ANA,
        "events": {
            f"{CAEP}session-revoked": {
                "initiating_entity": "policy",
                "reason_admin": {"en": "The session's device is jailbroken or rooted. (device_rooted)"},
                "reason_user": {"en": "Your device no longer meets the security rules, so you were signed out."},
                "event_timestamp": T0 // 1000,
            }
        },
    }


def test_the_id_of_a_token_is_the_same_for_ever_and_another_for_each_cause_stream_and_event() -> None:
    assert jti_of("d-1", "st-1", "session-revoked") == "18a3cbb5909c9ecadd15cfaf960b89eb"
    others = {jti_of(*row) for row in (("d-2", "st-1", "x"), ("d-1", "st-2", "x"), ("d-1", "st-1", "y"))}
    assert len(others) == 3


def test_what_one_decision_leads_to_has_one_txn() -> None:
    claimses = [claims_of(security_event, stream(), SUBJECTS, ISSUER, NOW) or {} for security_event in everything()]

    assert [claims["txn"] for claims in claimses] == ["d-1", "d-1", "e-1", "d-1"]


@pytest.mark.parametrize("form", ["iss_sub", "complex"])
@pytest.mark.parametrize("received", everything(), ids=lambda item: item.event)
def test_every_event_has_the_members_that_its_type_requires(received: SecurityEvent, form: Any) -> None:
    claims = claims_of(received, stream(subject_form=form), SUBJECTS, ISSUER, NOW) or {}
    (payload,) = claims["events"].values()
    row = EVENTS[received.event]

    assert set(row.required) <= set(payload)
    for member, allowed in (row.values or {}).items():
        assert payload[member] in allowed


PSEUDONYM = f"p:k1:{'A' * 22}"


@pytest.mark.parametrize(
    ("form", "members", "principal", "named"),
    [
        ("iss_sub", {}, "USER", ["iss", "sub"]),
        ("complex", {}, "SESSION", ["user", "session", "device", "tenant"]),
        ("complex", {"device_id": None}, "SESSION", ["user", "session", "tenant"]),
        ("complex", {"principal_id": None, "device_id": None}, "SESSION", ["session", "tenant"]),
        ("complex", {"principal_id": PSEUDONYM, "device_id": PSEUDONYM}, "SESSION", ["session", "tenant"]),
    ],
)
def test_the_principal_of_a_level_is_whom_the_subject_names(
    form: Any, members: dict[str, Any], principal: str, named: list[str]
) -> None:
    (security_event,) = events_of_record(*decision("device_rooted", **members))

    claims = claims_of(security_event, stream(subject_form=form), SUBJECTS, ISSUER, NOW) or {}

    (payload,) = claims["events"].values()
    assert [member for member in claims["sub_id"] if member != "format"] == named
    assert payload["principal"] == principal


def test_an_address_names_a_user_and_no_other_event_has_a_principal(tmp_path: Path) -> None:
    (tmp_path / "subjects").write_text('[[principals]]\nemail = "{principal}@acme.example"\n', encoding="utf-8")
    mapping = Subjects.load(tmp_path / "subjects")

    by_key = {
        security_event.event: claims_of(security_event, stream(subject_form="email"), mapping, ISSUER, NOW) or {}
        for security_event in everything()
    }

    principals = {
        event: payload["principal"]
        for event, claims in by_key.items()
        for payload in claims["events"].values()
        if "principal" in payload
    }
    assert principals == {"risk-level-change": "USER"}


@pytest.mark.parametrize(
    ("subject_name", "principal"),
    [
        (Subject("default", None, "ana"), "USER"),
        (Subject("default", None, "ana", "phone-1"), "DEVICE"),
        (Subject("default", "s-1", "ana", "phone-1"), "SESSION"),
    ],
)
def test_the_narrowest_member_of_a_complex_subject_is_the_principal(subject_name: Subject, principal: str) -> None:
    subject = SUBJECTS.identify(subject_name, stream(subject_form="complex"), ISSUER) or {}

    assert principal_of(subject) == principal


@pytest.mark.parametrize("received", everything(), ids=lambda item: item.event)
def test_every_event_has_whole_seconds_and_reasons_by_language_and_no_sub_or_exp(received: SecurityEvent) -> None:
    claims = claims_of(received, stream(), SUBJECTS, ISSUER, NOW) or {}
    (payload,) = claims["events"].values()

    assert {"sub", "exp"} & set(claims) == set()
    assert type(payload["event_timestamp"]) is int
    assert payload["event_timestamp"] == T0 // 1000
    assert list(payload["reason_admin"]) == ["en"]
    assert payload["reason_admin"]["en"]
    assert list(payload["reason_user"]) == ["en"]
    assert not {"ana", "device_rooted", "phone-1", "s-1"} & set(payload["reason_user"]["en"].split())
    assert payload["reason_user"]["en"].endswith(".")
    assert payload["initiating_entity"] in {"admin", "user", "policy", "system"}


@pytest.mark.parametrize("received", everything(), ids=lambda item: item.event)
@pytest.mark.parametrize("form", ["iss_sub", "complex"])
def test_the_subject_stands_in_the_event_too_where_a_stream_asks(received: SecurityEvent, form: Any) -> None:
    wanting = stream(subject_form=form, subject_in_event=True)

    claims = claims_of(received, wanting, SUBJECTS, ISSUER, NOW) or {}

    (payload,) = claims["events"].values()
    assert payload["subject"] == claims["sub_id"]
    assert "subject" not in next(iter((claims_of(received, stream(), SUBJECTS, ISSUER, NOW) or {})["events"].values()))


def test_what_was_observed_of_a_person_is_told_only_to_a_stream_that_asks() -> None:
    (security_event,) = events_of_record(*decision(because("mass_read", observed="4,120 records of ana")))

    def reason(**members: Any) -> object:
        claims = claims_of(security_event, stream(**members), SUBJECTS, ISSUER, NOW) or {}
        (payload,) = claims["events"].values()
        assert "details" not in payload
        return payload["reason_admin"]

    assert reason() == {"en": "It is mass_read. (mass_read)"}
    assert reason(personal_data=True) == {"en": "It is mass_read. (mass_read) mass_read: 4,120 records of ana"}
    assert "details" in security_event.payload


def test_a_subject_without_a_name_for_the_stream_makes_no_token() -> None:
    (security_event,) = events_of_record(*revocation())

    assert claims_of(security_event, stream(subject_form="email"), SUBJECTS, ISSUER, NOW) is None


def test_what_is_about_one_principal_is_in_one_lane_and_no_other_principals() -> None:
    ana = {lane_of(security_event.subject) for security_event in everything()}
    others = [
        Subject("acme", "s-1", "ana"),
        Subject("default", "ana"),
        Subject("default", None, None, "ana"),
        Subject("ana"),
    ]

    assert len(ana) == 1
    assert len({*ana, *map(lane_of, others)}) == 5


@pytest.mark.parametrize(("state", "payload"), [("abc", {"state": "abc"}), ("", {"state": ""}), (None, {})])
def test_a_verification_is_about_the_stream_and_echoes_the_state(state: str | None, payload: object) -> None:
    shown = Shown()

    signed = verification(stream(), ISSUER, shown, NOW, state)

    assert shown.claims == {
        "iss": ISSUER,
        "jti": signed.jti,
        "iat": T0 // 1000 + 1,
        "aud": AUD,
        "txn": signed.txn,
        "sub_id": {"format": "opaque", "id": "st-1"},
        "events": {f"{SSF}verification": payload},
    }
    assert (signed.stream_id, signed.event, signed.kid, signed.jwt) == (
        "st-1",
        "verification",
        "k-1",
        "a.b.c",
    )


def test_a_change_of_status_is_a_text_with_its_reason_if_there_is_one() -> None:
    shown = Shown()
    stream_updated(stream(), ISSUER, shown, NOW, "paused")
    without = shown.claims["events"]
    stream_updated(stream(), ISSUER, shown, NOW, "paused", "nobody takes what is held")

    assert without == {f"{SSF}stream-updated": {"status": "paused"}}
    assert shown.claims["events"] == {
        f"{SSF}stream-updated": {"status": "paused", "reason": "nobody takes what is held"}
    }


def test_tokens_about_a_stream_are_in_one_lane_of_their_own_and_no_two_have_one_id() -> None:
    shown = Shown()
    signed = [
        verification(stream(), ISSUER, shown, NOW, "abc"),
        verification(stream(), ISSUER, shown, NOW, None),
        verification(stream(), ISSUER, shown, NOW + 1, "abc"),
        stream_updated(stream(), ISSUER, shown, NOW, "paused"),
    ]

    assert len({this_signed.jti for this_signed in signed}) == 4
    assert len({this_signed.lane for this_signed in signed}) == 1
    assert signed[0].lane != verification(stream("st-2"), ISSUER, shown, NOW, "abc").lane
