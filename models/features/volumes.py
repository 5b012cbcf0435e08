"""Volumes: a session's peak of a few counters and what is usual for its principal, one byte each in the session's row.

A byte counts eighths of an octave of 1 + value: 0 to 4 · 10⁹, rounded up by at most 9 %. To cover another counter, add
its name to :data:`VOLUMES`.
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
"""Names of :data:`models.features.table.DECAYED_COUNTERS`, in the order of a row's ``peaks`` and ``usual``."""
BASELINE: Final = ("days_known", "hour_share", "strange_sessions", "strange_networks", "usual_concurrent")
"""The rest of a principal's baseline, one byte each: the share in 255ths, the counts up to 255."""
_STEPS_PER_OCTAVE: Final = 8
STEPS: Final = np.array([2.0 ** (step / _STEPS_PER_OCTAVE) - 1.0 for step in range(256)])
"""The value of each byte, ascending."""


def packed(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The smallest bytes whose values are not below *values*, of any shape.

    >>> packed(np.array([0.0, 1.0, 30.0, 1e12])).tolist()
    [0, 8, 40, 255]
    """
    steps = np.searchsorted(STEPS, values)
    return np.minimum(steps, 255).astype(np.uint8)


def unpacked(steps: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The values of the bytes *steps*.

    >>> unpacked(np.array([0, 8, 40], np.uint8)).tolist()
    [0.0, 1.0, 31.0]
    """
    return STEPS[steps]


def baseline_columns(events: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """The baseline in ``session.context`` events, as the columns of a row; 0 where an event has none.

    *introduced* is false for events that only answer a session's summary, and do not identify its principal.
    """
    usual = [[(event.get("usual") or {}).get(name, 0.0) for name in VOLUMES] for event in events]
    columns = {name: [min(event.get(name) or 0, 255) for event in events] for name in BASELINE}
    columns["hour_share"] = [math.ceil(255 * (event.get("hour_share") or 0.0)) for event in events]
    answers_summary = [event.get("days_known") is not None and event.get("sessions_seen") is None for event in events]
    return {
        "introduced": ~np.array(answers_summary, np.bool_),
        "usual": packed(np.array(usual, np.float64).reshape(len(events), len(VOLUMES))),
        **{name: np.array(column, np.uint8) for name, column in columns.items()},
    }


def named_volumes(steps: NDArray[np.uint8]) -> dict[str, float]:
    """The volumes of one row by name, except those that are 0."""
    values = zip(VOLUMES, unpacked(steps).tolist(), strict=True)
    return {name: round(value, 3) for name, value in values if value}
