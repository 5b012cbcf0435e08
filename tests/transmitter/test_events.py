"""What records say: the tables of `happenings`, and whole answers."""

from __future__ import annotations

import pytest

from pipeline.transmitter.protocol import EVENTS, SecurityEvent, Subject
from pipeline.transmitter.tokens.events import CREDENTIAL_TYPES, CREDENTIALS, events_of_record
from schemas.topics import API_CALLS
from tests.support.transmitter_records import T0, ack, because, credential, decision, revocation


def test_a_command_to_end_a_session_says_that_it_was_revoked() -> None:
    assert events_of_record(*revocation(device_id="phone-1")) == [
        SecurityEvent(
            "session-revoked",
            cause="d-1",
            subject=Subject("default", "s-1", "ana"),
            at=T0,
            payload={
                "initiating_entity": "policy",
                "reason_admin": {"en": "The session's device is jailbroken or rooted. (device_rooted)"},
                "reason_user": {"en": "Your device no longer meets the security rules, so you were signed out."},
            },
            txn="d-1",
            revocation_id="r-1",
        )
    ]


def test_a_command_for_the_models_sake_alone_is_the_systems_and_has_reasons_even_if_none_were_given() -> None:
    (security_event,) = events_of_record(*revocation(detections=[], reason_admin="", reason_user=""))

    assert security_event.payload == {
        "initiating_entity": "system",
        "reason_admin": {"en": "The session behaves unlike the sessions the model learned from."},
        "reason_user": {"en": "The session was ended for safety."},
    }


def test_a_change_of_level_is_told_with_its_weightiest_reason_and_what_was_observed_apart() -> None:
    odd = because("anomaly", text="Unlike others: 412 records in 10 min", contribution=2.0)
    rooted = because("device_rooted", observed="1 posture faults")
    trust = because("strong_auth", contribution=-0.5)

    assert events_of_record(*decision(rooted, odd, trust)) == [
        SecurityEvent(
            "risk-level-change",
            cause="d-1",
            subject=Subject("default", "s-1", "ana", "phone-1"),
            at=T0,
            payload={
                "current_level": "HIGH",
                "previous_level": "LOW",
                "initiating_entity": "policy",
                "reason_admin": {
                    "en": "It is device_rooted. The session behaves unlike the sessions the model learned "
                    "from. (device_rooted, anomaly)"
                },
                "reason_user": {"en": "Your session looks riskier than before."},
                "risk_reason": "DEVICE_ROOTED",
                "details": "device_rooted: 1 posture faults; anomaly: Unlike others: 412 records in 10 min",
            },
            txn="d-1",
        )
    ]


def test_a_level_that_fell_because_nothing_is_left_says_so() -> None:
    (security_event,) = events_of_record(*decision(previous="MEDIUM", level="LOW"))

    assert security_event.payload == {
        "current_level": "LOW",
        "previous_level": "MEDIUM",
        "initiating_entity": "policy",
        "reason_admin": {"en": "Nothing speaks against the session any more."},
        "reason_user": {"en": "Your session looks safer than before."},
    }


def test_a_level_that_only_the_model_raised_is_the_systems() -> None:
    (security_event,) = events_of_record(*decision("anomaly", level="MEDIUM"))

    assert (security_event.payload["initiating_entity"], security_event.payload["risk_reason"]) == (
        "system",
        "ANOMALY",
    )


def test_a_decision_that_changes_no_level_says_nothing() -> None:
    assert events_of_record(*decision("device_rooted", previous="HIGH", level="HIGH")) == []


def test_a_changed_credential_is_told_of_its_principal() -> None:
    assert events_of_record(*credential("credential_added", amr=["mfa", "otp"])) == [
        SecurityEvent(
            "credential-change",
            cause="457f29bcaa2e12c12cd0764f933aaa22",
            subject=Subject("default", principal_id="ana"),
            at=T0,
            payload={
                "credential_type": "app",
                "change_type": "create",
                "initiating_entity": "user",
                "reason_admin": {"en": "A credential was added."},
                "reason_user": {"en": "A way to sign in to your account was added."},
            },
            txn="e-1",
        )
    ]


@pytest.mark.parametrize("method", [*CREDENTIAL_TYPES, "fido-u2f", "verifiable-credential"])
@pytest.mark.parametrize("action", CREDENTIALS)
def test_every_change_of_every_known_type_uses_caeps_words(action: str, method: str) -> None:
    (security_event,) = events_of_record(*credential(action, amr=[method]))

    words = EVENTS["credential-change"].values or {}
    assert security_event.payload["credential_type"] in words["credential_type"]
    assert security_event.payload["change_type"] in words["change_type"]


@pytest.mark.parametrize("methods", [None, [], ["mfa"], ["pwd", "otp"], ["PWD"]])
def test_a_change_of_a_credential_that_is_not_known_or_not_one_is_not_told(methods: list[str] | None) -> None:
    assert events_of_record(*credential(amr=methods)) == []


@pytest.mark.parametrize("action", ["sign_in", "sign_out", "step_up_passed", "recovery_started", "other"])
def test_what_else_happens_to_a_session_is_no_change_of_a_credential(action: str) -> None:
    assert events_of_record(*credential(action)) == []


def test_events_of_one_id_in_two_tenants_are_two() -> None:
    causes = {events_of_record(*credential(tenant=tenant))[0].cause for tenant in ("acme", "umbrella")}

    assert len(causes) == 2


def test_an_acknowledgement_and_what_is_no_business_of_the_transmitter_say_nothing() -> None:
    assert events_of_record(*ack()) == []
    assert events_of_record(API_CALLS, {"session_id": "s-1"}) == []


def test_a_level_that_is_only_observed_is_told_to_nobody() -> None:
    assert events_of_record(*decision("device_rooted", mode="observe")) == []
    assert len(events_of_record(*decision("device_rooted"))) == 1


def test_a_level_that_rose_without_a_reason_is_not_said_to_be_well() -> None:
    (security_event,) = events_of_record(*decision(because("revocation_unconfirmed", contribution=0.0)))

    assert security_event.payload == {
        "current_level": "HIGH",
        "previous_level": "LOW",
        "initiating_entity": "policy",
        "reason_admin": {"en": "The session's level of risk rose."},
        "reason_user": {"en": "Your session looks riskier than before."},
    }


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_a_reason_that_says_nothing_is_none(text: str) -> None:
    (ended,) = events_of_record(*revocation(reason_admin=text, reason_user=text))
    (moved,) = events_of_record(*decision(because("device_rooted", text=text)))

    model = "The session behaves unlike the sessions the model learned from. (device_rooted)"
    assert ended.payload["reason_admin"] == moved.payload["reason_admin"] == {"en": model}
    assert ended.payload["reason_user"] == {"en": "The session was ended for safety."}


@pytest.mark.parametrize("level", ["LOW", "MEDIUM", "HIGH"])
@pytest.mark.parametrize("previous", ["LOW", "MEDIUM", "HIGH"])
def test_what_a_person_is_told_of_a_level_is_whether_it_rose_or_fell(previous: str, level: str) -> None:
    security_events = events_of_record(*decision("device_rooted", previous=previous, level=level))

    order = ["LOW", "MEDIUM", "HIGH"]
    rose = order.index(level) > order.index(previous)
    expected = f"Your session looks {'riskier' if rose else 'safer'} than before."
    assert [security_event.payload["reason_user"] for security_event in security_events] == [{"en": expected}] * (
        level != previous
    )
