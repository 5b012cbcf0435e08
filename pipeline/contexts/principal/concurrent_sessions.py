"""Concurrent sessions of a principal: which of them live on devices that are not the principal's own."""

from __future__ import annotations

from typing import Final

from models.events.networks import network_name
from pipeline.contexts.network_names import network_names
from pipeline.contexts.principal.baseline import short_id
from pipeline.contexts.principal.state import DeviceFamiliarity, PrincipalState
from schemas.records import PrincipalActivityDict

MIN_UNFAMILIAR: Final = 4
"""From so many concurrent sessions on unfamiliar devices on, all of them are notified of each other."""
MAX_NOTIFIED: Final = 50
"""Sessions that are notified when their number grows: the newest."""


def short_network(event: PrincipalActivityDict) -> str:
    """The network of *event* in a few characters, "" if it has none."""
    name = network_name(event["ip"], event["asn"])
    return short_id(name) if name else ""


def unfamiliar_networks(principal: PrincipalState) -> list[str]:
    """The network of each live session that is not on the principal's own device; "" where it is not known."""
    # Called for every event, over as many as a thousand sessions: unpacking is twice as fast as reading by name.
    return [network for _, network, familiarity, _ in principal.live.values() if familiarity]


def concurrent_counts(principal: PrincipalState, session_id: str) -> dict[str, int]:
    """The counts of sessions on unfamiliar devices for one of these; 0 for a session on any other device."""
    is_unfamiliar = principal.live[session_id].familiarity == DeviceFamiliarity.UNFAMILIAR
    networks = unfamiliar_networks(principal) if is_unfamiliar else []
    return {
        "strange_sessions": len(networks),
        "strange_networks": len({network for network in networks if network}),
    }


def sessions_to_notify(principal: PrincipalState, newest: str) -> list[str]:
    """The sessions, besides the *newest*, to notify that there are more on unfamiliar devices than ever.

    A large number has to grow by an eighth, so that the messages stay in proportion to the sessions.
    """
    count = len(unfamiliar_networks(principal))
    if count < MIN_UNFAMILIAR or count <= principal.unfamiliar_peak * 9 // 8:
        return []
    principal.unfamiliar_peak = count
    unfamiliar = [
        session_id
        for session_id, session in principal.live.items()
        if session.familiarity == DeviceFamiliarity.UNFAMILIAR
    ]
    return [session_id for session_id in unfamiliar if session_id != newest][-MAX_NOTIFIED:]


def on_session_ended(principal: PrincipalState) -> None:
    """Start to count anew when only few sessions on unfamiliar devices are left."""
    if principal.unfamiliar_peak and len(unfamiliar_networks(principal)) < MIN_UNFAMILIAR:
        principal.unfamiliar_peak = 0


def device_familiarity(principal: PrincipalState, event: PrincipalActivityDict) -> DeviceFamiliarity:
    """How the device of the session of *event* stands to the principal.

    A device that is not the principal's own is new, or another unfamiliar session introduced it. One that reports from
    where its session is used is managed: it counts among the unfamiliar ones, but the number of the others is not
    held against its session.
    """
    device_id = event["device_id"]
    known = principal.known["device"].get(device_id) if device_id is not None else None
    if known is None or known.learned_from == event["session_id"]:
        is_unfamiliar = principal.sessions_seen > 1 or device_id is None
    else:
        introducer = principal.live.get(known.learned_from)
        is_unfamiliar = introducer is not None and introducer.familiarity == DeviceFamiliarity.UNFAMILIAR
    if not is_unfamiliar:
        return DeviceFamiliarity.OWN
    is_confirmed = principal.devices.confirms(event, network_names(event["ip"], event["asn"]))
    return DeviceFamiliarity.CONFIRMED if is_confirmed else DeviceFamiliarity.UNFAMILIAR


def confirm_device(principal: PrincipalState, event: PrincipalActivityDict) -> None:
    """A session's device reports its network: the device is confirmed if the session is used there."""
    session = principal.live.get(event["session_id"])
    if (
        session is not None
        and session.familiarity == DeviceFamiliarity.UNFAMILIAR
        and session.network == short_network(event)
    ):
        principal.live[event["session_id"]] = session._replace(familiarity=DeviceFamiliarity.CONFIRMED)
