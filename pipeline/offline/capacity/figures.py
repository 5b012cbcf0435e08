"""The measured figures that capacity is computed from, each with the command that measures it.

Change one here when it was measured anew; `make docs` writes the page that is computed from them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MACHINE: Final = "an AMD EPYC virtual machine, 2 cores, 24 GiB, Python 3.11"

KAFKA: Final = "deploy/kafka/with.sh 9192 .venv/bin/python tests/benchmarks/bench_kafka.py"
MEMORY: Final = ".venv/bin/python tests/benchmarks/bench_memory.py"
SIZES: Final = ".venv/bin/python tests/benchmarks/bench_sizes.py"


FORMAT: Final = "Kafka's record format, version 2"
MIB: Final = 2**20


class Figure(NamedTuple):
    """A figure, what it is of, and the command that measures it."""

    value: float
    unit: str
    what: str
    measured_by: str


class Written(NamedTuple):
    """How many records follow from an event of a simulated day, and bytes of one: key and value."""

    records: float
    bytes: float


FIGURES: Final = {
    "worker_events": Figure(
        129_700, "events/s", "one worker, everything acknowledged, beside the broker on the same cores", KAFKA
    ),
    "event_bytes": Figure(559, "B", "the value of an input record", KAFKA),
    "event_key": Figure(36, "B", "its key, a session id", KAFKA),
    "session_memory": Figure(567, "B", "memory of a live session", MEMORY),
    "device_memory": Figure(2_799, "B", "memory of a device", SIZES),
    "principal_memory": Figure(11_835, "B", "memory of a principal and what is normal for it", SIZES),
    "worker_memory": Figure(272 * MIB, "B", "memory of a worker with next to no session", SIZES),
    "strings_memory": Figure(61 * MIB, "B", "memory of strings of a worker, when full", MEMORY),
    "record_framing": Figure(10, "B", "what a record takes in a batch beside key and value", FORMAT),
}
"""Everything that is measured, but for what is written for an event."""

KINDS: Final = {
    "session": Written(0.975, 601),
    "device": Written(0.133, 1_341),
    "principal": Written(0.022, 2_397),
    "network": Written(0.003, 470),
}
"""Changelog rows by kind of stage (`SIZES`); of sessions, for 10,000 in a partition and chunks of 512."""

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
"""Records by topic, of a simulated day in which one session in a hundred is attacked (`SIZES`)."""

KEPT_PER_SESSION: Final = ("session", "device", "principal")
"""What is remembered of a live session; at worst each has a device and a principal of its own."""


def value(name: str) -> float:
    """Return the figure called *name*."""
    return FIGURES[name].value
