"""Summary of a replay: counts of decisions and commands and, for a labelled recording, results per family."""

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
    """Results for the sessions of one family: those *found* reached MEDIUM or HIGH after the attack began.

    *delay_s*: the median of the event time from the beginning of the attack to that, in seconds.
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
    """Counts the messages of a replay; *truth* is the ground truth of each session, if that is known."""

    truth: dict[SessionKey, Truth] = field(default_factory=dict)
    levels: Counter[str] = field(default_factory=Counter)
    revocations: set[str] = field(default_factory=set)
    challenges: set[str] = field(default_factory=set)
    _found: dict[SessionKey, float] = field(default_factory=dict)
    _revoked: set[SessionKey] = field(default_factory=set)
    _challenged: set[SessionKey] = field(default_factory=set)

    @classmethod
    def against(cls, truth: Iterable[Truth]) -> Scorecard:
        """Return a scorecard that compares with *truth*."""
        return cls({(row.tenant, row.session_id): row for row in truth})

    def take(self, message: Message) -> None:
        """Count *message*, if it is a decision or a command."""
        if message.topic not in (SESSION_RISK, SESSION_REVOCATIONS, SESSION_CHALLENGES):
            return
        record = from_json(message.value)
        session = (record["tenant"], record["session_id"])
        if message.topic == SESSION_RISK:
            self._decided(session, record)
        elif message.topic == SESSION_REVOCATIONS:
            self.revocations.add(record["revocation_id"])
            self._revoked.add(session)
        else:
            self.challenges.add(record["challenge_id"])
            self._challenged.add(session)

    def _decided(self, session: SessionKey, decision: dict[str, Any]) -> None:
        self.levels[decision["level"]] += 1
        truth = self.truth.get(session)
        if truth and decision["level"] != "LOW" and decision["occurred_at"] >= truth.started_at:
            self._found.setdefault(session, (decision["occurred_at"] - truth.started_at) / 1000)

    def families(self) -> list[FamilyRow]:
        """Return a row for each family, attacks first."""
        by_family: defaultdict[tuple[str, str], list[SessionKey]] = defaultdict(list)
        for session, truth in self.truth.items():
            by_family[truth.label, truth.family].append(session)
        return [self._row(family, label, sessions) for (label, family), sessions in sorted(by_family.items())]

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
        """Return the summary as plain values."""
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
