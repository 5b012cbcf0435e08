"""Attempts to authenticate, told to the network they came from."""

from __future__ import annotations

from typing import Any, Final

from models.batch import Kind
from models.fold import Folded
from models.networks import network_of
from pipeline.outbox import Outbox
from pipeline.outputs import derived_id, keyed
from schemas.topics import NETWORK_ACTIVITY

TOLD: Final = frozenset({"sign_in", "sign_in_failed", "mfa_passed", "mfa_denied", "mfa_failed"})
"""What shows whether somebody got in or did not; everything else happens to those who are in."""


def tell_networks(folded: Folded, out: Outbox) -> None:
    """Every attempt in the chunk, in order of arrival; API calls never."""
    if folded.batch.kind is not Kind.AUTH:
        return
    for event in folded.batch.events:
        network = network_of(event) if event["action"] in TOLD else None
        if network is not None:
            _tell(event, network, out)


def _tell(event: dict[str, Any], network: str, out: Outbox) -> None:
    names = ("tenant", "session_id", "principal_id", "principal_kind", "action", "network_type", "ja4")
    members = {
        "type": "network.activity", "event_id": derived_id(event["event_id"], "~n"), "network": network,
        "occurred_at": event["occurred_at"], **{name: event[name] for name in names},
    }  # fmt: skip
    out.send(keyed(NETWORK_ACTIVITY, network, members))
