"""Failpoints: named places between two writes at which a worker can be made to die or to stop, to test its promises.

`FAILPOINT=rows-due:20` makes a worker kill itself, as `kill -9` would, when it reaches that place for the 20th time;
`FAILPOINT=rows-due:20:STOP` makes it stop there until SIGCONT. Without the variable a failpoint costs one comparison.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "FAILPOINT"
"""Environment variable that arms one failpoint: its name, then after colons the visit and the signal."""

SIGNALS: Final = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}
"""Signals that the process can send to itself; neither can be caught."""

POINTS: Final = {
    "state-restored": "partitions are assigned, their state is restored, no record was read yet",
    "chunk-worked": "a processor has processed a chunk, nothing of its outcome is sent",
    "messages-handed-over": "its messages are with the producer, not all of them are acknowledged",
    "messages-safe": "its messages are acknowledged, rows of the chunk before may still be on their way",
    "rows-due": "its messages and all rows before are acknowledged, none of its own rows is sent",
    "rows-handed-over": "its rows are with the producer, not all of them are acknowledged",
    "rows-safe": "its rows are acknowledged, its chunks are not marked as done",
    "chunk-acknowledged": "its chunks are marked as done, their offsets are not committed",
    "offsets-due": "the offsets to commit are known, the commit is not sent",
    "offsets-committed": "the offsets are committed",
    "work-settled": "partitions are being given up, all work has ended, its offsets are not committed",
}
"""All failpoints in the order a worker reaches them, each with what is done and what is not when it dies there."""

Visit = Callable[[str], None]
_visit: Visit | None = None


class FailpointError(ValueError):
    """The environment names no such failpoint; the message lists them."""


def hit(point: str) -> None:
    """Reach failpoint *point*, one of `POINTS`."""
    if _visit is not None:
        _visit(point)


def set_visitor(visit: Visit | None) -> None:
    """Call *visit* with the name of each failpoint that is reached; `None` removes the visitor."""
    global _visit  # noqa: PLW0603 - there is one process, and a failpoint must cost next to nothing
    _visit = visit


def arm(spec: str | None) -> None:
    """Arm the failpoint that *spec* describes in the form of `VARIABLE`, if any; raises `FailpointError`."""
    if not spec:
        return
    name, visit, number, *rest = [*spec.split(":"), *("1", "KILL")[spec.count(":") :]]
    if rest or name not in POINTS or not visit.isdecimal() or int(visit) < 1 or number not in SIGNALS:
        raise FailpointError(
            f"{VARIABLE}={spec}: write NAME, NAME:VISIT or NAME:VISIT:SIGNAL, with VISIT from 1, SIGNAL "
            f"{' or '.join(SIGNALS)}, and NAME one of {', '.join(POINTS)}"
        )
    set_visitor(_signal_at(name, int(visit), SIGNALS[number]))


def _signal_at(name: str, visit: int, number: signal.Signals) -> Visit:
    left = visit

    def hit(point: str) -> None:
        nonlocal left
        if point != name:
            return
        left -= 1
        if left == 0:
            sys.stderr.write(f"{VARIABLE}={name}:{visit} is reached: {POINTS[name]}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), number)

    return hit
