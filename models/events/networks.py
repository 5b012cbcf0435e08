"""Networks: which one answers for an event, which hide who uses them, and which lie inside of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from models.events.columns import network_name

HIDING: Final = frozenset({"vpn", "hosting", "tor"})
"""Kinds of network whose addresses say nothing of where their users are."""
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
"""RFC 1918, 6598, 1122, 3927, 4193, 4291: an address seen from inside, as behind a NAT or a private link."""


def network_of(event: Mapping[str, Any]) -> str | None:
    """The network whose conduct counts for *event*: small enough that its users have something in common.

    A provider of homes has thousands of strangers behind one number, so there it is the address's prefix.
    Whoever hides in a data centre or a VPN changes prefixes freely, so there it is the number.
    """
    if event["network_type"] in HIDING and event["asn"] is not None:
        return network_name(None, event["asn"])
    return network_name(event["ip"], None)


@lru_cache(maxsize=10_000)
def is_inside(ip: str | None) -> bool:
    """Whether *ip* is an address that the Internet does not route: it names no network to be away from."""
    if ip is None:
        return False
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    return any(address in network for network in _INSIDE if network.version == address.version)
