"""Where clients connect from: cities with their networks, clouds, and the places intruders use. Tables only.

Addresses are of the documentation prefix (RFC 3849), AS numbers private (RFC 6996): nobody real is accused.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

PRIVATE_ASN: Final = 64512


@dataclass(frozen=True, slots=True)
class Network:
    """One client network as the producers of events see it."""

    asn: int
    country: str
    latitude: float
    longitude: float
    network_type: str
    host: int = 1

    def members(self) -> dict[str, Any]:
        """Return the members of an event that tell of this network."""
        return {
            "ip": f"2001:db8:{self.asn - PRIVATE_ASN:x}::{self.host:x}",
            "asn": self.asn,
            "country": self.country,
            "latitude": self.latitude,
            "longitude": self.longitude,
            "network_type": self.network_type,
        }


@dataclass(frozen=True, slots=True)
class City:
    """A place where people live and work; *utc_offset* in hours, summer time left out.

    *isps* are the homes' networks, *cafe* one that nobody of the population uses every day.
    """

    name: str
    country: str
    latitude: float
    longitude: float
    utc_offset: int
    isps: tuple[int, int, int]
    carrier: int
    office: int
    cafe: int

    def network(self, asn: int, network_type: str, rng: Random) -> Network:
        """Return an address of *asn* somewhere in this city."""
        latitude = round(self.latitude + rng.uniform(-0.1, 0.1), 3)
        longitude = round(self.longitude + rng.uniform(-0.1, 0.1), 3)
        return Network(asn, self.country, latitude, longitude, network_type, rng.randrange(1, 0xFFFF))


class Tenant(NamedTuple):
    """A customer with people in *cities*; *vpn* is where its tunnel ends, *cloud* where its servers are."""

    name: str
    cities: tuple[City, ...]
    vpn: Network
    cloud: Network


TENANTS: Final = (
    Tenant(
        "acme",
        (
            City("Berlin", "DE", 52.52, 13.40, 1, (64601, 64602, 64603), 64701, 64801, 64851),
            City("Munich", "DE", 48.14, 11.58, 1, (64601, 64602, 64604), 64701, 64802, 64852),
            City("London", "GB", 51.51, -0.13, 0, (64605, 64606, 64607), 64702, 64803, 64853),
        ),
        Network(64880, "NL", 52.37, 4.90, "vpn", 10),
        Network(64901, "DE", 50.11, 8.68, "hosting"),
    ),
    Tenant(
        "borealis",
        (
            City("New York", "US", 40.71, -74.01, -5, (64611, 64612, 64613), 64711, 64811, 64861),
            City("Chicago", "US", 41.88, -87.63, -6, (64611, 64612, 64614), 64711, 64812, 64862),
            City("Denver", "US", 39.74, -104.99, -7, (64611, 64615, 64616), 64712, 64813, 64863),
        ),
        Network(64881, "US", 39.04, -77.49, "vpn", 10),
        Network(64902, "US", 39.04, -77.49, "hosting"),
    ),
    Tenant(
        "cassava",
        (
            City("Singapore", "SG", 1.35, 103.82, 8, (64621, 64622, 64623), 64721, 64821, 64871),
            City("Tokyo", "JP", 35.68, 139.69, 9, (64624, 64625, 64626), 64722, 64822, 64872),
            City("Sydney", "AU", -33.87, 151.21, 11, (64627, 64628, 64629), 64723, 64823, 64873),
        ),
        Network(64882, "JP", 35.44, 139.64, "vpn", 10),
        Network(64903, "SG", 1.29, 103.85, "hosting"),
    ),
)

ROGUE: Final = (
    Network(64951, "RO", 44.43, 26.10, "hosting", 0x101),
    Network(64952, "LV", 56.95, 24.11, "hosting", 0x102),
    Network(64953, "PA", 8.98, -79.52, "hosting", 0x103),
    Network(64954, "IS", 64.15, -21.94, "hosting", 0x104),
)
"""Rented servers that intruders work from."""

FAR: Final = (
    Network(64961, "BR", -23.55, -46.63, "wifi", 0x201),
    Network(64962, "ZA", -26.20, 28.05, "wifi", 0x202),
    Network(64963, "AR", -34.60, -58.38, "wifi", 0x203),
)
"""Homes on continents where no tenant has an office: nobody is there in minutes."""


class Trip(NamedTuple):
    """A business trip: the hotel's network and the hours from door to door."""

    hotel: Network
    hours: float


TRIPS: Final = {
    "acme": Trip(Network(64931, "PT", 38.72, -9.14, "wifi", 0x301), 6.5),
    "borealis": Trip(Network(64932, "CA", 49.28, -123.12, "wifi", 0x302), 7.5),
    "cassava": Trip(Network(64933, "VN", 21.03, 105.85, "wifi", 0x303), 11.5),
}
"""Where the people of a tenant fly to; the farthest of its cities needs less than the hours given."""
