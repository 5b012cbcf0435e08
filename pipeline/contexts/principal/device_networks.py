"""Networks of a principal's devices, by their own telemetry: a session may move to a network where its device is.

An agent reports from a new network within seconds, but a call of the browser from there may arrive earlier. So where
the session's device reports its networks, "unknown network" is held back until the device has had time to follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field

from pipeline.contexts.keyed_processor import AS_IS
from pipeline.contexts.network_names import network_names
from pipeline.processing.messages import derived_id, stable_id
from schemas.records import EventHead, PrincipalActivityDict

WAIT_MS: Final = 30_000
"""How long a device has to follow its session, in event time; the next timer after that sends what was held back."""
_ID_SUFFIX: Final = f"~{stable_id('waited')[:12]}"
"""Distinguishes a message that was held back from the one that followed from the same event at once."""
MAX_DEVICES: Final = 8
MAX_HELD: Final = 8

Release = tuple[EventHead, dict[str, Any]]
"""The event that a held message follows from, and the message's fields beyond those that every message has."""


class HeldMessage(NamedTuple):
    """A context message that waits until *due_at* (ms) for the device to be in one of *networks*."""

    due_at: int
    device_id: str
    networks: list[str]
    event: Annotated[EventHead, AS_IS]
    context: dict[str, Any]


@dataclass(slots=True)
class DeviceNetworks:
    """The network that each device was last in, by its names, and the messages held back, by session."""

    networks: Annotated[dict[str, list[str]], Field(alias="places")] = field(default_factory=dict)
    held: Annotated[dict[str, HeldMessage], Field(alias="waiting")] = field(default_factory=dict)

    def confirms(self, event: PrincipalActivityDict, networks: Sequence[str]) -> bool:
        """Whether the device of *event* reports that it is in one of *networks* itself."""
        return bool(set(self.networks.get(event["device_id"] or "", ())) & set(networks))

    def hold(self, event: PrincipalActivityDict, networks: Sequence[str], context: dict[str, Any]) -> bool:
        """Hold back what *context* says of a session that moved, if its device may follow; returns whether it is held.

        A device that is new to the principal confirms nothing, and a session of which something is held already has
        moved twice.
        """
        session_id, device_id = event["session_id"], event["device_id"] or ""
        moved = event["kind"] == "client_changed" and event["principal_kind"] == "human"
        is_new_network = context["known_asn"] is False and context["known_device"] is True
        if not (moved and is_new_network and device_id in self.networks) or session_id in self.held:
            return False
        if len(self.held) >= MAX_HELD:
            return False
        head: EventHead = {
            "occurred_at": event["occurred_at"],
            "tenant": event["tenant"],
            "session_id": session_id,
            "event_id": derived_id(event["event_id"], _ID_SUFFIX),
        }
        due_at = event["occurred_at"] + WAIT_MS
        self.held[session_id] = HeldMessage(due_at, device_id, list(networks), head, dict(context))
        return True

    def on_device_moved(self, event: PrincipalActivityDict) -> Iterator[Release]:
        """Take a device's new network; returns the messages that waited for it to be there."""
        networks, device_id = network_names(event["ip"], event["asn"]), event["device_id"]
        if not networks or device_id is None:
            return
        self.networks.pop(device_id, None)
        self.networks[device_id] = networks
        if len(self.networks) > MAX_DEVICES:
            del self.networks[next(iter(self.networks))]
        for session_id, held in list(self.held.items()):
            if held.device_id == device_id and set(held.networks) & set(networks):
                del self.held[session_id]
                yield held.event, held.context | {"known_asn": True}

    def overdue(self, at_ms: int) -> Iterator[Release]:
        """The messages that waited in vain until *at_ms*."""
        for session_id, held in list(self.held.items()):
            if held.due_at <= at_ms:
                del self.held[session_id]
                yield held.event, held.context
