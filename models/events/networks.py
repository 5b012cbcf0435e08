"""Names of networks: the one whose conduct counts for an event, those that hide their users, and private ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from models.events.columns import network_name

HIDING: Final = frozenset({"vpn", "hosting", "tor"})
"""Kinds of network whose addresses do not show where their users are."""
_INSIDE: Final = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "fc00::/7",
            "::1/128",
            "fe80::/10",
        ),
    )
)
"""RFC 1918, 6598, 1122, 3927, 4193, 4291: addresses seen from inside, as behind a NAT or on a private link."""


def network_of(event: Mapping[str, Any]) -> str | None:
    """Return the network whose conduct counts for *event*: small enough that its users have something in common.

    A provider of homes has thousands of unrelated users behind one AS number, so there it is the prefix of the address.
    A user who hides in a data centre or a VPN changes prefixes freely, so there it is the AS number.
    """
    if event["network_type"] in HIDING and event["asn"] is not None:
        return network_name(None, event["asn"])
    return network_name(event["ip"], None)


@lru_cache(maxsize=10_000)
def is_inside(ip: str | None) -> bool:
    """Return whether *ip* is an address that the Internet does not route, and so does not name a network."""
    if ip is None:
        return False
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    return any(address in network for network in _INSIDE if network.version == address.version)
