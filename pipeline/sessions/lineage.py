"""Session lineage: parents and children of a session, and how a revocation or a risk level reaches the children."""

from __future__ import annotations

from typing import Any

from pipeline.decisions.risk import LEVELS
from pipeline.decisions.risk_state import MAX_CHILDREN, MAX_CHILDREN_BYTES, SessionRiskState
from pipeline.processing.eviction import exceeds
from pipeline.processing.messages import derived_id, lineage, parent_risk, stable_id
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.sessions.slow_path import SlowPathEvent


def follow(current: SlowPathEvent, out: OutcomeBuilder) -> None:
    """Apply what an event says about parent or child sessions, and notify the relatives it concerns."""
    event = current.event
    if event.get("parent_session_id"):
        _announce_child(current, event["parent_session_id"], out)
    if event.get("relation") == "child":
        _parent_of(current, event["child_session_id"], out)
    if event.get("relation") == "ancestor_revoked":
        _ancestor_revoked(current, event["root_session_id"], out)


def notify_children(current: SlowPathEvent, out: OutcomeBuilder) -> None:
    """Notify the children that an ancestor was revoked: this session, or one above it."""
    for child in current.state.children:
        _notify_revoked(current, child, out)


def notify_risk_level(current: SlowPathEvent, out: OutcomeBuilder) -> None:
    """Notify the children that the session's level left LOW or returned to it."""
    for child in current.state.children:
        _notify_risk(current, child, out)


def adopt_child(state: SessionRiskState, tenant: str, event_id: str, at: int, out: OutcomeBuilder) -> None:
    """Hand the children of an expired session to its parent, so that a revocation still reaches them."""
    for child in state.children if state.parent else ():
        text = _relation_of(event_id, child)
        out.send(lineage(tenant, state.parent, "child", text, at, child=child))


def _announce_child(current: SlowPathEvent, parent: str, out: OutcomeBuilder) -> None:
    state, subject = current.state, current.subject
    if state.parent or parent == subject.session_id:
        return
    state.parent = parent
    event_id, child = str(current.event["event_id"]), subject.session_id
    out.send(lineage(subject.tenant, parent, "child", event_id, current.at, child=child))


def _parent_of(current: SlowPathEvent, child: Any, out: OutcomeBuilder) -> None:
    """Add a child; if the session is revoked already, or at risk, the child is notified at once."""
    state = current.state
    if not child or child in state.children:
        return
    state.children.append(child)
    while exceeds(state.children, MAX_CHILDREN, MAX_CHILDREN_BYTES):
        del state.children[0]
        out.count("forgotten_children")
    if state.revocation or (state.ended_at and state.root):
        _notify_revoked(current, child, out)
    elif state.level != LEVELS[0] and not state.ended_at:
        _notify_risk(current, child, out)


def _ancestor_revoked(current: SlowPathEvent, root: Any, out: OutcomeBuilder) -> None:
    """Record which ancestor was revoked. A session that has ended passes it on to its children."""
    state = current.state
    if state.root:
        return
    state.root = root or ""
    if state.ended_at and not state.revocation:
        notify_children(current, out)


def _notify_revoked(current: SlowPathEvent, child: str, out: OutcomeBuilder) -> None:
    root = current.state.root or current.subject.session_id
    event_id = _relation_of(str(current.event["event_id"]), child)
    tenant = current.subject.tenant
    out.send(lineage(tenant, child, "ancestor_revoked", event_id, current.at, root=root))


def _notify_risk(current: SlowPathEvent, child: str, out: OutcomeBuilder) -> None:
    text, risky = _relation_of(str(current.event["event_id"]), child), current.state.level != LEVELS[0]
    out.send(parent_risk(current.subject.tenant, child, text, current.at, risky=risky))


def _relation_of(event_id: str, child: str) -> str:
    return derived_id(event_id, f"~{stable_id(child)[:12]}")
