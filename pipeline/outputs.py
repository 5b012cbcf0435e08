"""The messages that leave a scorer: each function makes a record of a conclusion, in the contract's words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from models.columns import FACTOR_CHANGES
from models.features import FEATURE_SET
from pipeline.case import Case
from pipeline.escalation import UNCONFIRMED, UNCONFIRMED_TEXT, is_unconfirmed
from pipeline.moment import Decision, stable_id
from pipeline.reasons import MODEL_TEXT
from pipeline.rules import ATTACK_VERSION, BIT, RULES, Rule
from pipeline.stage import Message
from schemas.decode import encode
from schemas.topics import (
    PRINCIPAL_ACTIVITY,
    SESSION_BINDINGS,
    SESSION_CHALLENGES,
    SESSION_CONTEXT,
    SESSION_FEATURES,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    SESSION_SHADOW,
    SUPPRESSIONS,
)

SEVERITY_ID: Final = {"LOW": 2, "MEDIUM": 3, "HIGH": 4}
CRITICAL: Final = 5
RISK_LEVEL_ID: Final = {"LOW": 1, "MEDIUM": 2, "HIGH": 3}
CREATE, UPDATE, CLOSE = 1, 2, 3
MOST_USED: Final = 64
"""Names that one message tells of."""
_CLIENT: Final = (
    "device_id", "ip", "asn", "country", "latitude", "longitude", "network_type", "user_agent", "ja4",
    "workload", "home_asn", "home_prefix",
)  # fmt: skip
MOST_ID: Final = 128
"""Characters of an event's id, as the contract has it."""
_DERIVED: Final = re.compile(r"(~[abdflnprsw]|~[0-9a-f]{12})+$")
_OVER_TEXT: Final = "The episode is over: the session is trusted again, or has ended."


@dataclass(frozen=True, slots=True)
class Stamp:
    """Under what a decision was made: wall clock in ms, model, policy, mode."""

    now_ms: int
    model: str
    policy: str
    mode: str


def keyed(topic: str, key: str, members: Mapping[str, Any]) -> Message:
    """A record of *topic* under *key*."""
    return Message(topic, key.encode(), encode(members))


def _who(who: Mapping[str, str], kind: str) -> dict[str, Any]:
    return {
        "tenant": who["tenant"],
        "session_id": who["session_id"],
        "principal_id": who["principal_id"] or None,
        "principal_kind": kind or None,
        "device_id": who["device_id"] or None,
    }


def risk(
    who: Mapping[str, str],
    kind: str,
    decision: Decision,
    told: list[dict[str, Any]],
    cause: str,
    at: int,
    stamp: Stamp,
) -> Message:
    """The decision, for SOC and SIEM."""
    members = {
        "decision_id": decision.decision_id, **_who(who, kind), "caused_by": cause, "occurred_at": at,
        "decided_at": stamp.now_ms, "score": decision.score, "level": decision.level,
        "previous_level": decision.previous, "action": decision.action, "mode": stamp.mode,
        "suppressed": decision.suppressed[:512] or None, "model": stamp.model, "policy": stamp.policy,
        "reasons": told, "learning": decision.learning or None,
    }  # fmt: skip
    return keyed(SESSION_RISK, who["session_id"], members)


def command(
    who: Mapping[str, str], kind: str, decision: Decision, root: str, deadline: int, stamp: Stamp
) -> dict[str, Any]:
    """What revocations and challenges share."""
    named = [RULES[BIT[detection]] for detection in decision.detections]
    return {
        **_who(who, kind),
        "root_session_id": root or who["session_id"],
        "decision_id": decision.decision_id,
        "reason_admin": " ".join(rule.text for rule in named)[:512] or MODEL_TEXT,
        "reason_user": named[0].user_text if named else "Unusual activity: please confirm it is you.",
        "detections": list(decision.detections),
        "score": decision.score,
        "decided_at": stamp.now_ms,
        "deadline": deadline,
    }


