"""Ground truth of a recording: what each session really was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Intensity = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a session really was, a row of `truth.jsonl`. *started_at*: when the attack, or session, began.

    *intensity*: how loud the attack was, if that is known; nothing for an honest session.
    """

    tenant: str
    session_id: str
    label: Literal["benign", "attack"]
    family: str
    started_at: int
    ended_at: int
    intensity: Intensity | None = None
