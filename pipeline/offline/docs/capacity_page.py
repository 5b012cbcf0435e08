"""The measured figures of capacity, and the two tables of deploy/CAPACITY.md that are made from them.

Every figure has the command that measures it. Change a figure here after measuring it again; `make docs` then writes
the tables. Units: MB, GB and TB are powers of ten, as networks and disks are sold; MiB and GiB are memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.kafka.topics import CHANGELOG_CONFIG
from schemas.topics import API_CALLS, TOPICS

CAPACITY: Final = Path(__file__).parents[3] / "deploy" / "CAPACITY.md"
"""The page; `pipeline.offline.docs.generate` writes its two tables."""

# --- Measured figures: one AMD EPYC virtual machine, 2 cores, 24 GiB, Python 3.11 ---

KAFKA: Final = "deploy/kafka/with.sh 9192 .venv/bin/python tests/benchmarks/bench_kafka.py"
MEMORY: Final = ".venv/bin/python tests/benchmarks/bench_memory.py"
SIZES: Final = ".venv/bin/python tests/benchmarks/bench_sizes.py"
FORMAT: Final = "Kafka's record format, version 2"

MIB: Final = 2**20
GIB: Final = 2**30


class Figure(NamedTuple):
    """A measured figure: its value and unit, what it is a figure of, and the command that measures it."""

    value: float
    unit: str
    what: str
    measured_by: str


class Written(NamedTuple):
    """Records that one input event of a simulated day causes, and the bytes of one record, key and value."""

    records: float
    bytes: float


FIGURES: Final = {
    "worker_events": Figure(
        129_700, "events/s", "throughput of one worker, all output acknowledged, the broker on the same cores", KAFKA
    ),
    "event_bytes": Figure(559, "B", "value of an input record", KAFKA),
    "event_key": Figure(36, "B", "key of an input record: a session id", KAFKA),
    "session_memory": Figure(567, "B", "memory of a live session", MEMORY),
    "device_memory": Figure(2_799, "B", "memory of a device context", SIZES),
    "principal_memory": Figure(11_835, "B", "memory of a principal context with its baseline", SIZES),
    "worker_memory": Figure(272 * MIB, "B", "memory of a worker with hardly any session", SIZES),
    "strings_memory": Figure(61 * MIB, "B", "memory of a worker's string cache, when full", MEMORY),
    "record_framing": Figure(10, "B", "overhead of a record in a batch, beside key and value", FORMAT),
}
"""All measured figures except the records that an event causes."""

CHANGELOG_ROWS: Final = {
    "session": Written(0.975, 601),
    "device": Written(0.133, 1_341),
    "principal": Written(0.022, 2_397),
    "network": Written(0.003, 470),
}
"""Changelog rows per processor (measured by `SIZES`), with 10,000 sessions in a partition and chunks of 512."""

OUTPUTS: Final = {
    "network-activity": Written(0.0032, 331),
    "principal-activity": Written(0.0236, 487),
    "session-bindings": Written(0.0029, 271),
    "session-context": Written(0.1418, 599),
    "session-features": Written(0.0192, 1_574),
    "session-findings": Written(0.0010, 1_691),
    "session-revocations": Written(0.0001, 650),
    "session-risk": Written(0.0010, 1_125),
}
"""Records per topic (measured by `SIZES`), on a simulated day on which one session in a hundred is attacked."""

# --- What a load takes ---

LOADS: Final = tuple((events, sessions) for events in (10_000, 100_000, 1_000_000) for sessions in (10**6, 10**7))
"""Loads in the table: events per second, and live sessions."""
USED: Final = 0.6
"""Share of a worker's time and memory to plan with; the rest is for peaks, catching up and a failed worker's work."""
WORKER_GIB: Final = 4.0
"""Memory of a worker."""
REPLICATION: Final = 3
"""Copies of every topic."""
PARTITIONS_PER_WORKER: Final = 4
"""At least this many, so that several workers share the partitions of one that fails."""


class Load(NamedTuple):
    """What a load takes; MB and GB are of all brokers, copies included, except *written_mb* and *read_mb*."""

    events: int
    sessions: int
    workers: int
    partitions: int
    written_mb: float
    read_mb: float
    retained_gb: float
    state_gb: float


def load_of(events: int, sessions: int) -> Load:
    """Return what *events* per second and *sessions* live at once take, by plain arithmetic on the figures.

    Memory assumes that each live session has a device and a principal of its own, which is the worst case.
    """
    input_bytes = _value("event_bytes") + _value("event_key") + _value("record_framing")
    outputs = {topic: _bytes(written) for topic, written in OUTPUTS.items()}
    internal = sum(size for topic, size in outputs.items() if TOPICS[topic].direction == "internal")
    changelog = sum(map(_bytes, CHANGELOG_ROWS.values()))
    retained = input_bytes * _retention_s(API_CALLS)
    retained += sum(size * _retention_s(topic) for topic, size in outputs.items())
    superseded = float(CHANGELOG_CONFIG["min.cleanable.dirty.ratio"])  # compaction starts at this share
    live = sum(CHANGELOG_ROWS[name].bytes + _value("record_framing") for name in ("session", "device", "principal"))
    workers = max(2, ceil(events / (_value("worker_events") * USED)), ceil(sessions / _sessions_per_worker()))
    return Load(
        events=events,
        sessions=sessions,
        workers=workers,
        partitions=max(8, 1 << (PARTITIONS_PER_WORKER * workers - 1).bit_length()),
        written_mb=events * (input_bytes + sum(outputs.values()) + changelog) / 1e6,
        read_mb=events * (input_bytes + sum(outputs.values()) + internal) / 1e6,
        retained_gb=events * retained * REPLICATION / 1e9,
        state_gb=sessions * live / (1 - superseded) * REPLICATION / 1e9,
    )


def _value(name: str) -> float:
    return FIGURES[name].value


def _bytes(written: Written) -> float:
    """Bytes that one event causes."""
    return written.records * (written.bytes + _value("record_framing"))


def _retention_s(topic: str) -> float:
    return (TOPICS[topic].retention_ms or 0) / 1_000


def _sessions_per_worker() -> float:
    """Live sessions for which a worker has memory."""
    free = WORKER_GIB * GIB * USED - _value("worker_memory") - _value("strings_memory")
    return free / sum(_value(f"{name}_memory") for name in ("session", "device", "principal"))


# --- The tables ---


def figures_table() -> str:
    """Return all measured figures as a Markdown table."""
    rows = [(figure.what, _amount(figure), f"`{figure.measured_by}`") for figure in FIGURES.values()]
    written = {f"changelog rows of the {name} processor": row for name, row in CHANGELOG_ROWS.items()}
    written |= {f"records on `{topic}`": row for topic, row in OUTPUTS.items()}
    rows += [
        (what, f"{row.records:g} per event, {row.bytes:,.0f} B each", f"`{SIZES}`") for what, row in written.items()
    ]
    return _table(("figure", "measured", "command"), rows)


def loads_table() -> str:
    """Return what the loads of :data:`LOADS` take as a Markdown table."""
    head = (
        "events/s",
        "live sessions",
        "workers",
        "partitions",
        "written, MB/s",
        "read, MB/s",
        "retained on disk",
        "state on disk",
    )
    rows = []
    for load in (load_of(events, sessions) for events, sessions in LOADS):
        numbers = (load.events, load.sessions, load.workers, load.partitions, load.written_mb, load.read_mb)
        rows.append((*(f"{number:,.0f}" for number in numbers), _disk(load.retained_gb), _disk(load.state_gb)))
    return _table(head, rows)


PARTS: Final[Mapping[str, Callable[[], str]]] = {"figures": figures_table, "loads": loads_table}
"""The marked parts of the page, and the functions that write them."""


def _amount(figure: Figure) -> str:
    if figure.value >= MIB:
        return f"{figure.value / MIB:,.0f} MiB"
    return f"{figure.value:,.0f} {figure.unit}"


def _disk(gigabytes: float) -> str:
    return f"{gigabytes / 1_000:,.1f} TB" if gigabytes >= 1_000 else f"{gigabytes:,.0f} GB"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f"| {' | '.join(map(str, line))} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
