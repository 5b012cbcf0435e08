"""Places between two writes at which a worker can be made to die or stand still, to test what it promises.

`FAILPOINT=rows-due:20` has a worker kill itself as `kill -9` would when it reaches that place for the 20th
time, `FAILPOINT=rows-due:20:STOP` has it stand still there until SIGCONT. Without the variable a place costs
one comparison.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "FAILPOINT"
"""Environment variable that arms one place: its name, after colons at which visit and with which signal."""

SIGNALS: Final = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}
"""What the process can send itself: neither can be caught."""

POINTS: Final = {
    "state-restored": "partitions are assigned, their state is read back, no record was read yet",
    "chunk-worked": "a stage has done its work, nothing of it is on its way",
    "messages-handed-over": "its messages are with the producer, no broker has confirmed them all",
    "messages-safe": "the brokers have its messages, rows of the work before may be on their way",
    "rows-due": "its messages and all rows before are safe, none of its own rows is on its way",
    "rows-handed-over": "its rows are with the producer, no broker has confirmed them all",
    "rows-safe": "its rows are safe, its chunks are not acknowledged",
    "chunk-acknowledged": "its chunks are acknowledged, their offsets are not committed",
    "offsets-due": "it is known which offsets to commit, the brokers were not told",
    "offsets-committed": "the brokers have the offsets",
    "work-settled": "partitions are to be given up, all work has ended, its offsets are not committed",
}
"""Every place, with what is done and what is not when a worker dies there; in the order it gets there."""

Visit = Callable[[str], None]
_visit: Visit | None = None


class FailpointError(ValueError):
    """The environment names no such place; the message says which there are."""


def hit(point: str) -> None:
    """Be at *point*, one of `POINTS`."""
    if _visit is not None:
        _visit(point)


def visited_by(visit: Visit | None) -> None:
    """Have *visit* called with the name of each place that is reached; `None` for nobody."""
    global _visit  # noqa: PLW0603 - there is one process, and a place must cost next to nothing
    _visit = visit


def arm(spec: str | None) -> None:
    """Have this process end or stop as *told*, in the form of `VARIABLE`; raises `FailpointError`."""
    if not spec:
        return
    name, visit, number, *rest = [*spec.split(":"), *("1", "KILL")[spec.count(":") :]]
    if rest or name not in POINTS or not visit.isdecimal() or int(visit) < 1 or number not in SIGNALS:
        raise FailpointError(
            f"{VARIABLE}={spec}: write NAME, NAME:VISIT or NAME:VISIT:SIGNAL, with VISIT from 1, SIGNAL "
            f"{' or '.join(SIGNALS)}, and NAME one of {', '.join(POINTS)}"
        )
    visited_by(_signal_at(name, int(visit), SIGNALS[number]))


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
