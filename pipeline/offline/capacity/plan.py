"""How much it takes: partitions, workers, memory, bandwidth and disk for a given load, from measured figures.

Plain arithmetic over `FIGURES`; how uneven the load is comes from `pipeline.offline.capacity.skew`. Bytes are
bytes, MB and GB are powers of ten as networks and disks are sold, GiB is memory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any, Final

from pipeline.kafka.topics import CHANGELOG_CONFIG
from pipeline.offline.capacity.figures import KEPT_PER_SESSION, KINDS, OUTPUTS, value
from pipeline.offline.capacity.skew import Skew, Spread, spread
from pipeline.settings.loading import Settings
from schemas.topics import API_CALLS, TOPICS

GIB: Final = 2**30
SECOND_MS: Final = 1_000
MOST_PARTITIONS: Final = 1_024
"""What `SESSION_RISK_PARTITIONS` allows."""
MOST_SESSIONS: Final = int(Settings.model_fields["max_sessions_per_partition"].default)
"""Live sessions of a partition, as `SESSION_RISK_MAX_SESSIONS_PER_PARTITION` is by default."""
CHUNK: Final = int(Settings.model_fields["chunk_size"].default)
COMPACTED: Final = float(CHANGELOG_CONFIG["min.cleanable.dirty.ratio"])
"""Share of a changelog that is superseded when compaction begins."""
PARTITIONS_A_WORKER: Final = 4
"""At least: a worker that falls leaves its partitions to several others."""
LEAST_WORKERS: Final = 2
"""One may fall."""
HOTTEST: Final = 0.9
"""Share of its time that the busiest worker may be at work."""


class TooLittleError(Exception):
    """What a worker is given is too little even for one without sessions."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked for, and what with.

    Attributes:
        events: events a second that producers send.
        sessions: live sessions at once.
        replication: copies of every topic.
        used: share of a worker's time, memory and of a broker's network that is planned with; the rest is
            for peaks, for catching up, and for the work of a worker that fell.
        memory_gib: memory a worker may take.
        broker_mb: what a broker's network moves each way, MB a second.
        skew: how uneven the load is.
    """

    events: float
    sessions: int
    replication: int = 3
    used: float = 0.6
    memory_gib: float = 4.0
    broker_mb: float = 1_250.0
    skew: Skew = field(default_factory=Skew)


@dataclass(frozen=True, slots=True)
class Network:
    """MB a second: what producers and workers write, all copies of it, and what is read again."""

    produced: float
    commanded: float
    changelog: float
    written: float
    copied: float
    read: float


@dataclass(frozen=True, slots=True)
class Disk:
    """GB on all brokers, copies included: by retention, and what the changelogs hold."""

    inputs: float
    outputs: float
    changelog: float


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a resource the plan uses, 1 being all of it, and what to do when it runs out."""

    resource: str
    share: float
    remedy: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a demand; *uses* begins with what runs out first."""

    demand: Demand
    partitions: int
    workers: int
    brokers: int
    worker_memory_gib: float
    network: Network
    disk: Disk
    cleaner_mb: float
    spread: Spread
    uses: tuple[Use, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing is asked for more than all of it."""
        return self.uses[0].share <= 1.0

    def as_json(self) -> dict[str, Any]:
        """The plan for a program to read, six digits of each number."""
        fields: dict[str, Any] = _rounded({**asdict(self), "fits": self.fits})
        return fields


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def plan(demand: Demand) -> Plan:
    """Return what *demand* takes.

    Raises:
        TooLittleError: a worker has not the memory for itself.
    """
    partitions, workers, load = _shared(demand)
    held = demand.sessions / partitions * ceil(partitions / workers)
    memory = memory_of_worker() + memory_of_session() * held
    network = _network(demand, partitions)
    both_ways = max(network.written * demand.replication, network.read + network.copied)
    brokers = max(demand.replication, ceil(both_ways / (demand.broker_mb * demand.used)))
    return Plan(
        demand=demand,
        partitions=partitions,
        workers=workers,
        brokers=brokers,
        worker_memory_gib=memory / GIB,
        network=network,
        disk=_disk(demand),
        cleaner_mb=network.changelog / COMPACTED,
        spread=load,
        uses=_uses(demand, load, memory, both_ways / brokers),
    )


def memory_of_worker() -> float:
    """Bytes of memory for a worker before its sessions."""
    return value("worker_memory") + value("strings_memory")


def memory_of_session() -> float:
    """Bytes of memory for a live session: itself, its device and its principal."""
    return sum(value(f"{kind}_memory") for kind in KEPT_PER_SESSION)


def _shared(demand: Demand) -> tuple[int, int, Spread]:
    """Enough workers for time and memory, then more until the busiest has time enough."""
    by_time = ceil(demand.events / (value("worker_events") * demand.used))
    by_memory = ceil(demand.sessions * memory_of_session() / _room(demand))
    by_sessions = ceil(demand.sessions / (MOST_SESSIONS * demand.used))
    partitions = _power_of_two(max(8, PARTITIONS_A_WORKER * max(by_time, by_memory), by_sessions))
    workers = min(partitions, max(LEAST_WORKERS, by_time, _by_partitions(demand, partitions)))
    while True:
        load = spread(demand.skew, partitions, workers)
        hottest = demand.events * load.worker / value("worker_events")
        if hottest <= HOTTEST or workers >= partitions or _is_one_session(load):
            return partitions, workers, load
        workers += 1
        partitions = max(partitions, _power_of_two(PARTITIONS_A_WORKER * workers))


