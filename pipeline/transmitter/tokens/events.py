"""What a record of the pipeline says that others should hear, before any stream is asked. Pure.

A command to end a session is on the wire the fact that it was revoked (RFC 8417 §1: a token states facts), at
the time of the decision. An enforcer's acknowledgement closes that command and is no news: who hears of
revocations has heard of this one. Whether a device complies depends on what was said of it before and is told
in `compliance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pipeline.processing.messages import stable_id
from pipeline.transmitter.protocol import SecurityEvent, Subject
from schemas.topics import AUTH_EVENTS, REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK

LANGUAGE: Final = "en"
"""BCP 47 tag of what the pipeline writes."""

DETAILS: Final = "details"
"""A member of a payload that never leaves as it is: what was observed of the person, in words (`claims`)."""

TOPICS: Final = (SESSION_REVOCATIONS, SESSION_RISK, AUTH_EVENTS, REVOCATION_ACKS)
"""What the transmitter reads."""

OBSERVED: Final = "observe"
"""The mode of decisions on which nothing is done."""

MODEL: Final = "anomaly"
"""The reason that is the model's and no detection's; its text has numbers of the session in it."""
_MODEL_TEXT: Final = "The session behaves unlike the sessions the model learned from."
_ENDED: Final = "The session was ended for safety."
_MOST_NAMED: Final = 8

CREDENTIALS: Final[Mapping[str, tuple[str, str]]] = {
    "credential_added": ("create", "added"),
    "credential_changed": ("update", "changed"),
    "credential_removed": ("delete", "removed"),
}
"""By the action of an auth event: CAEP's `change_type` (CAEP 1.0 §3.3), and the same in words."""

_LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
_MOVED: Final = {
    True: ("The session's level of risk rose.", "Your session looks riskier than before."),
    False: ("Nothing speaks against the session any more.", "Your session looks safer than before."),
}
"""By whether the level rose: why, where the decision gives no reason; and what its person is told."""

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

Of an event about a credential, `amr` says which one it is about. What it does not say, as `mfa` does not, or
says twice, makes no event: none is better than a wrong one.
"""
_TYPES: Final[Mapping[str, str]] = {
    **{name: name for name in ("password", "x509", "fido2-platform", "fido2-roaming", "fido-u2f")},
    **{name: name for name in ("verifiable-credential", "phone-voice", "phone-sms", "app")},
    **CREDENTIAL_TYPES,
}


def events_of_record(topic: str, record: Mapping[str, Any]) -> list[SecurityEvent]:
    """What the decoded *record* of *topic* says; nothing for a topic that says nothing by itself."""
    tell = _TELL.get(topic)
    return [] if tell is None else tell(record)


def initiator(detections: Iterable[str]) -> str:
    """CAEP 1.0 §2 `initiating_entity`: a rule that fired is policy, the model alone is the system."""
    return "policy" if any(name != MODEL for name in detections) else "system"


def reason(text: str, detections: Sequence[str] = ()) -> dict[str, str]:
    """*text* for administrators, with the names of *detections*, under its language's tag (CAEP 1.0 §2).

    A text that says nothing is none: receivers may ask for one.
    """
    named = ", ".join(detections[:_MOST_NAMED])
    sent_text = text if text.strip() else _MODEL_TEXT
    return {LANGUAGE: f"{sent_text} ({named})" if named else sent_text}


def weighty(reasons: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The reasons of a decision that speak against the session, the weightiest first, as they come."""
    return [reason for reason in reasons if reason["contribution"] > 0]


def details(reasons: Iterable[Mapping[str, Any]]) -> str:
    """What was observed of the session: of *reasons* the parts that differ from person to person."""
    return "; ".join(
        f"{reason['detection']}: {reason['text'] if reason['detection'] == MODEL else reason['observed']}"
        for reason in reasons
        if reason["detection"] == MODEL or reason["observed"] is not None
    )


def text_of(fields: Mapping[str, Any]) -> str:
    """The sentence of a reason without anything of the person in it."""
    return _MODEL_TEXT if fields["detection"] == MODEL else str(fields["text"])


def _revoked(command: Mapping[str, Any]) -> list[SecurityEvent]:
    """CAEP 1.0 §3.1. The device is left out: it may have changed since, and would narrow what is ended."""
    payload = {
        "initiating_entity": initiator(command["detections"]),
        "reason_admin": reason(command["reason_admin"], command["detections"]),
        "reason_user": {LANGUAGE: command["reason_user"] if command["reason_user"].strip() else _ENDED},
    }
    named_who = Subject(command["tenant"], command["session_id"], command["principal_id"])
    return [
        SecurityEvent(
            "session-revoked",
            cause=command["decision_id"],
            subject=named_who,
            at=command["decided_at"],
            payload=payload,
            txn=command["decision_id"],
            revocation_id=command["revocation_id"],
        )
    ]


def _moved(decision: Mapping[str, Any]) -> list[SecurityEvent]:
    """CAEP 1.0 §3.8, only where the level changed. It is the level of one session.

    Whose level a stream is told it is, the `principal`, follows from how it names subjects: see `claims`.
    What is only observed is told to nobody outside: receivers act on what they hear.
    """
    level, before = decision["level"], decision["previous_level"]
    if level == before or decision["mode"] == OBSERVED:
        return []
    against = weighty(decision["reasons"])[:_MOST_NAMED]
    names = [fields["detection"] for fields in against]
    unexplained, user_text = _MOVED[_LEVELS.index(level) > _LEVELS.index(before)]
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
    named_who = Subject(decision["tenant"], decision["session_id"], decision["principal_id"], decision["device_id"])
    txn = decision["decision_id"]
    return [SecurityEvent("risk-level-change", txn, named_who, decision["occurred_at"], payload, txn)]


def _credential(event: Mapping[str, Any]) -> list[SecurityEvent]:
    """CAEP 1.0 §3.3, where the event says of which type the credential is."""
    change = CREDENTIALS.get(event["action"])
    types = {_TYPES[name] for name in event["amr"] or () if name in _TYPES}
    if change is None or len(types) != 1:
        return []
    change_type, done = change
    payload = {
        "credential_type": types.pop(),
        "change_type": change_type,
        "initiating_entity": "user",
        "reason_admin": reason(f"A credential was {done}."),
        "reason_user": {LANGUAGE: f"A way to sign in to your account was {done}."},
    }
    named_who = Subject(event["tenant"], principal_id=event["principal_id"])
    fields = event["event_id"]
    cause = stable_id(event["tenant"], event["session_id"], fields)  # two tenants may give one id
    return [SecurityEvent("credential-change", cause, named_who, event["occurred_at"], payload, fields)]


_TELL: Final[Mapping[str, Callable[[Mapping[str, Any]], list[SecurityEvent]]]] = {
    SESSION_REVOCATIONS: _revoked,
    SESSION_RISK: _moved,
    AUTH_EVENTS: _credential,
}