def revocation(members: Mapping[str, Any]) -> Message:
    """The command: end this session."""
    return keyed(SESSION_REVOCATIONS, members["session_id"], members)


def challenge(members: Mapping[str, Any]) -> Message:
    """The command: step this session up."""
    return keyed(SESSION_CHALLENGES, members["session_id"], members)


def finding(  # noqa: PLR0913 - a message has members
    who: Mapping[str, str], case: Case, decision: Decision, told: list[dict[str, Any]], activity: int,
    at: int, stamp: Stamp, *, detail: str = "",
) -> Message:  # fmt: skip
    """An OCSF Detection Finding (class 2004): create, update or close; *detail* tells why its status is."""
    named = [RULES[BIT[detection]] for detection in decision.detections]
    alarm = is_unconfirmed(case) and activity != CLOSE
    status = 4 if activity == CLOSE else 3 if decision.suppressed and not alarm else activity
    title = UNCONFIRMED_TEXT if alarm else _title(named, activity)
    actor: dict[str, Any] = {"session": {"uid": who["session_id"]}}
    if who["principal_id"]:
        actor["user"] = {"uid": who["principal_id"], "type_id": 99}
    evidence: dict[str, Any] = {"actor": actor}
    if who["device_id"]:
        evidence["device"] = {"uid": who["device_id"], "type_id": 0}
    members = {
        "category_uid": 2, "class_uid": 2004, "type_uid": 200400 + activity, "activity_id": activity,
        "status_id": status, "severity_id": CRITICAL if alarm else SEVERITY_ID[decision.level], "time": at,
        "start_time": case.finding_at, "status_detail": detail or None,
        "message": title, "is_alert": activity != CLOSE,
        "metadata": {
            "version": "1.8.0", "uid": stable_id(case.finding, activity, decision.decision_id),
            "correlation_uid": decision.decision_id, "tenant_uid": who["tenant"],
            "product": {"name": "session-risk", "vendor_name": "session-risk"},
        },
        "finding_info": {
            "uid": case.finding, "title": title, "types": [UNCONFIRMED] * alarm + decision.detections,
            "created_time": case.finding_at, "modified_time": at,
            "attacks": [
                {"version": ATTACK_VERSION, "technique": {"uid": technique}}
                for technique in dict.fromkeys(t for rule in named for t in rule.attack)
            ],
        },
        "risk_level_id": RISK_LEVEL_ID[decision.level], "risk_score": round(decision.score),
        "evidences": [{**evidence, "data": reason} for reason in told] or [evidence],
        "unmapped": {
            "session_id": who["session_id"], "tenant": who["tenant"], "decision_id": decision.decision_id,
            "action": decision.action, "mode": stamp.mode, "model": stamp.model, "policy": stamp.policy,
        },
    }  # fmt: skip
    return keyed(SESSION_FINDINGS, who["session_id"], members)


def _title(named: Sequence[Rule], activity: int) -> str:
    if named:
        return named[0].text
    return _OVER_TEXT if activity == CLOSE else MODEL_TEXT


def shadow(who: Mapping[str, str], opinions: Mapping[str, Any], at: int, stamp: Stamp) -> Message:
    """What a challenger would decide, beside the champion."""
    members = {
        "tenant": who["tenant"], "session_id": who["session_id"], "principal_id": who["principal_id"] or None,
        "occurred_at": at, "decided_at": stamp.now_ms, "policy": stamp.policy, **opinions,
    }  # fmt: skip
    return keyed(SESSION_SHADOW, who["session_id"], members)


def suppression(members: Mapping[str, Any]) -> Message:
    """A false positive keeps quiet, no longer does, or was not allowed to."""
    return keyed(SUPPRESSIONS, members["session_id"], members)


def muted(who: Mapping[str, str], kind: str, event_id: str, at: int, told: Mapping[str, Any]) -> Message:
    """Told to a principal: what keeps quiet in all of its sessions, as `suppression` said it."""
    members = {
        "type": "principal.activity", "event_id": derived_id(event_id, "~a"), "occurred_at": at,
        "tenant": who["tenant"], "session_id": who["session_id"], "principal_id": who["principal_id"],
        "principal_kind": kind, "kind": "muted", "suppression": told,
    }  # fmt: skip
    return keyed(PRINCIPAL_ACTIVITY, who["principal_id"], members)


