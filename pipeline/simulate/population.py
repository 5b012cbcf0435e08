"""Who there is: people with their devices, keys and agents, and services; made once, from a seed.

What changes from day to day (a new phone, a newer browser, networks used) is kept on the person.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, Final

from pipeline.simulate.clients import APPS, BROWSERS, Client
from pipeline.simulate.operations import JOBS, KEYED, TOOLS, Operation
from pipeline.simulate.places import TENANTS, City, Network, Tenant

ROLE_SHARES: Final = {"analyst": 22, "support": 28, "developer": 26, "finance": 16, "admin": 8}
SERVICE_SHARE: Final = 0.12
KEY_SHARE: Final = 0.12
AGENT_SHARE: Final = 0.12
HEARTBEAT_MS: Final = 60_000
_FIRST: Final = (
    *(
        "ada",
        "amir",
        "anna",
        "ben",
        "carla",
        "chen",
        "dana",
        "david",
        "elif",
        "emma",
        "farid",
        "gita",
        "hana",
    ),
    *(
        "igor",
        "ines",
        "jonas",
        "jun",
        "kofi",
        "lena",
        "liam",
        "maria",
        "mei",
        "milan",
        "nadia",
        "nils",
        "nora",
    ),
    *("omar", "paula", "priya", "rosa", "sara", "sofia", "tariq", "tom", "uma", "vera", "wei", "yara", "zoe"),
)
_LAST: Final = (
    *(
        "abe",
        "adler",
        "bauer",
        "costa",
        "diaz",
        "eriksen",
        "fischer",
        "garcia",
        "haddad",
        "hill",
        "ito",
        "jansen",
    ),
    *("kaya", "keller", "kim", "lang", "lopez", "mensah", "moreau", "nakamura", "novak", "okafor", "olsen"),
    *(
        "park",
        "patel",
        "reyes",
        "rossi",
        "sato",
        "schulz",
        "silva",
        "singh",
        "stone",
        "tan",
        "vogel",
        "weber",
    ),
)
_SYSTEMS: Final = {
    "ios": ("18.3.1", "strong"),
    "android": ("15", "strong"),
    "macos": ("15.3", "device"),
    "windows": ("11 24H2", "device"),
    "linux": ("Ubuntu 24.04", "basic"),
}


def identity(*parts: object) -> str:
    """Return twelve hexadecimal digits that only these *parts* have."""
    return blake2b("/".join(map(str, parts)).encode(), digest_size=6).hexdigest()


def chance(*parts: object) -> Random:
    """Return the source of randomness that belongs to *parts*, whatever else was drawn before."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - the same seed must make the same world; no secrets


@dataclass(frozen=True, slots=True)
class Device:
    """A phone or laptop. *reporting*: a telemetry agent is installed; one's own laptop may have none."""

    device_id: str
    platform: str
    reporting: bool = True
    managed: bool = True
    sim_id: str | None = None

    def posture(self) -> dict[str, Any]:
        """Return the members of telemetry that a healthy device of this kind sends."""
        version, attestation = _SYSTEMS[self.platform]
        posture: dict[str, Any] = {
            "heartbeat_interval_ms": HEARTBEAT_MS,
            "platform": self.platform,
            "os_version": version,
            "patch_level": "2026-02-05",
            "managed": self.managed,
            "compliant": True,
            "rooted": False,
            "emulator": False,
            "hooked": False,
            "debugger": False,
            "developer_mode": False,
            "screen_lock": True,
            "encrypted": True,
            "app_signature_valid": True,
            "attestation": attestation,
            "malware": "none",
        }
        return posture if self.sim_id is None else posture | {"sim_id": self.sim_id}


