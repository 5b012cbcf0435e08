"""Passing time: which sessions it concerns without any event: they expire, are due for a decision or for a summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.events.batch import DEVICE
from models.jit import compiled
from models.state.table import ENDED, REVOKED, Rows

EXPIRED, DUE, SUMMARY = 1, 2, 4
"""Bits of what :func:`concerned` finds; an expired session has no other."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long sessions are kept and waited for.

    Attributes:
        idle_s: seconds after its last use after which a session expires.
        ended_s: the same after its sign-out.
        revoked_s: the same after its revocation.
        silent_intervals: heartbeat intervals after which a device counts as silent.
        silence: the bits of the detections that say so, a mask ``(words,)``: a session that has one is not due again.
        summary_ms: milliseconds of a session's life between two summaries.
    """

    idle_s: float
    ended_s: float
    revoked_s: float
    silent_intervals: float
    silence: NDArray[np.uint64]
    summary_ms: int


def concerned(rows: Rows, was: int, at: int, patience: Patience) -> NDArray[np.uint8]:
    """What each session has to do with time having passed from *was* to *at*, ms of event time; ``(n,)`` bits.

    A session is due where its wake time has come, or its device fell silent and nothing says so yet.
    """
    marks = np.zeros(rows.size, np.uint8)
    keep_ms = np.array([patience.idle_s, patience.ended_s, patience.revoked_s]) * 1000
    _mark(rows, was, at, keep_ms, patience.silent_intervals, patience.silence, patience.summary_ms, marks)
    return marks


@compiled
def _mark(  # noqa: PLR0913, PLR0917 - compiled: no objects, so everything one by one
    rows: Any,
    was: int,
    at: int,
    keep_ms: Any,
    silent_intervals: float,
    silence: Any,
    summary_ms: int,
    marks: Any,
) -> None:
    for number in range(rows.size):
        row = rows[number]
        if row.started_at == 0:
            continue
        ended, revoked = row.flags & ENDED != 0, row.flags & REVOKED != 0
        # Telemetry does not count as use: the phone of an abandoned session may go on reporting for months.
        since = row.seen_at if ended or revoked or row.client_at <= 0 else row.client_at
        if at - since > keep_ms[2 if revoked else 1 if ended else 0]:
            marks[number] = EXPIRED
            continue
        if not ended and row.seen_at <= at:
            waking = row.wake_at > 0 and row.wake_at <= at
            if waking or (not revoked and _fell_silent(row, at, silent_intervals, silence)):
                marks[number] = DUE
        age, before = at - row.started_at, max(was - row.started_at, 0)
        if not ended and not revoked and age // summary_ms > before // summary_ms:
            for volume in range(row.peaks.size):
                if row.peaks[volume] != 0:
                    marks[number] |= SUMMARY
                    break


@compiled
def _fell_silent(row: Any, at: int, silent_intervals: float, silence: Any) -> bool:
    if row.client[DEVICE] == 0 or row.interval_ms == 0 or row.heard_at <= 0:
        return False
    woken = np.int64(row.woken_s) * 1000 - np.int64(row.interval_ms)
    if at - max(row.heard_at, woken) <= row.interval_ms * silent_intervals:
        return False
    said = np.uint64(0)
    for word in range(silence.size):
        said |= row.mask[word] & silence[word]
    return bool(said == 0)
