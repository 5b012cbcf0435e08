"""The race's job in plain Python, for contestants that are written in it: 24 fading sums of a session."""

from __future__ import annotations

from typing import Any

HALF_LIVES_MS = (60_000.0, 600_000.0, 3_600_000.0)
EACH = 100
"""Events for which one record goes out."""


def marks(event: dict[str, Any]) -> tuple[float, ...]:
    """What a call adds to the sums."""
    status, records = event["status"], event.get("records", 0)
    return (
        1.0,
        status >= 400,
        status in (401, 403),
        event.get("bytes_out", 0),
        records,
        records if event.get("sensitivity") == "confidential" else 0,
        event.get("method", "GET") != "GET",
        event.get("latency_ms", 0),
    )


def faded(row: list[float] | None, event: dict[str, Any]) -> list[float]:
    """A session's *row*, time and sums, brought up to *event*."""
    added, at = marks(event), event["occurred_at"]
    before, *sums = row or [at, *(0.0 for _ in HALF_LIVES_MS for _ in added)]
    newest, fresh = max(at, before), [max(at, before)]
    for number, half in enumerate(HALF_LIVES_MS):
        left, counts = 0.5 ** ((newest - before) / half), 0.5 ** ((newest - at) / half)
        part = sums[number * len(added) : (number + 1) * len(added)]
        fresh += [this_number * left + more * counts for this_number, more in zip(part, added, strict=True)]
    return fresh
