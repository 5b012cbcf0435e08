"""Passing time: which sessions it concerns without any event: they expire, are due for a decision or for a summary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.batch import DEVICE
from models.jit import compiled
from models.state.table import ENDED, REVOKED, Rows

EXPIRED, DUE, SUMMARY = 1, 2, 4
"""Bits of what :func:`concerned` finds; an expired session has no other."""


class Patience(NamedTuple):
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
    _mark(rows, was, at, patience, marks)
    return marks


@compiled
def _mark(rows: Any, was: int, at: int, patience: Any, marks: Any) -> None:
    for number in range(rows.size):
        row = rows[number]
        if row.started_at == 0:
            continue
        ended, revoked = row.flags & ENDED != 0, row.flags & REVOKED != 0
        # Telemetry does not count as use: the phone of an abandoned session may go on reporting for months.
        since = row.seen_at if ended or revoked or row.client_at <= 0 else row.client_at
        keep_s = patience.revoked_s if revoked else patience.ended_s if ended else patience.idle_s
        if at - since > keep_s * 1000:
            marks[number] = EXPIRED
            continue
        if not ended and row.seen_at <= at:
            waking = row.wake_at > 0 and row.wake_at <= at
            if waking or (not revoked and _fell_silent(row, at, patience)):
                marks[number] = DUE
        age, before = at - row.started_at, max(was - row.started_at, 0)
        if not ended and not revoked and age // patience.summary_ms > before // patience.summary_ms:
            for volume in range(row.peaks.size):
                if row.peaks[volume] != 0:
                    marks[number] |= SUMMARY
                    break


@compiled
def _fell_silent(row: Any, at: int, patience: Any) -> bool:
    if row.client[DEVICE] == 0 or row.interval_ms == 0 or row.heard_at <= 0:
        return False
    woken = np.int64(row.woken_s) * 1000 - np.int64(row.interval_ms)
    if at - max(row.heard_at, woken) <= row.interval_ms * patience.silent_intervals:
        return False
    said = np.uint64(0)
    for word in range(patience.silence.size):
        said |= row.mask[word] & patience.silence[word]
    return bool(said == 0)
