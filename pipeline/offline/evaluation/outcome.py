"""Outcomes of the sessions of a replay, and the measures computed from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from pydantic_core import from_json

from pipeline.offline.replay.labels import SessionKey
from pipeline.processing.processor import Message
from pipeline.sources.ground_truth import SKEW_MS, Truth
from pipeline.times import HOUR_MS
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS


@dataclass(frozen=True, slots=True)
class AttackResults:
    """Results for a group of attacked sessions; those with a challenge or revocation are *intervened*.

    *delay_s* and *slow_s*: median and 90th percentile of the event time from an attack's beginning to its revocation,
    in seconds; None if none was revoked.
    """

    sessions: int
    intervened: int
    revoked: int
    delay_s: float | None
    slow_s: float | None


@dataclass(frozen=True, slots=True)
class HonestCosts:
    """False interventions for honest sessions, and the hours in which their owners controlled them."""

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
    """Collects the commands of a replay and compares them with the ground truth.

    Attributes:
        truth: the ground truth of each session.
        begun: time of each session's first event, ms; the beginning of an attack is in the ground truth.
    """

    truth: dict[SessionKey, Truth]
    begun: dict[SessionKey, int] = field(default_factory=dict)
    revoked: dict[SessionKey, int] = field(default_factory=dict)
    challenged: dict[SessionKey, list[int]] = field(default_factory=lambda: defaultdict(list))
    causes: dict[SessionKey, list[str]] = field(default_factory=dict)

    @classmethod
    def against(cls, truth: Iterable[Truth]) -> Outcomes:
        """Return outcomes to compare with *truth*."""
        return cls({(row.tenant, row.session_id): row for row in truth})

    def honest(self, tenant: str, session_id: str, at: int) -> bool:
        """Whether the owner controls the session at *at* (ms)."""
        truth = self.truth.get((tenant, session_id))
        return truth is None or truth.is_honest(at)

    def observe(self, message: Message) -> None:
        """Add *message*, if it is a command."""
        if message.topic not in (SESSION_REVOCATIONS, SESSION_CHALLENGES):
            return
        command = from_json(message.value)
        session = (command["tenant"], command["session_id"])
        if message.topic == SESSION_CHALLENGES:
            self.challenged[session].append(command["decided_at"])
        elif session not in self.revoked:
            self.revoked[session] = command["decided_at"]
            self.causes[session] = command["detections"]

    def delays(self, fits: Callable[[Truth], bool] = lambda _: True) -> list[float]:
        """Seconds from the beginning of each attack that *fits* selects to its revocation, if it was revoked."""
        attacked = ((key, row) for key, row in self.truth.items() if row.label == "attack" and fits(row))
        found = (self._after(self.revoked.get(key), row) for key, row in attacked)
        return [number for number in found if number is not None]

    def attack_results(self, fits: Callable[[Truth], bool] = lambda _: True) -> AttackResults:
        """Results for the attacked sessions that *fits* selects, after their attack began."""
        attacked = {key: row for key, row in self.truth.items() if row.label == "attack" and fits(row)}
        intervened = 0
        for key, row in attacked.items():
            revoked = self._after(self.revoked.get(key), row)
            challenged = any(at >= row.started_at - SKEW_MS for at in self.challenged.get(key, ()))
            intervened += revoked is not None or challenged
        delays = self.delays(fits)
        slow = [round(float(item), 1) for item in np.quantile(delays, (0.5, 0.9))] if delays else [None, None]
        return AttackResults(len(attacked), intervened, len(delays), *slow)

    @staticmethod
    def _after(at: int | None, row: Truth) -> float | None:
        if at is None or at < row.started_at - SKEW_MS:
            return None
        return max(0, at - row.started_at) / 1000

    def honest_costs(self, fits: Callable[[Truth], bool] = lambda _: True) -> HonestCosts:
        """False interventions for honest sessions, and for attacked ones before their attack began."""
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
        return HonestCosts(sessions, hours, revoked, challenged)
