"""What was true of the sessions of an evaluation."""

from __future__ import annotations

from typing import Any

from pipeline.sources.ground_truth import Truth
from pipeline.times import HOUR_MS
from tests.support.samples import T0


def truth(session_id: str, label: str = "benign", **members: Any) -> Truth:
    """A row about a session of ten hours, attacked after five if it is."""
    usual = {"family": "ordinary", "started_at": T0 + (5 * HOUR_MS if label == "attack" else 0)}
    fields = {"tenant": "default", "session_id": session_id, "label": label, "ended_at": T0 + 10 * HOUR_MS}
    return Truth(**{**usual, **fields, **members})
