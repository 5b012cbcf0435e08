"""What became of every session of a played recording, and the measures that follow from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from pydantic_core import from_json

from pipeline.offline.replay.labels import SessionKey
from pipeline.processing.processor import Message
from pipeline.sources.ground_truth import Truth
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS

HOUR_MS: Final = 3_600_000
SKEW_MS: Final = 60_000
"""So far clocks of devices are off: what was commanded so long before an attack began may be for it."""


@dataclass(frozen=True, slots=True)
class Met:
    """What a group of attacked sessions met.

    *delay_s* and *slow_s*: median and 90th percentile of the seconds of event time from an attack's beginning
    to its revocation; ``None`` where none was revoked.
    """

    sessions: int
    intervened: int
    revoked: int
    delay_s: float | None
    slow_s: float | None


@dataclass(frozen=True, slots=True)
class Spared:
    """What honest sessions had to bear: counts, and how long they were in their owners' hands."""

    sessions: int
    hours: float
    revoked: int
    challenged: int

    @property
    def revocations_per_10000_hours(self) -> float:
        """False revocations per 10,000 hours of honest sessions."""
        return 1e4 * self.revoked / self.hours if self.hours else 0.0

    @property
    def challenges_per_1000_hours(self) -> float:
        """False challenges per 1,000 hours of honest sessions."""
        return 1e3 * self.challenged / self.hours if self.hours else 0.0


@dataclass(slots=True)
class Outcomes:
    """Takes what a replay says; knows the truth about each session.

    Attributes:
        truth: of each session.
        begun: when each session's first event was, ms; an attack's own beginning is in the truth.
    """

    truth: dict[SessionKey, Truth]
    begun: dict[SessionKey, int] = field(default_factory=dict)
    revoked: dict[SessionKey, int] = field(default_factory=dict)
    challenged: dict[SessionKey, list[int]] = field(default_factory=lambda: defaultdict(list))
    causes: dict[SessionKey, list[str]] = field(default_factory=dict)

    @classmethod
    def against(cls, truth: Iterable[Truth]) -> Outcomes:
        """Outcomes of sessions whose *truth* is known."""
        return cls({(row.tenant, row.session_id): row for row in truth})

    def honest(self, tenant: str, session_id: str, at: int) -> bool:
        """Whether a session is in its owner's hands at *at*."""
        truth = self.truth.get((tenant, session_id))
        return truth is None or truth.label == "benign" or at < truth.started_at - SKEW_MS

    def hear(self, message: Message) -> None:
        """Take note of a command."""
        if message.topic not in (SESSION_REVOCATIONS, SESSION_CHALLENGES):
            return
        details = from_json(message.value)
        session = (details["tenant"], details["session_id"])
        if message.topic == SESSION_CHALLENGES:
            self.challenged[session].append(details["decided_at"])
        elif session not in self.revoked:
            self.revoked[session] = details["decided_at"]
            self.causes[session] = details["detections"]

    def delays(self, fits: Callable[[Truth], bool] = lambda _: True) -> list[float]:
        """Seconds from the beginning of each attack that *fits* chooses to its revocation, where one came."""
        attacked = ((key, row) for key, row in self.truth.items() if row.label == "attack" and fits(row))
        found = (self._after(self.revoked.get(key), row) for key, row in attacked)
        return [number for number in found if number is not None]

    def met(self, fits: Callable[[Truth], bool] = lambda _: True) -> Met:
        """What the attacked sessions that *fits* chooses met after their attack had begun."""
        attacked = {key: row for key, row in self.truth.items() if row.label == "attack" and fits(row)}
        intervened = 0
        for key, row in attacked.items():
            revoked = self._after(self.revoked.get(key), row)
            challenged = any(at >= row.started_at - SKEW_MS for at in self.challenged.get(key, ()))
            intervened += revoked is not None or challenged
        delays = self.delays(fits)
        slow = [round(float(item), 1) for item in np.quantile(delays, (0.5, 0.9))] if delays else [None, None]
        return Met(len(attacked), intervened, len(delays), *slow)

    @staticmethod
    def _after(at: int | None, row: Truth) -> float | None:
        if at is None or at < row.started_at - SKEW_MS:
            return None
        return max(0, at - row.started_at) / 1000

    def spared(self, fits: Callable[[Truth], bool] = lambda _: True) -> Spared:
        """What honest sessions, and those attacked until their attack began, had to bear."""
        hours, revoked, challenged, sessions = 0.0, 0, 0, 0
        for key, row in self.truth.items():
            if not fits(row):
                continue
            attacked = row.label == "attack"
            begun = self.begun.get(key, row.started_at)
            until = row.started_at if attacked else row.ended_at
            sessions += not attacked
            hours += max(0, until - begun) / HOUR_MS
            revoked += key in self.revoked and self.honest(*key, self.revoked[key])
            challenged += sum(self.honest(*key, at) for at in self.challenged.get(key, ()))
        return Spared(sessions, hours, revoked, challenged)
