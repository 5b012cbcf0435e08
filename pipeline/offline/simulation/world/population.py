"""Population: people with their shifts, devices, keys and agents, and services; made once, from a seed.

Changes from day to day (a new phone, a newer browser, networks used) are stored on the person. The two worlds have no
name, device or network in common.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, Final, Literal

from pipeline.offline.simulation.world.clients import APPS, BROWSERS, Client
from pipeline.offline.simulation.world.operations import Habit, Operation
from pipeline.offline.simulation.world.places import TENANTS, City, Network, Tenant
from pipeline.offline.simulation.world.work import INFRASTRUCTURE, JOBS, KEYED, NIGHTLY, TOOLS
from pipeline.offline.simulation.world.world import World

_WEEK: Final = frozenset(range(5))
"""Monday to Friday."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Working hours, local; hours after midnight count on past 24. *turns* is the hour at which a person's day ends.

    Work begins at *starts*, in two blocks of *first* and *second* hours (ranges), on *weekdays* (0 is Monday).
    """

    name: str
    starts: float
    turns: int = 3
    first: tuple[float, float] = (3.2, 4.2)
    second: tuple[float, float] = (3.6, 5.0)
    weekdays: frozenset[int] = _WEEK


SHIFTS: Final[tuple[tuple[int, Shift], ...]] = (
    (74, Shift("day", 8.5)),
    (6, Shift("late", 12.5)),
    (6, Shift("night", 21.5, turns=14)),
    (8, Shift("part_time", 9.0, second=(0.8, 1.6), weekdays=frozenset({0, 1, 3}))),
    (6, Shift("weekend", 9.0, weekdays=frozenset({2, 3, 4, 5, 6}))),
)
"""Number of people per hundred, and their shift."""


def draw_shift(rng: Random) -> Shift:
    """Draw a person's shift, which begins up to an hour earlier or later than in the table."""
    drawn = rng.choices([shift for _, shift in SHIFTS], [share for share, _ in SHIFTS])[0]
    return Shift(drawn.name, drawn.starts + rng.uniform(-1, 1), drawn.turns, drawn.first, drawn.second, drawn.weekdays)


SERVICE_SHARE: Final = 0.12
KEY_SHARE: Final = 0.12
AGENT_SHARE: Final = 0.12
RELAY_SHARE: Final = 0.1
VOLUME_SPREAD: Final = 0.35
"""Standard deviation of the logarithm of a person's volume, relative to others of the role."""
HEARTBEAT_MS: Final = 60_000
_FIRST: Final = (
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
    "omar",
    "paula",
    "priya",
    "rosa",
    "sara",
    "sofia",
    "tariq",
    "tom",
    "uma",
    "vera",
    "wei",
    "yara",
    "zoe",
    "zora",
)
_LAST: Final = (
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
    "kaya",
    "keller",
    "kim",
    "lang",
    "lopez",
    "mensah",
    "moreau",
    "nakamura",
    "novak",
    "okafor",
    "olsen",
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
)
_SYSTEMS: Final = {
    "ios": ("18.3.1", "strong"),
    "android": ("15", "strong"),
    "macos": ("15.3", "device"),
    "windows": ("11 24H2", "device"),
    "linux": ("Ubuntu 24.04", "basic"),
}


def short_id(*parts: object) -> str:
    """Return an id of twelve hexadecimal digits for *parts*."""
    return blake2b("/".join(map(str, parts)).encode(), digest_size=6).hexdigest()


def rng_for(*parts: object) -> Random:
    """Return the random generator for *parts*, independent of all others."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - the same seed must give the same world; no secrets


@dataclass(frozen=True, slots=True)
class Device:
    """A phone or laptop. *reporting*: a telemetry agent is installed, which a private laptop may lack.

    *os_version*: the version of its system, if not the initial one of its platform.
    """

    device_id: str
    platform: str
    reporting: bool = True
    managed: bool = True
    sim_id: str | None = None
    os_version: str | None = None

    def posture(self) -> dict[str, Any]:
        """Return the telemetry fields of a healthy device of this platform."""
        version, attestation = _SYSTEMS[self.platform]
        posture: dict[str, Any] = {
            "heartbeat_interval_ms": HEARTBEAT_MS,
            "platform": self.platform,
            "os_version": self.os_version or version,
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
    """A person with working days. *agents* and *keys* act for them: principal ids with the operations they call.

    *volume* is their number of calls relative to others of their role, *relay* the egress of their traffic at home, if
    any. *networks* are the AS numbers used on earlier days, *released* the operations of later releases; until
    *away_until* (ms) they travel.
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
    shift: Shift
    volume: float
    habit: Habit
    relay: Network | None = None
    agents: list[tuple[str, tuple[Operation, ...]]] = field(default_factory=list)
    keys: list[tuple[str, tuple[Operation, ...]]] = field(default_factory=list)
    networks: set[int] = field(default_factory=set)
    released: tuple[Operation, ...] = ()
    away_until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A program that makes calls day and night from the cloud, about every *gap_s* seconds.

    *kind* is `agent` for one that a model controls. *run_at* is the hour of its daily run, if it has one. Its
    credential is issued for the *workload* it runs in; with *reports_workload*, the issuer also says where that is.
    """

    principal_id: str
    tenant: Tenant
    job: str
    network: Network
    gap_s: float
    run_at: float
    workload: Literal["instance", "container", "function", "ci"]
    reports_workload: bool
    kind: Literal["service", "agent"] = "service"


@dataclass(frozen=True, slots=True)
class Population:
    """All people and services."""

    people: tuple[Person, ...]
    services: tuple[Service, ...]


RUNS_IN: Final[dict[str, Literal["container", "function", "ci"]]] = {
    "terraform": "ci",
    "webhook-relay": "function",
    "nightly-triage": "container",
}
"""Workloads of jobs that do not run in an instance of a cloud."""

WORK: Final[dict[str, tuple[Operation, ...]]] = JOBS | {
    "terraform": INFRASTRUCTURE,
    "nightly-triage": NIGHTLY,
}
"""The operations of each service's job."""


