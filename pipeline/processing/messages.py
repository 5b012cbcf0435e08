"""Kafka messages that processors send to each other, and how their keys and ids are made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from models.events.columns import FACTOR_CHANGES
from models.state.table import Subject
from pipeline.processing.processor import Message
from schemas.decode import encode
from schemas.topics import PRINCIPAL_ACTIVITY, SESSION_BINDINGS, SESSION_CONTEXT, SUPPRESSIONS


def stable_id(*parts: object) -> str:
    """Return an id of *parts*, 128 bits in hexadecimal (BLAKE2b, RFC 7693); equal parts give an equal id."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()


MAX_USED: Final = 64
"""Most names in the field `used` of one message."""
_CLIENT_FIELDS: Final = (
    "device_id",
    "ip",
    "asn",
    "country",
    "latitude",
    "longitude",
    "network_type",
    "user_agent",
    "ja4",
    "workload",
    "home_asn",
    "home_prefix",
)
MAX_ID_LENGTH: Final = 128
"""Most characters of an event's id, by the wire contract."""
_DERIVED: Final = re.compile(r"(~[abdflnprsw]|~[0-9a-f]{12})+$")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a decision was made under: wall clock in ms, model, policy and mode."""

    now_ms: int
    model: str
    policy: str
    mode: str


def message(topic: str, key: str, fields: Mapping[str, Any]) -> Message:
    """Return the message with *fields* on *topic* under *key*."""
    return Message(topic, key.encode(), encode(fields))


def suppression(fields: Mapping[str, Any]) -> Message:
    """Return the record that a suppression was created, refused or has expired."""
    return message(SUPPRESSIONS, fields["session_id"], fields)


def principal_suppression(
    subject: Subject, principal_kind: str, event_id: str, at_ms: int, suppressed: Mapping[str, Any]
) -> Message:
    """Return the message that asks the principal's context to suppress a detection in all of its sessions."""
    fields = {
        "type": "principal.activity",
        "event_id": derived_id(event_id, "~a"),
        "occurred_at": at_ms,
        "tenant": subject.tenant,
        "session_id": subject.session_id,
        "principal_id": subject.principal_id,
        "principal_kind": principal_kind,
        "kind": "muted",
        "suppression": suppressed,
    }
    return message(PRINCIPAL_ACTIVITY, subject.principal_id, fields)


def derived_id(event_id: str, suffix: str) -> str:
    """Return the id of a message that follows from event *event_id*.

    It is within the length of the contract, and the same when the message follows again.
    """
    return event_id + suffix if len(event_id) + len(suffix) <= MAX_ID_LENGTH else stable_id(event_id) + suffix


def source_event_id(event_id: str) -> str:
    """Return the id of the producer's event from which an id was derived, as far as it is still in it.

    Analysts look up events by it.
    """
    return _DERIVED.sub("", event_id) or event_id


def binding(subject: Subject, principal_kind: str, device_id: str, state: str, event_id: str, at_ms: int) -> Message:
    """Return the message that a session is bound to a device, or has ended."""
    fields = {
        "type": "session.binding",
        "event_id": derived_id(event_id, "~b"),
        "occurred_at": at_ms,
        "tenant": subject.tenant,
        "device_id": device_id,
        "session_id": subject.session_id,
        "principal_id": subject.principal_id,
        "principal_kind": principal_kind,
        "state": state,
    }
    return message(SESSION_BINDINGS, device_id, fields)


def activity(  # noqa: PLR0913, PLR0917 - one argument per field of the message
    subject: Subject,
    principal_kind: str,
    activity_kind: str,
    event_id: str,
    at_ms: int,
    event: Mapping[str, Any],
    used: Sequence[str] = (),
    peaks: Mapping[str, float] | None = None,
    *,
    guess: bool = False,
) -> Message:
    """Return the message with what a session shows about its principal.

    That is its client, the names it *used* for the first time, and the *peaks* of its activity. With *guess* the
    principal is only a name with which somebody failed to sign in.
    """
    suffix = "~f" if activity_kind in FACTOR_CHANGES else "~a"
    fields = {
        "type": "principal.activity",
        "event_id": derived_id(event_id, suffix),
        "occurred_at": at_ms,
        "tenant": subject.tenant,
        "session_id": subject.session_id,
        "principal_id": subject.principal_id,
        "principal_kind": principal_kind,
        "kind": activity_kind,
        **{name: event.get(name) for name in _CLIENT_FIELDS},
        "used": list(used)[:MAX_USED] or None,
        "peaks": peaks or None,
        "guess": guess or None,
    }
    return message(PRINCIPAL_ACTIVITY, subject.principal_id, fields)


def parent_risk(tenant: str, session_id: str, event_id: str, at_ms: int, *, risky: bool) -> Message:
    """Return the message to a child session that its parent's level rose above LOW, or fell back."""
    fields = {
        "type": "session.context",
        "event_id": derived_id(event_id, "~r" if risky else "~s"),
        "occurred_at": at_ms,
        "tenant": tenant,
        "session_id": session_id,
        "source": "lineage",
        "signals": ["parent_at_risk"] if risky else [],
    }
    return message(SESSION_CONTEXT, session_id, fields)


def lineage(
    tenant: str, session_id: str, relation: str, event_id: str, at_ms: int, *, child: str = "", root: str = ""
) -> Message:
    """Return the message to a parent that it has a child, or to a child that an ancestor was revoked."""
    fields = {
        "type": "session.context",
        "event_id": derived_id(event_id, "~l"),
        "occurred_at": at_ms,
        "tenant": tenant,
        "session_id": session_id,
        "source": "lineage",
        "relation": relation,
        "child_session_id": child or None,
        "root_session_id": root or None,
    }
    return message(SESSION_CONTEXT, session_id, fields)
