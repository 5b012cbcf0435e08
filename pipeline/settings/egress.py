"""Egress policy: the addresses that the transmitter may connect to, public ones and those an operator permits.

Special addresses are those of IANA's registries (RFC 6890 and its updates). An IPv6 address that embeds an IPv4
address is treated like that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Kind = Literal["public", "private", "loopback", "link-local", "special"]
"""`special` addresses belong to no single host: unspecified, multicast, reserved. They cannot be permitted."""

KINDS: Final[tuple[tuple[Network, Kind], ...]] = (
    (IPv4Network("0.0.0.0/8"), "special"),  # RFC 1122 §3.2.1.3; Linux takes 0.0.0.0 for itself
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (
        IPv4Network("169.254.0.0/16"),
        "link-local",
    ),  # RFC 3927; cloud metadata services, which give machines their secrets
    (IPv4Network("224.0.0.0/4"), "special"),  # multicast, RFC 5771
    (IPv4Network("240.0.0.0/4"), "special"),  # reserved and broadcast, RFC 1112 §4, RFC 919 §7
    (IPv4Network("10.0.0.0/8"), "private"),  # RFC 1918, as the next two
    (IPv4Network("172.16.0.0/12"), "private"),
    (IPv4Network("192.168.0.0/16"), "private"),
    (IPv4Network("100.64.0.0/10"), "private"),  # shared between a provider and its customers, RFC 6598
    (IPv4Network("192.0.0.0/24"), "private"),  # protocol assignments, RFC 6890
    (IPv4Network("192.0.2.0/24"), "private"),  # documentation, RFC 5737, as the next two
    (IPv4Network("198.51.100.0/24"), "private"),
    (IPv4Network("203.0.113.0/24"), "private"),
    (IPv4Network("192.88.99.0/24"), "private"),  # relays of 6to4, RFC 7526
    (IPv4Network("198.18.0.0/15"), "private"),  # benchmarks, RFC 2544
    (IPv4Network("0.0.0.0/0"), "public"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("fc00::/7"), "private"),  # unique local, RFC 4193
    (IPv6Network("fec0::/10"), "private"),  # site-local of old, RFC 3879
    (IPv6Network("64:ff9b:1::/48"), "private"),  # translation within a site, RFC 8215
    (IPv6Network("2001::/23"), "private"),  # protocol assignments, RFC 2928
    (IPv6Network("2001:db8::/32"), "private"),  # documentation, RFC 3849
    (IPv6Network("3fff::/20"), "private"),  # documentation, RFC 9637
    (IPv6Network("2000::/3"), "public"),  # global unicast, RFC 4291 §2.4; nothing else is assigned
    (IPv6Network("::/0"), "special"),
)
"""The first matching row determines the kind of an address."""

NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_SEVERITY: Final[tuple[Kind, ...]] = ("public", "private", "loopback", "link-local", "special")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be reached besides public addresses.

    A listed *host* may have a private address. A listed *network* may be of any kind but `special`. *loopback*
    permits this machine, too.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    loopback: bool = False

    @classmethod
    def of(cls, listed: str, *, loopback: bool = False) -> Allowed:
        """Parse names, addresses and networks, comma separated; raises `ValueError` that names an invalid entry."""
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in filter(None, (name.strip() for name in listed.split(","))):
            network = _network(entry)
            if network is not None:
                networks.append(network)
            elif "/" in entry or ":" in entry or "@" in entry:
                raise ValueError(f"{entry!r} is neither a host name nor an address nor a network")
            else:
                hosts.add(entry.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks), loopback)

    def permits(self, address: Address, host: str) -> bool:
        """Whether *host* may be reached at *address*."""
        kind = kind_of(address)
        if kind == "public" or (kind == "loopback" and self.loopback):
            return True
        if kind == "special":
            return False
        if kind == "private" and host.lower().rstrip(".") in self.hosts:
            return True
        return any(candidate in network for candidate in (address, *_embedded(address)) for network in self.networks)


def kind_of(address: Address) -> Kind:
    """Return the kind of *address*; of an address that embeds others, the worst of theirs."""
    embedded_addresses = _embedded(address)
    if embedded_addresses:
        return max((_registry_kind(embedded) for embedded in embedded_addresses), key=_SEVERITY.index)
    return _registry_kind(address)


def parse_address(text: str) -> Address | None:
    """Return the address in *text*, without brackets and zone; `None` if it is a name."""
    try:
        return ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _registry_kind(address: Address) -> Kind:
    return next(kind for network, kind in KINDS if address in network)


def _embedded(address: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address embeds."""
    if isinstance(address, IPv4Address):
        return ()
    if address.ipv4_mapped is not None:  # RFC 4291 §2.5.5.2
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:  # RFC 3056 §2
        return (address.sixtofour,)
    if address.teredo is not None:  # RFC 4380 §4: server and client
        return address.teredo
    if address in NAT64:
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None
