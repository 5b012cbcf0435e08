"""Networks: cities with their providers, clouds, and the networks of intruders. Tables only.

Addresses are from the documentation prefix (RFC 3849) and AS numbers are private (RFC 6996): no real network is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

from pipeline.offline.simulation.world.world import WorldName

PRIVATE_ASN: Final = 64512


@dataclass(frozen=True, slots=True)
class Network:
    """A client's network, as producers of events see it."""

    asn: int
    country: str
    latitude: float
    longitude: float
    network_type: str
    host: int = 1

    def __str__(self) -> str:
        return f"AS{self.asn}"

    def fields(self) -> dict[str, Any]:
        """Return the event fields of this network."""
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
    """A city where people live and work; *utc_offset* in hours, without summer time.

    *isps* are AS numbers of home networks, *cafe* that of a network that nobody uses regularly.
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

    @property
    def workplace(self) -> Network:
        """The office network; everybody there has the same address."""
        return Network(self.office, self.country, self.latitude, self.longitude, "ethernet")


class Trip(NamedTuple):
    """A business trip: the hotel's network, and the hours it takes from any city of the company."""

    hotel: Network
    hours: float


class Tenant(NamedTuple):
    """A customer with people in *cities*; *roles* are weights, *remote* is the probability of working remotely.

    *vpn* is the exit of its VPN, *relay* the egress of its private access service, *cloud* the network of its servers;
    *trip* is the destination of business trips.
    """

    name: str
    cities: tuple[City, City, City]
    vpn: Network
    relay: Network
    cloud: Network
    trip: Trip
    roles: dict[str, int]
    remote: float


TENANTS: Final[dict[WorldName, tuple[Tenant, ...]]] = {
    "train": (
        Tenant(
            "acme",
            (
                City("Berlin", "DE", 52.52, 13.40, 1, (64601, 64602, 64603), 64701, 64801, 64851),
                City("Munich", "DE", 48.14, 11.58, 1, (64601, 64602, 64604), 64701, 64802, 64852),
                City("London", "GB", 51.51, -0.13, 0, (64605, 64606, 64607), 64702, 64803, 64853),
            ),
            Network(64880, "NL", 52.37, 4.90, "vpn", 10),
            Network(64890, "DE", 50.11, 8.68, "vpn", 20),
            Network(64901, "DE", 50.11, 8.68, "hosting"),
            Trip(Network(64931, "PT", 38.72, -9.14, "wifi", 0x301), 6.5),
            {"analyst": 22, "support": 28, "developer": 26, "finance": 16, "admin": 8},
            0.3,
        ),
        Tenant(
            "borealis",
            (
                City("New York", "US", 40.71, -74.01, -5, (64611, 64612, 64613), 64711, 64811, 64861),
                City("Chicago", "US", 41.88, -87.63, -6, (64611, 64612, 64614), 64711, 64812, 64862),
                City("Denver", "US", 39.74, -104.99, -7, (64611, 64615, 64616), 64712, 64813, 64863),
            ),
            Network(64881, "US", 39.04, -77.49, "vpn", 10),
            Network(64891, "US", 41.26, -95.94, "vpn", 20),
            Network(64902, "US", 39.04, -77.49, "hosting"),
            Trip(Network(64932, "CA", 49.28, -123.12, "wifi", 0x302), 7.5),
            {"analyst": 40, "support": 12, "developer": 18, "finance": 24, "admin": 6},
            0.15,
        ),
        Tenant(
            "cassava",
            (
                City("Singapore", "SG", 1.35, 103.82, 8, (64621, 64622, 64623), 64721, 64821, 64871),
                City("Tokyo", "JP", 35.68, 139.69, 9, (64624, 64625, 64626), 64722, 64822, 64872),
                City("Sydney", "AU", -33.87, 151.21, 11, (64627, 64628, 64629), 64723, 64823, 64873),
            ),
            Network(64882, "JP", 35.44, 139.64, "vpn", 10),
            Network(64892, "SG", 1.29, 103.85, "vpn", 20),
            Network(64903, "SG", 1.29, 103.85, "hosting"),
            Trip(Network(64933, "VN", 21.03, 105.85, "wifi", 0x303), 11.5),
            {"analyst": 10, "support": 44, "developer": 30, "finance": 8, "admin": 8},
            0.5,
        ),
    ),
    "test": (
        Tenant(
            "dunlin",
            (
                City("Madrid", "ES", 40.42, -3.70, 1, (65001, 65002, 65003), 65101, 65201, 65251),
                City("Milan", "IT", 45.46, 9.19, 1, (65004, 65005, 65006), 65102, 65202, 65252),
                City("Helsinki", "FI", 60.17, 24.94, 2, (65007, 65008, 65009), 65103, 65203, 65253),
            ),
            Network(65280, "BE", 50.85, 4.35, "vpn", 10),
            Network(65290, "FR", 48.86, 2.35, "vpn", 20),
            Network(65301, "FR", 48.86, 2.35, "hosting"),
            Trip(Network(65331, "GR", 37.98, 23.73, "wifi", 0x301), 6.5),
            {"analyst": 18, "support": 32, "developer": 22, "finance": 20, "admin": 8},
            0.4,
        ),
        Tenant(
            "estuary",
            (
                City("Toronto", "CA", 43.65, -79.38, -5, (65011, 65012, 65013), 65111, 65211, 65261),
                City("Montreal", "CA", 45.50, -73.57, -5, (65011, 65012, 65014), 65111, 65212, 65262),
                City("Mexico City", "MX", 19.43, -99.13, -6, (65015, 65016, 65017), 65112, 65213, 65263),
            ),
            Network(65281, "CA", 45.42, -75.70, "vpn", 10),
            Network(65291, "CA", 43.65, -79.38, "vpn", 20),
            Network(65302, "CA", 45.50, -73.57, "hosting"),
            Trip(Network(65332, "CO", 4.71, -74.07, "wifi", 0x302), 9.5),
            {"analyst": 34, "support": 16, "developer": 24, "finance": 20, "admin": 6},
            0.2,
        ),
        Tenant(
            "fennel",
            (
                City("Delhi", "IN", 28.61, 77.21, 5, (65021, 65022, 65023), 65121, 65221, 65271),
                City("Seoul", "KR", 37.57, 126.98, 9, (65024, 65025, 65026), 65122, 65222, 65272),
                City("Auckland", "NZ", -36.85, 174.76, 13, (65027, 65028, 65029), 65123, 65223, 65273),
            ),
            Network(65282, "KR", 35.18, 129.08, "vpn", 10),
            Network(65292, "IN", 19.08, 72.88, "vpn", 20),
            Network(65303, "IN", 19.08, 72.88, "hosting"),
            Trip(Network(65333, "TH", 13.76, 100.50, "wifi", 0x303), 14.0),
            {"analyst": 14, "support": 40, "developer": 28, "finance": 10, "admin": 8},
            0.45,
        ),
    ),
}
"""The companies of each world."""

