"""Where a device itself is: the people who use it hear when its own telemetry comes from another network.

A person who switches a tunnel on takes the device along; a thief of the session does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from models.events.networks import is_inside
from pipeline.contexts.principal.known_attributes import networks_of
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from schemas.topics import PRINCIPAL_ACTIVITY

MOST_USERS: Final = 4
"""People of one device that hear of it, those who came last: a kiosk's are not told by where it stands."""


@dataclass(slots=True)
class Place:
    """A device's network by its own newest report that told one, at *at* ms of event time.

    *users* maps the people with sessions here to ``[session, networks last told]``.
    """

    at: int = 0
    ip: str | None = None
    asn: int | None = None
    users: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def networks(self) -> list[str]:
        """The network by its names, number and prefix; empty where no report told any."""
        return networks_of(self.ip, self.asn)


def reported(place: Place, event: Mapping[str, Any], out: OutcomeBuilder) -> None:
    """A report of the device: it tells where it came from, or leaves that open.

    An address of the inside, as an agent reads it off its own interface, is the same in many places.
    """
    ip, asn, at = None if is_inside(event["ip"]) else event["ip"], event["asn"], event["occurred_at"]
    lines = networks_of(ip, asn)
    if not lines or at < place.at:
        return
    place.at = at
    if not set(lines) & set(place.networks):
        place.ip, place.asn = ip, asn
        _tell_users(place, event, out)


def used(place: Place, event: Mapping[str, Any], out: OutcomeBuilder) -> None:
    """A session begins on the device: its principal hears where that is, unless nothing changed since."""
    if event["principal_kind"] != "human":
        return
    _, before = place.users.pop(event["principal_id"], ["", []])
    place.users[event["principal_id"]] = [event["session_id"], before]
    if len(place.users) > MOST_USERS:
        del place.users[next(iter(place.users))]
    _tell_users(place, event, out)


def _tell_users(place: Place, event: Mapping[str, Any], out: OutcomeBuilder) -> None:
    for principal_id, (session_id, before) in place.users.items():
        if place.networks and not set(place.networks) & set(before):
            place.users[principal_id] = [session_id, place.networks]
            members = {
                "type": "principal.activity",
                "event_id": derived_id(event["event_id"], "~a"),
                "occurred_at": event["occurred_at"],
                "tenant": event["tenant"],
                "session_id": session_id,
                "principal_id": principal_id,
                "principal_kind": "human",
                "kind": "device_moved",
                "device_id": event["device_id"],
                "ip": place.ip,
                "asn": place.asn,
            }
            out.send(message(PRINCIPAL_ACTIVITY, principal_id, members))
