"""Suppressions of a principal: detections that were called false positives and do not count in any of its sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from pipeline.contexts.keyed_processor import AS_IS
from pipeline.processing.messages import derived_id, message, stable_id, suppression
from pipeline.processing.outcome import OutcomeBuilder
from schemas.records import EventHead, PrincipalActivityDict, SuppressionDict
from schemas.topics import SESSION_CONTEXT

MAX_SUPPRESSIONS: Final = 64
"""Suppressions that a principal has at one time; of more, those that expire first are dropped."""

_ID_SUFFIX: Final = f"~{stable_id('muted')[:12]}"
"""Distinguishes this message from the principal context's other one that follows from the same event."""

Suppressions = Annotated[dict[str, SuppressionDict], AS_IS]
"""Suppressions in force, by id."""


def suppress(
    suppressions: Suppressions, sessions: Iterable[str], event: PrincipalActivityDict, out: OutcomeBuilder
) -> None:
    """Add the suppression in *event*, and notify the live *sessions* of the principal."""
    added = event["suppression"]
    if added is None:
        raise ValueError("an activity of kind 'muted' needs a suppression")
    suppressions[added["suppression_id"]] = added
    by_expiry = sorted(suppressions, key=lambda name: (suppressions[name]["expires_at"], name))
    for surplus in by_expiry[:-MAX_SUPPRESSIONS]:
        _expire(suppressions.pop(surplus), event["occurred_at"], out)
    for session_id in sessions:
        notify(suppressions, event | {"session_id": session_id}, out)


def notify(suppressions: Suppressions, event: EventHead, out: OutcomeBuilder) -> None:
    """Send the suppressed detections to the session of *event*, if there are any."""
    muted: dict[str, int] = {}
    for fields in suppressions.values():
        for detection in fields["detections"] if fields["expires_at"] > event["occurred_at"] else ():
            muted[detection] = max(fields["expires_at"], muted.get(detection, 0))
    if muted:
        context = {
            "type": "session.context",
            "event_id": derived_id(event["event_id"], _ID_SUFFIX),
            "occurred_at": event["occurred_at"],
            "tenant": event["tenant"],
            "session_id": event["session_id"],
            "source": "feedback",
            "muted": _longest(muted),
        }
        out.send(message(SESSION_CONTEXT, event["session_id"], context))


def expire(suppressions: Suppressions, at_ms: int, out: OutcomeBuilder) -> bool:
    """Drop and announce what has expired at *at_ms*; returns whether anything has."""
    expired = [name for name, fields in suppressions.items() if fields["expires_at"] <= at_ms]
    for name in expired:
        fields = suppressions.pop(name)
        _expire(fields, fields["expires_at"], out)
    return bool(expired)


def _longest(muted: dict[str, int]) -> dict[str, int]:
    """As many detections as a message carries: those that are suppressed longest."""
    longest = sorted(muted, key=lambda name: (-muted[name], name))[:MAX_SUPPRESSIONS]
    return {name: muted[name] for name in sorted(longest)}


def _expire(fields: SuppressionDict, at_ms: int, out: OutcomeBuilder) -> None:
    out.count("suppressions", "expired")
    out.send(suppression({**fields, "state": "expired", "occurred_at": at_ms, "expires_at": at_ms}))