def populate(run: str, principals: int, world: World) -> Population:
    """Return a population with *principals* principal ids in it, at least one person; *run* seeds it."""
    services = round(principals * SERVICE_SHARE)
    keys = round(principals * KEY_SHARE)
    agents = round(principals * AGENT_SHARE)
    rng = rng_for(run, "population")
    names = [f"{first}.{last}" for first in world.share(_FIRST) for last in _LAST]
    rng.shuffle(names)
    tenants = TENANTS[world.name]
    people = tuple(
        _person(run, _name(names, n), rng.choice(tenants), rng)
        for n in range(max(1, principals - services - keys - agents))
    )
    for n, owner in zip(range(agents), _round_robin(people, rng), strict=False):
        tools = tuple(rng.sample(TOOLS, rng.randint(3, 5)))
        owner.agents.append((f"agent-{n:03d}@{owner.tenant.name}.example", tools))
    coders = [person for person in people if person.role in {"developer", "analyst", "finance"}]
    for n, owner in zip(range(keys), _round_robin(tuple(coders) or people, rng), strict=False):
        use = rng.choice(sorted(KEYED))
        owner.keys.append((f"key-{n:03d}-{use}@{owner.tenant.name}.example", KEYED[use]))
    jobs = _jobs(services, rng)
    return Population(people, tuple(_service(n, job, rng.choice(tenants), rng) for n, job in enumerate(jobs)))


def _name(names: list[str], number: int) -> str:
    again = number // len(names)
    return names[number % len(names)] + (str(again + 1) if again else "")


def _round_robin(people: tuple[Person, ...], rng: Random) -> list[Person]:
    """*people* in a random order, repeated, so that nobody gets two keys or agents before all have one."""
    order = list(people)
    rng.shuffle(order)
    return order * 8


def _jobs(count: int, rng: Random) -> list[str]:
    jobs = sorted(WORK)
    rng.shuffle(jobs)
    return [jobs[n % len(jobs)] for n in range(count)]


def _person(run: str, name: str, tenant: Tenant, rng: Random) -> Person:
    city = rng.choice(tenant.cities)
    desk = rng.choices(sorted(BROWSERS), cum_weights=(1, 5, 10))[0]  # linux, macos, windows
    hand = rng.choice(("ios", "android"))
    own = rng.random() < 0.08
    at_home = rng.random() < tenant.remote
    return Person(
        principal_id=f"{name}@{tenant.name}.example",
        tenant=tenant,
        role=rng.choices(tuple(tenant.roles), tuple(tenant.roles.values()))[0],
        city=city,
        laptop=Device(f"laptop-{short_id(run, name, 'laptop')}", desk, not own, not own),
        phone=_phone(run, name, hand),
        browser=rng.choice(BROWSERS[desk]),
        app=APPS[hand],
        home=city.network(rng.choice(city.isps), "wifi", rng),
        mobile=city.network(city.carrier, "cellular", rng),
        office=None if at_home else city.workplace,
        shift=draw_shift(rng),
        volume=rng.lognormvariate(0, VOLUME_SPREAD),
        habit=Habit(rng.uniform(0.4, 0.8), rng.randrange(1, 1 << 30)),
        relay=tenant.relay if at_home and rng.random() < RELAY_SHARE / tenant.remote else None,
    )


def _phone(run: str, name: str, platform: str) -> Device:
    sim = f"sim-{short_id(run, name)}"
    return Device(f"phone-{short_id(run, name, 'phone')}", platform, sim_id=sim)


def _service(number: int, job: str, tenant: Tenant, rng: Random) -> Service:
    nightly = job == "nightly-triage"
    return Service(
        principal_id=f"{'agent' if nightly else 'svc'}-{job}-{number:03d}@{tenant.name}.example",
        tenant=tenant,
        job=job,
        network=tenant.cloud,
        gap_s=rng.uniform(6, 16),
        run_at=rng.uniform(1, 4) if nightly else rng.uniform(9, 16),
        workload=RUNS_IN.get(job, "instance"),
        reports_workload=(number + number // len(WORK)) % 2 == 0,
        kind="agent" if nightly else "service",
    )