def features(
    who: Mapping[str, str], kind: str, event_id: str, at: int, scored: Mapping[str, Any], stamp: Stamp
) -> Message:  # fmt: skip
    """The vector that was scored, exactly, for retraining: its level, role and values."""
    members = {
        "tenant": who["tenant"], "session_id": who["session_id"], "principal_kind": kind or None,
        "event_id": event_id, "occurred_at": at, "scored_at": stamp.now_ms, "model": stamp.model,
        "policy": stamp.policy, "feature_set": FEATURE_SET, **scored,
    }  # fmt: skip
    return keyed(SESSION_FEATURES, who["session_id"], members)


def derived_id(event_id: str, suffix: str) -> str:
    """The id of what follows from an event: short enough for the contract, the same when it follows again."""
    return event_id + suffix if len(event_id) + len(suffix) <= MOST_ID else stable_id(event_id) + suffix


def origin(event_id: str) -> str:
    """The producer's event that an id was derived from, as far as it still shows: what analysts look up."""
    return _DERIVED.sub("", event_id) or event_id


def binding(who: Mapping[str, str], kind: str, device_id: str, state: str, event_id: str, at: int) -> Message:
    """This session lives on this device, or has ended."""
    members = {
        "type": "session.binding", "event_id": derived_id(event_id, "~b"), "occurred_at": at,
        "tenant": who["tenant"], "device_id": device_id, "session_id": who["session_id"],
        "principal_id": who["principal_id"], "principal_kind": kind, "state": state,
    }  # fmt: skip
    return keyed(SESSION_BINDINGS, device_id, members)


def activity(  # noqa: PLR0913, PLR0917 - a message has members
    who: Mapping[str, str], kind: str, what: str, event_id: str, at: int, event: Mapping[str, Any],
    used: Sequence[str] = (), peaks: Mapping[str, float] | None = None, *, guess: bool = False,
) -> Message:  # fmt: skip
    """What a session reveals about its principal: its client, what it *used* first, the most it did.

    With *guess* it is only somebody who failed to sign in.
    """
    suffix = "~f" if what in FACTOR_CHANGES else "~a"
    members = {
        "type": "principal.activity", "event_id": derived_id(event_id, suffix), "occurred_at": at,
        "tenant": who["tenant"], "session_id": who["session_id"], "principal_id": who["principal_id"],
        "principal_kind": kind, "kind": what, **{name: event.get(name) for name in _CLIENT},
        "used": list(used)[:MOST_USED] or None, "peaks": peaks or None, "guess": guess or None,
    }  # fmt: skip
    return keyed(PRINCIPAL_ACTIVITY, who["principal_id"], members)


def under_risk(tenant: str, session_id: str, event_id: str, at: int, *, risky: bool) -> Message:
    """Told to a child: its parent's level is above LOW now, or no longer."""
    members = {
        "type": "session.context", "event_id": derived_id(event_id, "~r" if risky else "~s"),
        "occurred_at": at, "tenant": tenant, "session_id": session_id, "source": "lineage",
        "signals": ["parent_at_risk"] if risky else [],
    }  # fmt: skip
    return keyed(SESSION_CONTEXT, session_id, members)


def relative(
    tenant: str, session_id: str, relation: str, event_id: str, at: int, *, child: str = "", root: str = ""
) -> Message:
    """Told to a parent: a child was born of you. Told to a child: an ancestor was revoked."""
    members = {
        "type": "session.context", "event_id": derived_id(event_id, "~l"), "occurred_at": at,
        "tenant": tenant, "session_id": session_id, "source": "lineage", "relation": relation,
        "child_session_id": child or None, "root_session_id": root or None,
    }  # fmt: skip
    return keyed(SESSION_CONTEXT, session_id, members)
