"""Security events of a record, before they are matched with streams. Pure functions.

A revocation command becomes the fact that the session was revoked (RFC 8417 §1: a token states facts), at the
time of the decision. An enforcer's acknowledgement closes the command and makes no event, because receivers of
revocations already got this one. Device compliance depends on earlier decisions and is in `device_compliance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pipeline.processing.messages import stable_id
from pipeline.transmitter.protocol import SecurityEvent, Subject
from schemas.topics import AUTH_EVENTS, REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK

LANGUAGE: Final = "en"
"""BCP 47 tag of the pipeline's texts."""

DETAILS: Final = "details"
"""A payload field that is never sent unchanged: observations about the person, as text (see `claims`)."""

TOPICS: Final = (SESSION_REVOCATIONS, SESSION_RISK, AUTH_EVENTS, REVOCATION_ACKS)
"""The topics that the transmitter reads."""

OBSERVED: Final = "observe"
"""The mode of decisions on which nobody acts."""

MODEL: Final = "anomaly"
"""The reason that comes from the model instead of a detection; its text contains numbers of the session."""
_MODEL_TEXT: Final = "The session behaves unlike the sessions the model learned from."
_REVOKED_TEXT: Final = "The session was ended for safety."
_MAX_NAMED: Final = 8

CREDENTIALS: Final[Mapping[str, tuple[str, str]]] = {
    "credential_added": ("create", "added"),
    "credential_changed": ("update", "changed"),
    "credential_removed": ("delete", "removed"),
}
"""By the action of an auth event: CAEP's `change_type` (CAEP 1.0 §3.3), and its verb."""

_LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
_LEVEL_TEXTS: Final = {
    True: ("The session's level of risk rose.", "Your session looks riskier than before."),
    False: ("Nothing speaks against the session any more.", "Your session looks safer than before."),
}
"""By whether the level rose: the reason if the decision gives none, and the text for the user."""

CREDENTIAL_TYPES: Final[Mapping[str, str]] = {
    "pwd": "password",
    "pin": "pin",
    "sms": "phone-sms",
    "tel": "phone-voice",
    "otp": "app",
    "sc": "x509",
    "hwk": "fido2-roaming",
    "swk": "fido2-platform",
}
"""By a method of RFC 8176 §2: CAEP's `credential_type`. A producer may also name CAEP's type itself.

The `amr` of an event about a credential names its type. If it names none, as `mfa` does not, or two, there is
no event: that is better than a wrong one.
"""
_TYPES: Final[Mapping[str, str]] = {
    **{name: name for name in ("password", "x509", "fido2-platform", "fido2-roaming", "fido-u2f")},
    **{name: name for name in ("verifiable-credential", "phone-voice", "phone-sms", "app")},
    **CREDENTIAL_TYPES,
}


def events_of_record(topic: str, record: Mapping[str, Any]) -> list[SecurityEvent]:
    """The events of the decoded *record* of *topic*; none for a topic that has none by itself."""
    events_of = _EVENTS_BY_TOPIC.get(topic)
    return [] if events_of is None else events_of(record)


def initiator(detections: Iterable[str]) -> str:
    """CAEP 1.0 §2 `initiating_entity`: a detection is policy, the model alone is the system."""
    return "policy" if any(name != MODEL for name in detections) else "system"


def reason(text: str, detections: Sequence[str] = ()) -> dict[str, str]:
    """*text* for administrators, with the names of *detections*, by language tag (CAEP 1.0 §2).

    A blank text is replaced, because receivers may require one.
    """
    named = ", ".join(detections[:_MAX_NAMED])
    sent_text = text if text.strip() else _MODEL_TEXT
    return {LANGUAGE: f"{sent_text} ({named})" if named else sent_text}


