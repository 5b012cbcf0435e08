"""Ground truth of a labelled recording: what each session really was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Label = Literal["benign", "attack"]
Intensity = Literal["low", "medium", "high"]
UNNAMED: Final = "unnamed"
"""The family of an honest session to which the recording gives none."""
SKEW_MS: Final = 60_000
"""Tolerance for wrong clocks: what happens up to this long before an attack may belong to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Ground truth of one session, a row of `truth.jsonl`. Times are ms since 1970.

    *started_at* is when the attack began, or an honest session. *intensity* is how conspicuous the attack was, if that
    is known; None for an honest session.
    """

    tenant: str
    session_id: str
    label: Label
    family: str
    started_at: int
    ended_at: int
    intensity: Intensity | None = None

    def is_honest(self, at_ms: int) -> bool:
        """Whether the session's owner controls it at *at_ms*: always, or until its attack begins."""
        return self.label == "benign" or at_ms < self.started_at - SKEW_MS
