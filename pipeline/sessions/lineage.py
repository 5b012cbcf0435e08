"""Parents and children among sessions: who was born of whom, and who has to hear that an ancestor fell."""

from __future__ import annotations

from typing import Any

from pipeline.decisions.risk import LEVELS
from pipeline.decisions.risk_state import MAX_CHILDREN, MAX_CHILDREN_BYTES, SessionRiskState
from pipeline.processing.eviction import exceeds
from pipeline.processing.messages import derived_id, lineage, parent_risk, stable_id
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.sessions.slow_path import SlowPathEvent


def follow(sight: SlowPathEvent, out: OutcomeBuilder) -> None:
    """Take what an event says of its session's relatives, and tell those who have to know."""
    event = sight.event
    if event.get("parent_session_id"):
        _announce_birth(sight, event["parent_session_id"], out)
    if event.get("relation") == "child":
        _parent_of(sight, event["child_session_id"], out)
    if event.get("relation") == "ancestor_revoked":
        _ancestor_revoked(sight, event["root_session_id"], out)


def notify_children(sight: SlowPathEvent, out: OutcomeBuilder) -> None:
    """An ancestor of theirs fell: the session itself, or one above it."""
    for child in sight.case.children:
        _notify_revoked(sight, child, out)


def notify_risk_level(sight: SlowPathEvent, out: OutcomeBuilder) -> None:
    """The session's level left LOW, or came back to it: its children act for somebody at risk, or no more."""
    for child in sight.case.children:
        _notify_risk(sight, child, out)


def adopt_child(case: SessionRiskState, tenant: str, event_id: str, at: int, out: OutcomeBuilder) -> None:
    """A session is forgotten: its parent takes its children, so that a fall goes on to reach them."""
    for child in case.children if case.parent else ():
        text = _relation_of(event_id, child)
        out.send(lineage(tenant, case.parent, "child", text, at, child=child))


def _announce_birth(sight: SlowPathEvent, parent: str, out: OutcomeBuilder) -> None:
    case, subject = sight.case, sight.subject
    if case.parent or parent == subject.session_id:
        return
    case.parent = parent
    event_id, child = str(sight.event["event_id"]), subject.session_id
    out.send(lineage(subject.tenant, parent, "child", event_id, sight.at, child=child))


def _parent_of(sight: SlowPathEvent, child: Any, out: OutcomeBuilder) -> None:
    """Remember a child; one that comes after the fall hears of it at once."""
    case = sight.case
    if not child or child in case.children:
        return
    case.children.append(child)
    while exceeds(case.children, MAX_CHILDREN, MAX_CHILDREN_BYTES):
        del case.children[0]
        out.count("forgotten_children")
    if case.revocation or (case.ended_at and case.root):
        _notify_revoked(sight, child, out)
    elif case.level != LEVELS[0] and not case.ended_at:
        _notify_risk(sight, child, out)


def _ancestor_revoked(sight: SlowPathEvent, root: Any, out: OutcomeBuilder) -> None:
    """A session that has ended has nothing to lose; its children have."""
    case = sight.case
    if case.root:
        return
    case.root = root or ""
    if case.ended_at and not case.revocation:
        notify_children(sight, out)


def _notify_revoked(sight: SlowPathEvent, child: str, out: OutcomeBuilder) -> None:
    root = sight.case.root or sight.subject.session_id
    event_id = _relation_of(str(sight.event["event_id"]), child)
    tenant = sight.subject.tenant
    out.send(lineage(tenant, child, "ancestor_revoked", event_id, sight.at, root=root))


def _notify_risk(sight: SlowPathEvent, child: str, out: OutcomeBuilder) -> None:
    text, risky = _relation_of(str(sight.event["event_id"]), child), sight.case.level != LEVELS[0]
    out.send(parent_risk(sight.subject.tenant, child, text, sight.at, risky=risky))


def _relation_of(event_id: str, child: str) -> str:
    return derived_id(event_id, f"~{stable_id(child)[:12]}")
