"""What is known of vectors, and since when: the verdicts of people, point-in-time correct, and the truth.

A label must not leak: into a vector goes only what was said *after* it was scored, so that no feature and no
level of it can already have been moved by the verdict, and nothing that was said after the export's cut-off.
A verdict that corrects an earlier one about the same decision reaches the vectors the earlier one reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.sources.ground_truth import Truth
from schemas.control import SessionFeedback

MEANING: Final[dict[str, int | None]] = {
    "true_positive": 1,
    "confirmed_compromised": 1,
    "false_positive": 0,
    "benign_true_positive": 0,
    "unsure": None,
}
"""1 where the verdict says that there was an attack, 0 where it says that there was none."""

SessionKey = tuple[str, str]
"""Tenant and session id."""


class Label(NamedTuple):
    """A verdict as it stands beside a vector; *at* is when it was given, ms."""

    verdict: str
    at: int
    by: str
    decision_id: str | None

    @property
    def meaning(self) -> int | None:
        """Return what it says: see `MEANING`."""
        return MEANING[self.verdict]


@dataclass(slots=True)
class _Question:
    """What was said about one decision, or about the session as such: since when, and the last word."""

    first_at: int
    last: Label


class Labels:
    """The verdicts given until *as_of* (ms; `None`: all), each for vectors scored up to *reach_ms* before it.

    Verdicts come in the order in which they were given, as far as two are of the same time.
    """

    def __init__(self, verdicts: Iterable[SessionFeedback], as_of: int | None, reach_ms: int) -> None:
        self.as_of = as_of
        self._reach_ms = reach_ms
        self._asked: defaultdict[SessionKey, dict[str | None, _Question]] = defaultdict(dict)
        known = (verdict for verdict in verdicts if as_of is None or verdict.occurred_at <= as_of)
        for session_feedback in sorted(known, key=lambda this_session_feedback: this_session_feedback.occurred_at):
            label = Label(
                session_feedback.verdict,
                session_feedback.occurred_at,
                session_feedback.reported_by,
                session_feedback.decision_id,
            )
            asked = self._asked[session_feedback.tenant, session_feedback.session_id]
            if session_feedback.decision_id in asked:
                asked[session_feedback.decision_id].last = label
            else:
                asked[session_feedback.decision_id] = _Question(session_feedback.occurred_at, label)

    def of(self, session: SessionKey, scored_at: int) -> Label | None:
        """Return the newest word on a vector of *session* scored at *scored_at*, if there is any."""
        labels = [
            question.last
            for question in self._asked.get(session, {}).values()
            if scored_at <= question.first_at <= scored_at + self._reach_ms
        ]
        return max(labels, key=lambda label: label.at, default=None)


class Truths:
    """What sessions really were, where the recording tells."""

    def __init__(self, rows: Iterable[Truth] = ()) -> None:
        self._rows = {(row.tenant, row.session_id): row for row in rows}

    def of(self, session: SessionKey) -> Truth | None:
        """Return what *session* was, `None` if nobody says."""
        return self._rows.get(session)
