"""What the passing of time means for each session, held against the same said of whole columns."""

from __future__ import annotations

import numpy as np
import pytest

from models.events.batch import DEVICE
from models.state.table import ENDED, REVOKED, Rows, row_type
from models.updates.passing_time import DUE, EXPIRED, SUMMARY, Patience, concerned

HOUR = 3_600_000
PATIENCE = Patience(3600.0, 600.5, 7200.0, 3.0, np.array([0b0110, 0b1000], np.uint64), 30 * 60_000)
WAS, AT = 100 * HOUR - 10_000, 100 * HOUR


def some_rows(seed: int, count: int) -> Rows:
    """Rows with times close to every bound, and each flag, device, mask and peak present or not."""
    random = np.random.default_rng(seed)
    rows = np.zeros(count, row_type(2))
    near = [0, 1, 9_999, 10_000, 10_001, 600_500, 600_501, 1_800_000, 3_600_000, 3_600_001, 7_200_000, 7_200_001]
    times = AT - np.array([*near, -1, -60_000, 29_999, 30_000, 30_001, 59_999, 60_001])
    for name in ("seen_at", "client_at", "heard_at", "wake_at", "started_at"):
        rows[name] = random.choice(times, count) * (random.random(count) < 0.8)
    rows["woken_s"] = random.choice(times, count) // 1000 * (random.random(count) < 0.3)
    rows["interval_ms"] = random.choice([0, 10_000, 20_000, 60_000], count)
    rows["client"][:, DEVICE] = random.integers(0, 2, count)
    rows["flags"] = random.choice([0, 0, ENDED, REVOKED, ENDED | REVOKED, 1], count)
    rows["mask"] = random.integers(0, 16, (count, 2)) * (random.random((count, 2)) < 0.3)
    rows["peaks"][:, 3] = random.integers(0, 2, count)
    return rows


def by_columns(rows: Rows) -> list[int]:
    """The same as :func:`concerned`, column by column."""
    flags, over = rows["flags"], rows["flags"] & (ENDED | REVOKED) != 0
    used_at = np.where(rows["client_at"] > 0, rows["client_at"], rows["seen_at"])
    since = np.where(over, rows["seen_at"], used_at)
    keep_s = np.where(flags & ENDED, 600.5, 3600.0)
    keep_s = np.where(flags & REVOKED, 7200.0, keep_s)
    lives = rows["started_at"] != 0
    expired = lives & (AT - since > keep_s * 1000)
    silent_since = np.maximum(rows["heard_at"], rows["woken_s"].astype(np.int64) * 1000 - rows["interval_ms"])
    promised = (rows["client"][:, DEVICE] != 0) & (rows["interval_ms"] > 0) & (rows["heard_at"] > 0)
    silent = promised & (AT - silent_since > rows["interval_ms"] * 3.0)
    unsaid = ~(rows["mask"] & PATIENCE.silence).any(axis=1)
    waking = (rows["wake_at"] > 0) & (rows["wake_at"] <= AT)
    due = lives & (flags & ENDED == 0) & (rows["seen_at"] <= AT)
    due &= waking | (silent & unsaid & (flags & REVOKED == 0))
    age, before = AT - rows["started_at"], np.maximum(WAS - rows["started_at"], 0)
    summary = lives & (age // 1_800_000 > before // 1_800_000) & ~over & rows["peaks"].any(axis=1)
    marks: list[int] = np.where(expired, EXPIRED, due * DUE + summary * SUMMARY).tolist()
    return marks


@pytest.mark.parametrize("seed", range(5))
def test_the_passing_of_time_means_the_same_for_one_session_after_another_as_for_all_at_once(seed: int) -> None:
    rows = some_rows(seed, 4_000)

    marks = concerned(rows, WAS, AT, PATIENCE).tolist()

    assert marks == by_columns(rows)
    assert set(marks) == {0, EXPIRED, DUE, SUMMARY, DUE | SUMMARY}


def test_no_session_is_no_concern() -> None:
    assert concerned(some_rows(0, 0), WAS, AT, PATIENCE).tolist() == []
