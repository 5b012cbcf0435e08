"""A principal's sessions beside each other: which live on devices that are not the principal's own."""

from __future__ import annotations

from typing import Any, Final, Protocol

from models.events.columns import network_name
from pipeline.contexts.principal.baseline import brief
from pipeline.contexts.principal.device_networks import Devices
from pipeline.contexts.principal.known_attributes import networks_of

CROWD: Final = 4
"""So many at once on devices not the principal's own all hear of each other."""
OWN, STRANGE, VOUCHED = 0, 1, 2
"""A session on a device of the principal's own; on none such; on a new one that is where it says."""
MOST_TOLD: Final = 50
"""Sessions that one growth of a crowd is told to, the newest."""


class Companions(Protocol):
    """What is asked of a principal's state; see :class:`pipeline.contexts.principal.processor.PrincipalState`."""

    sessions_seen: int
    live: dict[str, list[Any]]
    crowd: int
    habits: dict[str, dict[str, list[Any]]]
    devices: Devices


def brief_network(event: dict[str, Any]) -> str:
    """The event's network in a few characters."""
    name = network_name(event["ip"], event["asn"])
    return brief(name) if name else ""


def unfamiliar_sessions(principal: Companions) -> list[str]:
    """The networks of live sessions on no device that is the principal's own; empty where not known."""
    # Asked of every event, over as many as a thousand: by index, which is twice as fast as by name.
    return [item[1] for item in principal.live.values() if item[2]]


def concurrent_counts(principal: Companions, session_id: str) -> dict[str, int]:
    """What a session is told of those on no device of the principal's own: nothing, if it is on one."""
    networks = unfamiliar_sessions(principal) if principal.live[session_id][2] == STRANGE else []
    return {
        "strange_sessions": len(networks),
        "strange_networks": len({network for network in networks if network}),
    }


def growing_crowd(principal: Companions, newest: str) -> list[str]:
    """Who besides the *newest* has to hear that there are more at once than ever since they were few.

    A large crowd has to grow by an eighth, so that what is said stays in proportion to the sessions.
    """
    size = len(unfamiliar_sessions(principal))
    if size < CROWD or size <= principal.crowd * 9 // 8:
        return []
    principal.crowd = size
    among = [name for name, (_, _, standing, _) in principal.live.items() if standing == STRANGE]
    return [name for name in among if name != newest][-MOST_TOLD:]


def dispersed(principal: Companions) -> None:
    """A session ended: where few are left, the next crowd is a new one."""
    if principal.crowd and len(unfamiliar_sessions(principal)) < CROWD:
        principal.crowd = 0


def device_familiarity(principal: Companions, event: dict[str, Any]) -> int:
    """Whether the session is on a device of the principal's own.

    If not, it is on none, on a new one, or on another stranger's. One that reports from where the session is
    used is managed: it counts among the strange ones, but its session need not answer for the others.
    """
    known = principal.habits["device"].get(event["device_id"])
    if known is None or known[1] == event["session_id"]:
        is_strange = principal.sessions_seen > 1 or event["device_id"] is None
    else:
        teacher = principal.live.get(known[1])
        is_strange = bool(teacher and teacher[2] == STRANGE)
    with_device = principal.devices.are_with(event, networks_of(event["ip"], event["asn"]))
    return (VOUCHED if with_device else STRANGE) if is_strange else OWN


def confirm_device(principal: Companions, event: dict[str, Any]) -> None:
    """A session's device says where it is: the session is not strange if that is where it is used."""
    live = principal.live.get(event["session_id"])
    if live and live[2] == STRANGE and live[1] == brief_network(event):
        live[2] = VOUCHED
