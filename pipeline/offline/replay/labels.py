"""Labels of vectors: analysts' verdicts, point-in-time correct, and the ground truth of recordings.

A label must not leak. A vector gets only verdicts given *after* it was scored, so that the verdict cannot have changed
its features or level, and none given after the export's cut-off. A verdict that corrects an earlier one about the same
decision applies to the vectors of the earlier one.
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
"""1 if the verdict means an attack, 0 if it means none, None if it means neither."""

SessionKey = tuple[str, str]
"""Tenant and session id."""


class Label(NamedTuple):
    """A verdict on a vector; *at* is when it was given, in ms since 1970."""

    verdict: str
    at: int
    by: str
    decision_id: str | None

    @property
    def meaning(self) -> int | None:
        """Return 1 for an attack, 0 for none, None for neither: see `MEANING`."""
        return MEANING[self.verdict]


@dataclass(slots=True)
class _Verdicts:
    """The verdicts on one decision, or on the session itself: the time of the first, and the last one."""

    first_at: int
    last: Label


class Labels:
    """The verdicts given until *as_of* (ms; None: all), each for vectors scored up to *reach_ms* before it.

    Verdicts of the same time must be in the order in which they were given.
    """

    def __init__(self, verdicts: Iterable[SessionFeedback], as_of: int | None, reach_ms: int) -> None:
        self.as_of = as_of
        self._reach_ms = reach_ms
        self._verdicts: defaultdict[SessionKey, dict[str | None, _Verdicts]] = defaultdict(dict)
        known = (verdict for verdict in verdicts if as_of is None or verdict.occurred_at <= as_of)
        for feedback in sorted(known, key=lambda verdict: verdict.occurred_at):
            label = Label(feedback.verdict, feedback.occurred_at, feedback.reported_by, feedback.decision_id)
            verdicts_of = self._verdicts[feedback.tenant, feedback.session_id]
            if feedback.decision_id in verdicts_of:
                verdicts_of[feedback.decision_id].last = label
            else:
                verdicts_of[feedback.decision_id] = _Verdicts(feedback.occurred_at, label)

    def of(self, session: SessionKey, scored_at: int) -> Label | None:
        """Return the newest verdict that applies to a vector of *session* scored at *scored_at*, if any."""
        labels = [
            verdicts.last
            for verdicts in self._verdicts.get(session, {}).values()
            if scored_at <= verdicts.first_at <= scored_at + self._reach_ms
        ]
        return max(labels, key=lambda label: label.at, default=None)


class Truths:
    """The ground truth of sessions, for labelled recordings."""

    def __init__(self, rows: Iterable[Truth] = ()) -> None:
        self._rows = {(row.tenant, row.session_id): row for row in rows}

    def of(self, session: SessionKey) -> Truth | None:
        """Return the ground truth of *session*, None if unknown."""
        return self._rows.get(session)

    def is_honest(self, tenant: str, session_id: str, at_ms: int) -> bool:
        """Whether the session is known, and its owner controls it at *at_ms*."""
        row = self.of((tenant, session_id))
        return row is not None and row.is_honest(at_ms)