def positive_reasons(reasons: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The reasons of a decision with a positive contribution, in their order: the largest first."""
    return [reason for reason in reasons if reason["contribution"] > 0]


def details(reasons: Iterable[Mapping[str, Any]]) -> str:
    """Observations about the session: the parts of *reasons* that differ from person to person."""
    return "; ".join(
        f"{reason['detection']}: {reason['text'] if reason['detection'] == MODEL else reason['observed']}"
        for reason in reasons
        if reason["detection"] == MODEL or reason["observed"] is not None
    )


def text_of(fields: Mapping[str, Any]) -> str:
    """The sentence of a reason without personal data."""
    return _MODEL_TEXT if fields["detection"] == MODEL else str(fields["text"])


def _session_revoked(command: Mapping[str, Any]) -> list[SecurityEvent]:
    """CAEP 1.0 §3.1. The device is left out: it may have changed since, and would narrow what is revoked."""
    payload = {
        "initiating_entity": initiator(command["detections"]),
        "reason_admin": reason(command["reason_admin"], command["detections"]),
        "reason_user": {LANGUAGE: command["reason_user"] if command["reason_user"].strip() else _REVOKED_TEXT},
    }
    subject = Subject(command["tenant"], command["session_id"], command["principal_id"])
    return [
        SecurityEvent(
            "session-revoked",
            cause=command["decision_id"],
            subject=subject,
            at=command["decided_at"],
            payload=payload,
            txn=command["decision_id"],
            revocation_id=command["revocation_id"],
        )
    ]


def _risk_level_change(decision: Mapping[str, Any]) -> list[SecurityEvent]:
    """CAEP 1.0 §3.8, only if the level changed. It is the level of one session.

    The `principal` depends on the stream's subject identifiers: see `claims`. A decision in observe mode makes
    no event, because receivers act on events.
    """
    level, before = decision["level"], decision["previous_level"]
    if level == before or decision["mode"] == OBSERVED:
        return []
    against = positive_reasons(decision["reasons"])[:_MAX_NAMED]
    names = [fields["detection"] for fields in against]
    unexplained, user_text = _LEVEL_TEXTS[_LEVELS.index(level) > _LEVELS.index(before)]
    text = " ".join(dict.fromkeys(map(text_of, against))) if against else unexplained
    payload: dict[str, Any] = {
        "current_level": level,
        "previous_level": before,
        "initiating_entity": initiator(names) if names else "policy",
        "reason_admin": reason(text, names),
        "reason_user": {LANGUAGE: user_text},
    }
    if names:
        payload["risk_reason"] = names[0].upper()
    if observed := details(against):
        payload[DETAILS] = observed
    subject = Subject(decision["tenant"], decision["session_id"], decision["principal_id"], decision["device_id"])
    txn = decision["decision_id"]
    return [SecurityEvent("risk-level-change", txn, subject, decision["occurred_at"], payload, txn)]


def _credential_change(event: Mapping[str, Any]) -> list[SecurityEvent]:
    """CAEP 1.0 §3.3, if the event names the type of the credential."""
    change = CREDENTIALS.get(event["action"])
    types = {_TYPES[name] for name in event["amr"] or () if name in _TYPES}
    if change is None or len(types) != 1:
        return []
    change_type, verb = change
    payload = {
        "credential_type": types.pop(),
        "change_type": change_type,
        "initiating_entity": "user",
        "reason_admin": reason(f"A credential was {verb}."),
        "reason_user": {LANGUAGE: f"A way to sign in to your account was {verb}."},
    }
    subject = Subject(event["tenant"], principal_id=event["principal_id"])
    event_id = event["event_id"]
    cause = stable_id(event["tenant"], event["session_id"], event_id)  # two tenants may use one id
    return [SecurityEvent("credential-change", cause, subject, event["occurred_at"], payload, event_id)]


_EVENTS_BY_TOPIC: Final[Mapping[str, Callable[[Mapping[str, Any]], list[SecurityEvent]]]] = {
    SESSION_REVOCATIONS: _session_revoked,
    SESSION_RISK: _risk_level_change,
    AUTH_EVENTS: _credential_change,
}