ROGUE: Final = (
    Network(64951, "RO", 44.43, 26.10, "hosting", 0x101),
    Network(65351, "LT", 54.69, 25.28, "hosting", 0x105),
    Network(64952, "LV", 56.95, 24.11, "hosting", 0x102),
    Network(65352, "BG", 42.70, 23.32, "hosting", 0x106),
    Network(64953, "PA", 8.98, -79.52, "hosting", 0x103),
    Network(65353, "SC", -4.62, 55.45, "hosting", 0x107),
    Network(64954, "IS", 64.15, -21.94, "hosting", 0x104),
    Network(65354, "MD", 47.01, 28.86, "hosting", 0x108),
)
"""Rented servers that intruders use. The worlds get alternate rows of the tables of intruders."""

TOR: Final = (
    Network(64971, "SE", 59.33, 18.07, "tor", 0x401),
    Network(65371, "CH", 47.37, 8.54, "tor", 0x403),
    Network(64972, "LU", 49.61, 6.13, "tor", 0x402),
    Network(65372, "AT", 48.21, 16.37, "tor", 0x404),
)
ANONYMOUS_VPN: Final = (
    Network(64975, "CY", 35.19, 33.38, "vpn", 0x501),
    Network(65375, "MT", 35.90, 14.51, "vpn", 0x502),
)
"""Exits of anonymising networks."""

RESIDENTIAL: Final = (64981, 65381, 64982, 65382, 64983, 65383, 64984, 65384)
"""AS numbers of providers whose customers' routers serve as residential proxies, in any city."""

FAR: Final = (
    Network(64961, "BR", -23.55, -46.63, "wifi", 0x201),
    Network(65361, "CL", -33.45, -70.67, "wifi", 0x204),
    Network(64962, "ZA", -26.20, 28.05, "wifi", 0x202),
    Network(65362, "NA", -22.56, 17.07, "wifi", 0x205),
    Network(64963, "AR", -34.60, -58.38, "wifi", 0x203),
    Network(65363, "UY", -34.90, -56.16, "wifi", 0x206),
)
"""Home networks on continents where no tenant has an office, so nobody can travel there in minutes."""

HANDSETS: Final = (
    Network(64991, "RO", 44.43, 26.10, "cellular", 0x601),
    Network(65391, "LT", 54.69, 25.28, "cellular", 0x603),
    Network(64992, "PA", 8.98, -79.52, "cellular", 0x602),
    Network(65392, "BG", 42.70, 23.32, "cellular", 0x604),
)
"""Mobile carriers of intruders' own phones."""
