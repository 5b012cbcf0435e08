"""Ground truth of a labelled recording: what each session really was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Intensity = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Ground truth of one session, a row of `truth.jsonl`. Times are ms since 1970.

    *started_at* is when the attack began, or an honest session. *intensity* is how conspicuous the attack was, if that
    is known; None for an honest session.
    """

    tenant: str
    session_id: str
    label: Literal["benign", "attack"]
    family: str
    started_at: int
    ended_at: int
    intensity: Intensity | None = None
