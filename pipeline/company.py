"""A principal's sessions beside each other: which live on devices that are not the principal's own."""

from __future__ import annotations

from typing import Any, Protocol

from models.columns import network_name
from pipeline.baseline import brief


class Companions(Protocol):
    """What is asked of a principal's state; see :class:`pipeline.principal.PrincipalState`."""

    sessions_seen: int
    live: dict[str, list[Any]]
    habits: dict[str, dict[str, list[Any]]]


def brief_network(event: dict[str, Any]) -> str:
    """The event's network in a few characters."""
    name = network_name(event["ip"], event["asn"])
    return brief(name) if name else ""


def strange(principal: Companions) -> list[str]:
    """The networks of live sessions on no device that is the principal's own; empty where not known."""
    return [network for _, network, is_alien, _ in principal.live.values() if is_alien]


def is_strange(principal: Companions, event: dict[str, Any]) -> bool:
    """Whether the session is on no device of the principal's own: none, a new one, or another stranger's."""
    known = principal.habits["device"].get(event["device_id"])
    if known is None or known[1] == event["session_id"]:
        return principal.sessions_seen > 1 or event["device_id"] is None
    teacher = principal.live.get(known[1])
    return bool(teacher and teacher[2])
