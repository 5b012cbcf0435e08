"""A principal's sessions beside each other: which live on devices that are not the principal's own."""

from __future__ import annotations

from typing import Any, Final, Protocol

from models.columns import network_name
from pipeline.baseline import brief

CROWD: Final = 4
"""So many at once on devices not the principal's own all hear of each other."""
MOST_TOLD: Final = 50
"""Sessions that one growth of a crowd is told to, the newest."""


class Companions(Protocol):
    """What is asked of a principal's state; see :class:`pipeline.principal.PrincipalState`."""

    sessions_seen: int
    live: dict[str, list[Any]]
    crowd: int
    habits: dict[str, dict[str, list[Any]]]


def brief_network(event: dict[str, Any]) -> str:
    """The event's network in a few characters."""
    name = network_name(event["ip"], event["asn"])
    return brief(name) if name else ""


def strange(principal: Companions) -> list[str]:
    """The networks of live sessions on no device that is the principal's own; empty where not known."""
    return [network for _, network, is_alien, _ in principal.live.values() if is_alien]


def beside(principal: Companions, session_id: str) -> dict[str, int]:
    """What a session is told of those on no device of the principal's own: nothing, if it is on one."""
    _, _, is_alien, _ = principal.live[session_id]
    networks = strange(principal) if is_alien else []
    return {"strange_sessions": len(networks), "strange_networks": len({one for one in networks if one})}


def growing(principal: Companions, newest: str) -> list[str]:
    """Who besides the *newest* has to hear that there are more at once than ever since they were few.

    A large crowd has to grow by an eighth, so that what is said stays in proportion to the sessions.
    """
    among = [name for name, (_, _, is_alien, _) in principal.live.items() if is_alien]
    if len(among) < CROWD or len(among) <= principal.crowd * 9 // 8:
        return []
    principal.crowd = len(among)
    return [name for name in among if name != newest][-MOST_TOLD:]


def dispersed(principal: Companions) -> None:
    """A session ended: where few are left, the next crowd is a new one."""
    if principal.crowd and len(strange(principal)) < CROWD:
        principal.crowd = 0


def is_strange(principal: Companions, event: dict[str, Any]) -> bool:
    """Whether the session is on no device of the principal's own: none, a new one, or another stranger's."""
    known = principal.habits["device"].get(event["device_id"])
    if known is None or known[1] == event["session_id"]:
        return principal.sessions_seen > 1 or event["device_id"] is None
    teacher = principal.live.get(known[1])
    return bool(teacher and teacher[2])
