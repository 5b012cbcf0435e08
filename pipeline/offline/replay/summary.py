"""What a replay came to: decisions and commands counted and, where the truth is known, held against it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from pydantic_core import from_json

from pipeline.offline.replay.labels import SessionKey
from pipeline.processing.processor import Message
from pipeline.sources.ground_truth import Truth
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK


@dataclass(frozen=True, slots=True)
class FamilyRow:
    """What became of the sessions of one family: *found* ones reached MEDIUM or HIGH once the attack was on.

    *delay_s*: the median of the seconds from an attack's beginning to that, in event time.
    """

    family: str
    label: str
    sessions: int
    found: int
    challenged: int
    revoked: int
    delay_s: float | None


@dataclass(slots=True)
class Scorecard:
    """Takes every message of a replay; *truth* is what each session really was, if that is known."""

    truth: dict[SessionKey, Truth] = field(default_factory=dict)
    levels: Counter[str] = field(default_factory=Counter)
    revocations: set[str] = field(default_factory=set)
    challenges: set[str] = field(default_factory=set)
    _found: dict[SessionKey, float] = field(default_factory=dict)
    _revoked: set[SessionKey] = field(default_factory=set)
    _challenged: set[SessionKey] = field(default_factory=set)

    @classmethod
    def against(cls, truth: Iterable[Truth]) -> Scorecard:
        """Return a scorecard that knows the *truth*."""
        return cls({(row.tenant, row.session_id): row for row in truth})

    def take(self, message: Message) -> None:
        """Count *message*, if it is a decision or a command."""
        if message.topic not in (SESSION_RISK, SESSION_REVOCATIONS, SESSION_CHALLENGES):
            return
        details = from_json(message.value)
        session = (details["tenant"], details["session_id"])
        if message.topic == SESSION_RISK:
            self._decided(session, details)
        elif message.topic == SESSION_REVOCATIONS:
            self.revocations.add(details["revocation_id"])
            self._revoked.add(session)
        else:
            self.challenges.add(details["challenge_id"])
            self._challenged.add(session)

    def _decided(self, session: SessionKey, fields: dict[str, Any]) -> None:
        self.levels[fields["level"]] += 1
        truth = self.truth.get(session)
        if truth and fields["level"] != "LOW" and fields["occurred_at"] >= truth.started_at:
            self._found.setdefault(session, (fields["occurred_at"] - truth.started_at) / 1000)

    def families(self) -> list[FamilyRow]:
        """Return a row for each family, attacks first."""
        members: defaultdict[tuple[str, str], list[SessionKey]] = defaultdict(list)
        for session, truth in self.truth.items():
            members[truth.label, truth.family].append(session)
        return [self._row(family, label, sessions) for (label, family), sessions in sorted(members.items())]

    def _row(self, family: str, label: str, sessions: list[SessionKey]) -> FamilyRow:
        delays = [self._found[session] for session in sessions if session in self._found]
        return FamilyRow(
            family,
            label,
            sessions=len(sessions),
            found=len(delays),
            challenged=sum(session in self._challenged for session in sessions),
            revoked=sum(session in self._revoked for session in sessions),
            delay_s=round(median(delays), 1) if delays and label == "attack" else None,
        )

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        families = self.families()
        fields: dict[str, Any] = {
            "decisions": {level: self.levels[level] for level in ("LOW", "MEDIUM", "HIGH")},
            "revocations": len(self.revocations),
            "challenges": len(self.challenges),
        }
        if self.truth:
            fields["families"] = [asdict(row) for row in families]
            fields["false_revocations"] = sum(row.revoked for row in families if row.label == "benign")
        return fields
