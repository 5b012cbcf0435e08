"""What was called a false positive of a principal, and is quiet in all of its sessions until it expires."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pipeline.processing.messages import derived_id, message, stable_id, suppression
from pipeline.processing.outcome import OutcomeBuilder
from schemas.topics import SESSION_CONTEXT

MOST: Final = 64
"""Suppressions a principal has at one time; above it, those that expire first make room."""

_ABOUT_MUTED: Final = f"~{stable_id('muted')[:12]}"
"""Tells the message from the principal context's other one about the same event."""

Suppressions = dict[str, dict[str, Any]]
"""What was said of each when it was created, by its id."""


def suppress(held: Suppressions, live: Iterable[str], event: dict[str, Any], out: OutcomeBuilder) -> None:
    """Hold another suppression, and let the sessions that live hear of it."""
    details = event["suppression"]
    held[details["suppression_id"]] = details
    for sooner in sorted(held, key=lambda name: (held[name]["expires_at"], name))[:-MOST]:
        _expire(held.pop(sooner), event["occurred_at"], out)
    for session_id in live:
        repeat(held, {**event, "session_id": session_id}, out)


def repeat(held: Suppressions, event: dict[str, Any], out: OutcomeBuilder) -> None:
    """Tell the session of *event* what keeps quiet, if anything does."""
    muted: dict[str, int] = {}
    for fields in held.values():
        for detection in fields["detections"] if fields["expires_at"] > event["occurred_at"] else ():
            muted[detection] = max(fields["expires_at"], muted.get(detection, 0))
    if muted:
        members = {
            "type": "session.context",
            "event_id": derived_id(event["event_id"], _ABOUT_MUTED),
            "occurred_at": event["occurred_at"],
            "tenant": event["tenant"],
            "session_id": event["session_id"],
            "source": "feedback",
            "muted": _fewest(muted),
        }
        out.send(message(SESSION_CONTEXT, event["session_id"], members))


def expire(held: Suppressions, at: int, out: OutcomeBuilder) -> bool:
    """Drop and announce what has expired by *at*, ms; whether anything has."""
    over = [this_name for this_name in held if held[this_name]["expires_at"] <= at]
    for name in over:
        fields = held.pop(name)
        _expire(fields, fields["expires_at"], out)
    return bool(over)


def _fewest(muted: dict[str, int]) -> dict[str, int]:
    """As many as a message carries, those that last longest."""
    longest = sorted(muted, key=lambda name: (-muted[name], name))[:MOST]
    return {this_name: muted[this_name] for this_name in sorted(longest)}


def _expire(fields: dict[str, Any], at: int, out: OutcomeBuilder) -> None:
    out.count("suppressions", "expired")
    out.send(suppression({**fields, "state": "expired", "occurred_at": at, "expires_at": at}))
