"""Parents and children among sessions: who was born of whom, and who has to hear that an ancestor fell."""

from __future__ import annotations

from typing import Any

from pipeline.decisions.risk import LEVELS
from pipeline.decisions.risk_state import CHILDREN, CHILDREN_BYTES, Case
from pipeline.processing.eviction import are_too_many
from pipeline.processing.messages import derived_id, relative, stable_id, under_risk
from pipeline.processing.outcome import Outbox
from pipeline.sessions.slow_path import Sight


def follow(sight: Sight, out: Outbox) -> None:
    """Take what an event says of its session's relatives, and tell those who have to know."""
    event = sight.event
    if event.get("parent_session_id"):
        _born(sight, event["parent_session_id"], out)
    if event.get("relation") == "child":
        _parent_of(sight, event["child_session_id"], out)
    if event.get("relation") == "ancestor_revoked":
        _ancestor_fell(sight, event["root_session_id"], out)


def tell_children(sight: Sight, out: Outbox) -> None:
    """An ancestor of theirs fell: the session itself, or one above it."""
    for child in sight.case.children:
        _tell(sight, child, out)


def tell_level(sight: Sight, out: Outbox) -> None:
    """The session's level left LOW, or came back to it: its children act for somebody at risk, or no more."""
    for child in sight.case.children:
        _tell_risk(sight, child, out)


def adopt(case: Case, tenant: str, event_id: str, at: int, out: Outbox) -> None:
    """A session is forgotten: its parent takes its children, so that a fall goes on to reach them."""
    for child in case.children if case.parent else ():
        told = _told_about(event_id, child)
        out.send(relative(tenant, case.parent, "child", told, at, child=child))


def _born(sight: Sight, parent: str, out: Outbox) -> None:
    case, who = sight.case, sight.who
    if case.parent or parent == who["session_id"]:
        return
    case.parent = parent
    event_id, child = str(sight.event["event_id"]), who["session_id"]
    out.send(relative(who["tenant"], parent, "child", event_id, sight.at, child=child))


def _parent_of(sight: Sight, child: Any, out: Outbox) -> None:
    """Remember a child; one that comes after the fall hears of it at once."""
    case = sight.case
    if not child or child in case.children:
        return
    case.children.append(child)
    while are_too_many(case.children, CHILDREN, CHILDREN_BYTES):
        del case.children[0]
        out.count("forgotten_children")
    if case.revocation or (case.ended_at and case.root):
        _tell(sight, child, out)
    elif case.level != LEVELS[0] and not case.ended_at:
        _tell_risk(sight, child, out)


def _ancestor_fell(sight: Sight, root: Any, out: Outbox) -> None:
    """A session that has ended has nothing to lose; its children have."""
    case = sight.case
    if case.root:
        return
    case.root = root or ""
    if case.ended_at and not case.revocation:
        tell_children(sight, out)


def _tell(sight: Sight, child: str, out: Outbox) -> None:
    root = sight.case.root or sight.who["session_id"]
    event_id = _told_about(str(sight.event["event_id"]), child)
    tenant = sight.who["tenant"]
    out.send(relative(tenant, child, "ancestor_revoked", event_id, sight.at, root=root))


def _tell_risk(sight: Sight, child: str, out: Outbox) -> None:
    told, risky = _told_about(str(sight.event["event_id"]), child), sight.case.level != LEVELS[0]
    out.send(under_risk(sight.who["tenant"], child, told, sight.at, risky=risky))


def _told_about(event_id: str, child: str) -> str:
    return derived_id(event_id, f"~{stable_id(child)[:12]}")
