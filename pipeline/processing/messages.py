"""Kafka messages that processors send to each other, and how their keys and ids are made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from models.events.columns import FACTOR_CHANGES
from pipeline.processing.processor import Message
from schemas.decode import encode
from schemas.topics import PRINCIPAL_ACTIVITY, SESSION_BINDINGS, SESSION_CONTEXT, SUPPRESSIONS


def stable_id(*parts: object) -> str:
    """The same parts give the same id, 128 bits in hexadecimal (BLAKE2b, RFC 7693)."""
    return blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()


MAX_USED: Final = 64
"""Names that one message tells of."""
_CLIENT: Final = (
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
"""Characters of an event's id, as the contract has it."""
_DERIVED: Final = re.compile(r"(~[abdflnprsw]|~[0-9a-f]{12})+$")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Under what a decision was made: wall clock in ms, model, policy, mode."""

    now_ms: int
    model: str
    policy: str
    mode: str


def message(topic: str, key: str, members: Mapping[str, Any]) -> Message:
    """A record of *topic* under *key*."""
    return Message(topic, key.encode(), encode(members))


def suppression(members: Mapping[str, Any]) -> Message:
    """A false positive keeps quiet, no longer does, or was not allowed to."""
    return message(SUPPRESSIONS, members["session_id"], members)


def principal_suppression(
    subject: Mapping[str, str], kind: str, event_id: str, at: int, fields: Mapping[str, Any]
) -> Message:
    """Told to a principal: what keeps quiet in all of its sessions, as `suppression` said it."""
    members = {
        "type": "principal.activity",
        "event_id": derived_id(event_id, "~a"),
        "occurred_at": at,
        "tenant": subject["tenant"],
        "session_id": subject["session_id"],
        "principal_id": subject["principal_id"],
        "principal_kind": kind,
        "kind": "muted",
        "suppression": fields,
    }
    return message(PRINCIPAL_ACTIVITY, subject["principal_id"], members)


def derived_id(event_id: str, suffix: str) -> str:
    """The id of what follows from an event: short enough for the contract, the same when it follows again."""
    return event_id + suffix if len(event_id) + len(suffix) <= MAX_ID_LENGTH else stable_id(event_id) + suffix


def source_event_id(event_id: str) -> str:
    """The producer's event that an id was derived from, as far as it still shows: what analysts look up."""
    return _DERIVED.sub("", event_id) or event_id


def binding(subject: Mapping[str, str], kind: str, device_id: str, state: str, event_id: str, at: int) -> Message:
    """This session lives on this device, or has ended."""
    members = {
        "type": "session.binding",
        "event_id": derived_id(event_id, "~b"),
        "occurred_at": at,
        "tenant": subject["tenant"],
        "device_id": device_id,
        "session_id": subject["session_id"],
        "principal_id": subject["principal_id"],
        "principal_kind": kind,
        "state": state,
    }
    return message(SESSION_BINDINGS, device_id, members)


def activity(  # noqa: PLR0913, PLR0917 - a message has members
    subject: Mapping[str, str],
    kind: str,
    what: str,
    event_id: str,
    at: int,
    event: Mapping[str, Any],
    used: Sequence[str] = (),
    peaks: Mapping[str, float] | None = None,
    *,
    guess: bool = False,
) -> Message:
    """What a session reveals about its principal: its client, what it *used* first, the most it did.

    With *guess* it is only somebody who failed to sign in.
    """
    suffix = "~f" if what in FACTOR_CHANGES else "~a"
    members = {
        "type": "principal.activity",
        "event_id": derived_id(event_id, suffix),
        "occurred_at": at,
        "tenant": subject["tenant"],
        "session_id": subject["session_id"],
        "principal_id": subject["principal_id"],
        "principal_kind": kind,
        "kind": what,
        **{name: event.get(name) for name in _CLIENT},
        "used": list(used)[:MAX_USED] or None,
        "peaks": peaks or None,
        "guess": guess or None,
    }
    return message(PRINCIPAL_ACTIVITY, subject["principal_id"], members)


def parent_risk(tenant: str, session_id: str, event_id: str, at: int, *, risky: bool) -> Message:
    """Told to a child: its parent's level is above LOW now, or no longer."""
    members = {
        "type": "session.context",
        "event_id": derived_id(event_id, "~r" if risky else "~s"),
        "occurred_at": at,
        "tenant": tenant,
        "session_id": session_id,
        "source": "lineage",
        "signals": ["parent_at_risk"] if risky else [],
    }
    return message(SESSION_CONTEXT, session_id, members)


def lineage(
    tenant: str, session_id: str, relation: str, event_id: str, at: int, *, child: str = "", root: str = ""
) -> Message:
    """Told to a parent: a child was born of you. Told to a child: an ancestor was revoked."""
    members = {
        "type": "session.context",
        "event_id": derived_id(event_id, "~l"),
        "occurred_at": at,
        "tenant": tenant,
        "session_id": session_id,
        "source": "lineage",
        "relation": relation,
        "child_session_id": child or None,
        "root_session_id": root or None,
    }
    return message(SESSION_CONTEXT, session_id, members)