@dataclass(slots=True, kw_only=True)
class Person:
    """Somebody with a working day; *agents* and *keys* act for them: ids, each with what it calls.

    *networks* are the AS numbers used on earlier days; *away_until* (ms), nothing happens at home.
    """

    principal_id: str
    tenant: Tenant
    role: str
    city: City
    laptop: Device
    phone: Device
    browser: Client
    app: Client
    home: Network
    mobile: Network
    office: Network | None
    starts: float
    agents: list[tuple[str, tuple[Operation, ...]]] = field(default_factory=list)
    keys: list[tuple[str, tuple[Operation, ...]]] = field(default_factory=list)
    networks: set[int] = field(default_factory=set)
    away_until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A program that calls day and night from its place in the cloud, every *gap_s* seconds or so."""

    principal_id: str
    tenant: Tenant
    job: str
    network: Network
    gap_s: float


@dataclass(frozen=True, slots=True)
class Population:
    """Everybody."""

    people: tuple[Person, ...]
    services: tuple[Service, ...]


def populate(run: str, principals: int) -> Population:
    """Return a population with *principals* principal ids in it, at least one person; *run* seeds it."""
    services = round(principals * SERVICE_SHARE)
    keys = round(principals * KEY_SHARE)
    agents = round(principals * AGENT_SHARE)
    rng = chance(run, "population")
    names = [f"{first}.{last}" for first in _FIRST for last in _LAST]
    rng.shuffle(names)
    people = tuple(
        _person(run, _name(names, n), rng) for n in range(max(1, principals - services - keys - agents))
    )
    for n, owner in zip(range(agents), _dealt(people, rng), strict=False):
        tools = tuple(rng.sample(TOOLS, rng.randint(3, 5)))
        owner.agents.append((f"agent-{n:03d}@{owner.tenant.name}.example", tools))
    coders = [person for person in people if person.role in {"developer", "analyst", "finance"}]
    for n, owner in zip(range(keys), _dealt(tuple(coders) or people, rng), strict=False):
        use = rng.choice(sorted(KEYED))
        owner.keys.append((f"key-{n:03d}-{use}@{owner.tenant.name}.example", KEYED[use]))
    return Population(people, tuple(_service(n, rng) for n in range(services)))


def _name(names: list[str], number: int) -> str:
    again = number // len(names)
    return names[number % len(names)] + (str(again + 1) if again else "")


def _dealt(people: tuple[Person, ...], rng: Random) -> list[Person]:
    """*people* in a random order, dealt round again and again, so that nobody has two before all have one."""
    order = list(people)
    rng.shuffle(order)
    return order * 8


def _person(run: str, name: str, rng: Random) -> Person:
    tenant = rng.choice(TENANTS)
    city = rng.choice(tenant.cities)
    desk = rng.choices(sorted(BROWSERS), cum_weights=(1, 5, 10))[0]  # linux, macos, windows
    hand = rng.choice(("ios", "android"))
    own = rng.random() < 0.08
    at_home = rng.random() < 0.3
    office = city.network(city.office, "ethernet", rng)
    return Person(
        principal_id=f"{name}@{tenant.name}.example",
        tenant=tenant,
        role=rng.choices(tuple(ROLE_SHARES), tuple(ROLE_SHARES.values()))[0],
        city=city,
        laptop=Device(f"laptop-{identity(run, name, 'laptop')}", desk, not own, not own),
        phone=_phone(run, name, hand),
        browser=rng.choice(BROWSERS[desk]),
        app=APPS[hand],
        home=city.network(rng.choice(city.isps), "wifi", rng),
        mobile=city.network(city.carrier, "cellular", rng),
        office=None if at_home else office,
        starts=rng.uniform(7.5, 9.5),
    )


def _phone(run: str, name: str, platform: str) -> Device:
    sim = f"sim-{identity(run, name)}"
    return Device(f"phone-{identity(run, name, 'phone')}", platform, sim_id=sim)


def _service(number: int, rng: Random) -> Service:
    tenant = rng.choice(TENANTS)
    job = rng.choice(sorted(JOBS))
    return Service(
        principal_id=f"svc-{job}-{number:03d}@{tenant.name}.example",
        tenant=tenant,
        job=job,
        network=tenant.cloud,
        gap_s=rng.uniform(6, 16),
    )
