"""All runs in one table, for a person to read at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Final, NamedTuple

from tests.faults.outcome import Run, Wrong


class Received(NamedTuple):
    """What is told of a run: which fault, drawn by which *seed*; *run* is `None` where it came to no end."""

    fault: str
    seed: int
    run: Run | None

    def line(self) -> str:
        """Return it in a line."""
        if self.run is None:
            return f"{self.fault}, seed {self.seed}: {UNENDED}"
        run = self.run
        counts = ", ".join(f"{what} {number}" for what, number in asdict(run.wrong).items())
        return (
            f"{self.fault}, seed {self.seed}: {run.events:,} events in; {counts}; {run.repeated:,} records "
            f"repeated, recovered in {run.recovered_s:.1f} s, {run.restarts} restarts"
        )


COLUMNS: Final = {
    "seed": "",
    "events": "events that went in",
    "levels": "sessions that ended at another level than they must",
    "missing": "revocations that had to come and did not",
    "surplus": "revocations that came and had not to",
    "miscounted": "events that were lost, or counted not exactly once",
    "unread": "dead letters of records that can be read",
    "unburied": "records that cannot be read and have no dead letter",
    "repeated": "records that came again with the same id, which is allowed",
    "restarts": "workers that failed and were followed by another",
    "recovered": "seconds from the fault until all that had been sent before it was done",
}
"""What is told of each run, and what it means; from levels to unburied it must be 0."""
UNENDED: Final = "came to no end"


def table(received: Sequence[Received]) -> list[str]:
    """Return the lines of a table of all that was *received*, what its columns mean, and how many were good."""
    rows = [(*COLUMNS, "fault"), *(_cells(item) for item in received)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    lines = [
        "  ".join([*(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    good = sum(item.run is not None and item.run.wrong == Wrong() for item in received)
    meanings = [f"{name}: {meaning}" for name, meaning in COLUMNS.items() if meaning]
    return [*lines, "", *meanings, "", f"{good} of {len(received)} runs lost nothing and doubled nothing"]


def _cells(one: Received) -> tuple[str, ...]:
    if one.run is None:
        return str(one.seed), *["–"] * (len(COLUMNS) - 1), f"{one.fault} ({UNENDED})"
    run = one.run
    counts = (run.events, *astuple(run.wrong), run.repeated, run.restarts)
    return str(one.seed), *(f"{count:,}" for count in counts), f"{run.recovered_s:.1f}", one.fault
