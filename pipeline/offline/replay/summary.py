"""Summary of a replay: counts of decisions and commands and, for a labelled recording, results per family."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, NamedTuple

from pydantic_core import from_json

from pipeline.detections.detection import STEP_UP_MISSED
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


class _Revocation(NamedTuple):
    """A revocation: of which session, by which root, and whether because of a missed step-up."""

    session: SessionKey
    root: SessionKey
    missed: bool


Statement = tuple[str, str | None, str | None, tuple[str, ...]]
"""What a decision says: level, action, why it was held back, detections."""


@dataclass(slots=True)
class Scorecard:
    """Counts the messages of a replay; *truth* is the ground truth of each session, if that is known.

    A command that is sent again counts once, and so does a decision that repeats the session's last one.
    """

    truth: dict[SessionKey, Truth] = field(default_factory=dict)
    levels: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    revocations: dict[str, _Revocation] = field(default_factory=dict)
    challenges: set[str] = field(default_factory=set)
    _last: dict[SessionKey, Statement] = field(default_factory=dict)
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
            root = (record["tenant"], record.get("root_session_id") or record["session_id"])
            missed = STEP_UP_MISSED in record["detections"]
            self.revocations.setdefault(record["revocation_id"], _Revocation(session, root, missed))
            self._revoked.add(session)
        else:
            self.challenges.add(record["challenge_id"])
            self._challenged.add(session)

    def _decided(self, session: SessionKey, decision: dict[str, Any]) -> None:
        detections = tuple(sorted(reason["detection"] for reason in decision["reasons"]))
        statement: Statement = (decision["level"], decision["action"], decision.get("suppressed"), detections)
        if statement == self._last.get(session):
            self.repeated += 1
        else:
            self.levels[decision["level"]] += 1
        self._last[session] = statement
        truth = self.truth.get(session)
        if truth and decision["level"] != "LOW" and decision["occurred_at"] >= truth.started_at:
            self._found.setdefault(session, (decision["occurred_at"] - truth.started_at) / 1000)

    def unanswered(self) -> list[SessionKey]:
        """The session of each revocation that followed only because nobody answered a challenge.

        Its own challenge was missed, or that of the session for which it was revoked too.
        """
        roots = {revocation.session for revocation in self.revocations.values() if revocation.missed}
        return [item.session for item in self.revocations.values() if item.missed or item.root in roots]

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
        families, unanswered = self.families(), self.unanswered()
        fields: dict[str, Any] = {
            "decisions": {level: self.levels[level] for level in ("LOW", "MEDIUM", "HIGH")},
            "decisions_repeated": self.repeated,
            "revocations": len(self.revocations),
            "revocations_unanswered": len(unanswered),
            "challenges": len(self.challenges),
        }
        if self.truth:
            fields["families"] = [asdict(row) for row in families]
            honest = {session for session, row in self.truth.items() if row.label == "benign"}
            fields["false_revocations"] = sum(row.revoked for row in families if row.label == "benign")
            fields["false_revocations_unanswered"] = len(honest & set(unanswered))
        return fields