def _room(demand: Demand) -> float:
    """Bytes of a worker's memory for sessions."""
    room = demand.memory_gib * GIB * demand.used - memory_of_worker()
    if room <= 0:
        raise TooLittleError(
            f"{demand.memory_gib:g} GiB, of which {demand.used:.0%} are planned with, do not hold a worker "
            f"without sessions ({memory_of_worker() / GIB:.2f} GiB): give it more"
        )
    return room


def _by_partitions(demand: Demand, partitions: int) -> int:
    """Workers for memory, as a worker has whole partitions; one for each if it cannot hold even that."""
    of_partition = demand.sessions / partitions * memory_of_session()
    return ceil(partitions / max(1, int(_room(demand) / of_partition)))


def _is_one_session(load: Spread) -> bool:
    """Whether the busiest session is most of what its worker does: more workers do not help."""
    return load.session > HOTTEST * load.worker


def _power_of_two(least: int) -> int:
    return int(min(MOST_PARTITIONS, 2 ** ceil(least - 1).bit_length()))


def _network(demand: Demand, partitions: int) -> Network:
    events, framing = demand.events, value("record_framing")
    produced = events * (value("event_bytes") + value("event_key") + framing)
    commanded = events * sum(output.records * (output.bytes + framing) for output in OUTPUTS.values())
    internal = [this_written for topic, this_written in OUTPUTS.items() if TOPICS[topic].direction == "internal"]
    again = events * sum(this_written.records * (this_written.bytes + framing) for this_written in internal)
    changelog = events * _changelog_bytes(demand.sessions / partitions)
    written = produced + commanded + changelog
    # Workers read what producers send and what they tell each other; one reader more takes what leaves.
    read = produced + commanded + again
    mega = 1e6
    return Network(
        produced=produced / mega,
        commanded=commanded / mega,
        changelog=changelog / mega,
        written=written / mega,
        copied=written * (demand.replication - 1) / mega,
        read=read / mega,
    )


def _changelog_bytes(sessions: float) -> float:
    """Bytes of rows for an event, where so many sessions share a partition: one row a session and chunk."""
    touched = sessions * (1 - (1 - 1 / max(sessions, 1.0)) ** CHUNK)
    rows = {**{kind: written.records for kind, written in KINDS.items()}, "session": touched / CHUNK}
    return sum(rows[kind] * (written.bytes + value("record_framing")) for kind, written in KINDS.items())


def _disk(demand: Demand) -> Disk:
    copies, giga, framing = demand.replication, 1e9, value("record_framing")
    kept_s = (TOPICS[API_CALLS].retention_ms or 0) / SECOND_MS
    inputs = demand.events * (value("event_bytes") + value("event_key") + framing) * kept_s
    outputs = sum(
        demand.events * written.records * (written.bytes + framing) * (TOPICS[topic].retention_ms or 0) / SECOND_MS
        for topic, written in OUTPUTS.items()
    )
    live = demand.sessions * sum(KINDS[kind].bytes + framing for kind in KEPT_PER_SESSION)
    superseded = live / (1 - COMPACTED)
    return Disk(inputs * copies / giga, outputs * copies / giga, superseded * copies / giga)


def _uses(demand: Demand, load: Spread, memory: float, broker_bytes: float) -> tuple[Use, ...]:
    rate = value("worker_events")
    shares = {
        "the busiest worker": demand.events * load.worker / rate,
        "the busiest session": demand.events * load.session / rate,
        "a worker's memory": memory / (demand.memory_gib * GIB),
        "sessions in a partition": demand.sessions / load.partitions / MOST_SESSIONS,
        "a broker's network": broker_bytes / demand.broker_mb,
        "partitions": load.workers / MOST_PARTITIONS,
    }
    uses = (Use(resource, share, REMEDIES[resource]) for resource, share in shares.items())
    return tuple(sorted(uses, key=lambda use: -use.share))


REMEDIES: Final = {
    "the busiest worker": (
        "Add workers, up to one for each partition; the busy partitions then share theirs with fewer."
    ),
    "the busiest session": ("Cap its calls at the gateway: the records of one session are worked on one by one."),
    "a worker's memory": (
        "Give each worker more, or add workers; end sessions sooner, by a shorter `idle_s` in the policy."
    ),
    "sessions in a partition": (
        "Raise `SESSION_RISK_MAX_SESSIONS_PER_PARTITION` if memory allows, else a new set of topics with "
        "more partitions; else the longest idle are evicted."
    ),
    "a broker's network": "Add brokers and move partitions to them; have producers compress.",
    "partitions": (
        f"A worker has one at least, and there are at most {MOST_PARTITIONS:,}: give workers more memory, so "
        "that fewer do, or split tenants over installations with topics of their own."
    ),
}
"""What to do when a resource runs out."""
