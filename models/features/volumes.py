"""How much a session does at most, and what of it is usual: a byte each in a session's row.

A byte counts eighths of an octave of 1 + value: 0 to 4 · 10⁹, never told too small and at most 9 % too large.
To follow another sum, add its name to :data:`VOLUMES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

VOLUMES: Final = (
    "calls_10m",
    "records_10m",
    "sensitive_records_10m",
    "denied_10m",
    "refused_10m",
    "tool_calls_1m",
)
"""Names of :data:`models.features.table.SUMS`, in the order of a row's ``peaks`` and ``usual``."""
BASELINE: Final = ("days_known", "hour_share", "strange_sessions", "strange_networks", "usual_concurrent")
"""What else is usual for a principal, one byte each; the share in 255ths, the counts up to 255."""
_STEPS_PER_OCTAVE: Final = 8
STEPS: Final = np.array([2.0 ** (step / _STEPS_PER_OCTAVE) - 1.0 for step in range(256)])
"""What each step stands for, ascending."""


def packed(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The smallest steps that are not below *values*, of any shape.

    >>> packed(np.array([0.0, 1.0, 30.0, 1e12])).tolist()
    [0, 8, 40, 255]
    """
    steps = np.searchsorted(STEPS, values)
    return np.minimum(steps, 255).astype(np.uint8)


def unpacked(steps: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What *steps* stand for.

    >>> unpacked(np.array([0, 8, 40], np.uint8)).tolist()
    [0.0, 1.0, 31.0]
    """
    values: NDArray[np.float64] = STEPS[steps]
    return values


def baseline_columns(events: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """What ``session.context`` events say of what is usual, as bytes of a row; what is not said is 0.

    *introduced* tells which do not only answer a summary, but say also who the session is.
    """
    usual = [[(event.get("usual") or {}).get(name, 0.0) for name in VOLUMES] for event in events]
    columns = {name: [min(event.get(name) or 0, 255) for event in events] for name in BASELINE}
    columns["hour_share"] = [math.ceil(255 * (event.get("hour_share") or 0.0)) for event in events]
    summary = [e.get("days_known") is not None and e.get("sessions_seen") is None for e in events]
    return {
        "introduced": ~np.array(summary, np.bool_),
        "usual": packed(np.array(usual, np.float64).reshape(len(events), len(VOLUMES))),
        **{name: np.array(column, np.uint8) for name, column in columns.items()},
    }


def named_volumes(steps: NDArray[np.uint8]) -> dict[str, float]:
    """The volumes of one row by name, without those that are 0."""
    values = zip(VOLUMES, unpacked(steps).tolist(), strict=True)
    return {name: round(value, 3) for name, value in values if value}
