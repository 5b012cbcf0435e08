"""Names of networks: the one whose conduct counts for an event, those that hide their users, and private ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

HIDING: Final = frozenset({"vpn", "hosting", "tor"})
"""Kinds of network whose addresses do not show where their users are."""
_INSIDE: Final = tuple(
    (network.version, int(network.netmask), int(network.network_address))
    for network in map(
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


def network_name(ip: str | None, asn: int | None) -> str | None:
    """Return the network of an event: its ASN, else the /24 (IPv4) or /48 (IPv6) of the address.

    However an address is written, its network has one name (RFC 5952); an IPv4 address mapped into IPv6 (RFC 4291
    §2.5.5.2) is the IPv4 address. A text that is no address is its own network.

    >>> network_name("192.0.2.7", 64500), network_name("::ffff:192.0.2.7", None), network_name("2001:db8::5", None)
    ('as64500', '192.0.2', '2001:db8:0')
    """
    if asn is not None:
        return f"as{asn}"
    return None if ip is None else _read(ip)[0]


def is_inside(ip: str | None) -> bool:
    """Return whether *ip* is an address that the Internet does not route, and so does not name a network."""
    return ip is not None and _read(ip)[1]


@lru_cache(maxsize=65_536)
def _read(ip: str) -> tuple[str, bool]:
    """The prefix of an address, and whether it is seen from inside."""
    try:
        address = ip_address(ip)
    except ValueError:
        return ip, False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    number, version = int(mapped or address), 4 if mapped else address.version
    inside = any(version == of and number & mask == network for of, mask, network in _INSIDE)
    if version == 4:
        return ".".join(str(number >> shift & 0xFF) for shift in (24, 16, 8)), inside
    return ":".join(f"{number >> shift & 0xFFFF:x}" for shift in (112, 96, 80)), inside


def network_of(event: Mapping[str, Any]) -> str | None:
    """Return the network whose conduct counts for *event*: small enough that its users have something in common.

    A provider of homes has thousands of unrelated users behind one AS number, so there it is the prefix of the address.
    A user who hides in a data centre or a VPN changes prefixes freely, so there it is the AS number.
    """
    if event["network_type"] in HIDING and event["asn"] is not None:
        return network_name(None, event["asn"])
    return network_name(event["ip"], None)
