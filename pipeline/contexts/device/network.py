"""Network of a device: the people who use it are notified when its own telemetry comes from another network.

A person who switches a VPN on takes the device along; a thief of the session does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from models.events.networks import is_inside
from pipeline.contexts.network_names import network_names
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from schemas.records import DeviceTelemetryDict, SessionBindingDict
from schemas.topics import PRINCIPAL_ACTIVITY

MAX_USERS: Final = 4
"""People of one device that are notified, the newest: where a kiosk stands tells nothing about its many users."""


class DeviceUser(NamedTuple):
    """A person's newest session on the device, and the network of which the person was notified last."""

    session_id: str
    notified_of: list[str]


@dataclass(slots=True)
class DeviceNetwork:
    """A device's network by its newest report that has one, at *at* ms of event time, and its *users* by principal."""

    at: int = 0
    ip: str | None = None
    asn: int | None = None
    users: dict[str, DeviceUser] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of the network, number and prefix; empty if no report has any."""
        return network_names(self.ip, self.asn)


def on_report(network: DeviceNetwork, event: DeviceTelemetryDict, out: OutcomeBuilder) -> None:
    """Take the network from a report of the device, if it has one.

    A private address, as an agent reads it from its own interface, is the same in many places and is ignored.
    """
    ip, asn, at = None if is_inside(event["ip"]) else event["ip"], event["asn"], event["occurred_at"]
    names = network_names(ip, asn)
    if not names or at < network.at:
        return
    network.at = at
    if not set(names) & set(network.names):
        network.ip, network.asn = ip, asn
        _notify_users(network, event, out)


def on_session(network: DeviceNetwork, event: SessionBindingDict, out: OutcomeBuilder) -> None:
    """A session begins on the device: notify its principal of the network, unless that is known already."""
    if event["principal_kind"] != "human":
        return
    before = network.users.pop(event["principal_id"], None)
    network.users[event["principal_id"]] = DeviceUser(event["session_id"], before.notified_of if before else [])
    if len(network.users) > MAX_USERS:
        del network.users[next(iter(network.users))]
    _notify_users(network, event, out)


def _notify_users(network: DeviceNetwork, event: DeviceTelemetryDict | SessionBindingDict, out: OutcomeBuilder) -> None:
    for principal_id, user in network.users.items():
        if network.names and not set(network.names) & set(user.notified_of):
            network.users[principal_id] = DeviceUser(user.session_id, network.names)
            fields = {
                "type": "principal.activity",
                "event_id": derived_id(event["event_id"], "~a"),
                "occurred_at": event["occurred_at"],
                "tenant": event["tenant"],
                "session_id": user.session_id,
                "principal_id": principal_id,
                "principal_kind": "human",
                "kind": "device_moved",
                "device_id": event["device_id"],
                "ip": network.ip,
                "asn": network.asn,
            }
            out.send(message(PRINCIPAL_ACTIVITY, principal_id, fields))
