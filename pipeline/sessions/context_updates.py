"""Messages from sessions to contexts: attempts to authenticate for networks, names used for principals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.events.batch import Kind
from models.events.networks import network_of
from models.events.operations import is_guarded
from models.updates.fold import Folded
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from schemas.topics import NETWORK_ACTIVITY

GRANTING: Final = ("sign_in", "token_issued", "token_exchanged")
"""Auth actions whose scopes count; a refresh repeats them."""


def used_names(event: Mapping[str, Any], *, modelled: bool = True) -> list[str]:
    """The scopes that an auth event grants, or the scope, operation and tool of a call that reaches for more.

    *modelled*: whether the model knows the call.
    """
    if event["type"] == "auth.event":
        granted = event["scopes"] if event["action"] in GRANTING else None
        return [f"scope:{scope}" for scope in granted or ()]
    names = []
    if event["scope"] is not None:
        names.append(f"scope:{event['scope']}")
    sensitive = is_guarded(event["operation"], event["sensitivity"])
    with_tool = event["tool"] is not None and event["principal_kind"] == "agent"
    if sensitive:
        names.append(f"operation:{event['operation']}")
    if with_tool:
        names.append(f"tool:{event['tool']}")
    if (sensitive or with_tool) and not modelled:
        names.append(f"unheard:{event['operation']}")
    return names


ATTEMPTS: Final = frozenset({"sign_in", "sign_in_failed", "mfa_passed", "mfa_denied", "mfa_failed"})
"""Auth actions that show whether somebody signed in or failed to; all others follow a sign-in."""


def notify_network_contexts(folded: Folded, out: OutcomeBuilder) -> None:
    """Send every attempt in the chunk to its network's context, in order of arrival."""
    if folded.batch.kind is not Kind.AUTH:
        return
    for event in folded.batch.events:
        network = network_of(event) if event["action"] in ATTEMPTS else None
        if network is not None:
            _notify(event, network, out)


def _notify(event: Mapping[str, Any], network: str, out: OutcomeBuilder) -> None:
    names = ("tenant", "session_id", "principal_id", "principal_kind", "action", "network_type", "ja4")
    members = {
        "type": "network.activity",
        "event_id": derived_id(event["event_id"], "~n"),
        "network": network,
        "occurred_at": event["occurred_at"],
        **{name: event[name] for name in names},
    }
    out.send(message(NETWORK_ACTIVITY, network, members))
