"""Evaluation of scores: how well they separate attacks from honest sessions, by ground truth or else by verdicts.

Each row has the weight of the rows it stands for in the log (`pipeline.offline.training.vectors.weights`), so that
rates are those of all traffic. A budget is the share of honest vectors that may be flagged.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from pipeline.offline.training.vectors import Vectors, weights

BUDGETS: Final = {"0.1_percent": 0.001, "1_percent": 0.01}
DELAY_BUDGET: Final = "1_percent"
"""The budget at which the delay of detection is reported."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The evaluated rows: scores ``(n,)``, whether a row belongs to an attack, and its weight."""

    vectors: Vectors
    scores: NDArray[np.float64]
    attack: NDArray[np.bool_]
    weight: NDArray[np.float64]
    by: str


@dataclass(slots=True)
class Quality:
    """The result of an evaluation; *delays_s* has every attacked session that was found at `DELAY_BUDGET`."""

    plain: dict[str, Any]
    precision: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    recall: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    honest: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    attacks: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    delays_s: list[float] = field(default_factory=list)
    attacked_sessions: int = 0


def known_rows(vectors: Vectors, scores: NDArray[np.float64], low_share: float) -> Rows | None:
    """Return the rows that are labelled as attack or honest, None unless there are both.

    Labels come from the ground truth, if the recording has it; else from verdicts.
    """
    for by, attack, honest in (
        ("truth", vectors.attacked, vectors.honest),
        ("verdicts", vectors.label == 1, vectors.label == 0),
    ):
        if attack.any() and honest.any():
            known = attack | honest
            chosen = vectors.take(known)
            return Rows(chosen, scores[known], attack[known], weights(chosen, low_share), by)
    return None


def quality(rows: Rows) -> Quality:
    """Evaluate the scores of *rows*."""
    attack, scores, weight = rows.attack, rows.scores, rows.weight
    limits = {name: limit(scores[~attack], weight[~attack], budget) for name, budget in BUDGETS.items()}
    sessions = _by_session(rows)
    plain = {
        "by": rows.by,
        "attack_rows": int(attack.sum()),
        "honest_rows": int((~attack).sum()),
        "auc": _round(roc_auc_score(attack, scores, sample_weight=weight)),
        "average_precision": _round(average_precision_score(attack, scores, sample_weight=weight)),
        "recall_of_rows": {
            name: _round(np.average(scores[attack] > value, weights=weight[attack])) for name, value in limits.items()
        },
        "recall_of_sessions": {
            name: _round(np.mean([session.found(value) for session in sessions])) for name, value in limits.items()
        },
        "scores_at_budgets": {name: _round(value) for name, value in limits.items()},
        "families": _families(sessions, limits),
    }
    precision, recall, _ = precision_recall_curve(attack, scores, sample_weight=weight)
    delays = [session.delay_s(limits[DELAY_BUDGET]) for session in sessions] if rows.by == "truth" else []
    found = sorted(delay for delay in delays if delay is not None)
    return Quality(plain, precision, recall, scores[~attack], scores[attack], found, len(sessions))


def limit(scores: NDArray[np.float64], weight: NDArray[np.float64], budget: float) -> float:
    """Return the lowest score above which there is at most the weighted share *budget* of the rows."""
    order = np.argsort(-scores, kind="stable")
    above = np.cumsum(weight[order]) > budget * weight.sum()
    return float(scores[order][int(np.argmax(above))])


@dataclass(slots=True)
class _Session:
    """The rows of one attacked session during the attack: seconds since it began, and scores."""

    family: str
    since_s: NDArray[np.float64]
    scores: NDArray[np.float64]

    def found(self, value: float) -> bool:
        return bool((self.scores > value).any())

    def delay_s(self, value: float) -> float | None:
        return float(self.since_s[self.scores > value].min()) if self.found(value) else None


def _by_session(rows: Rows) -> list[_Session]:
    rows_of: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    keys = rows.vectors.sessions
    for row in np.flatnonzero(rows.attack).tolist():
        rows_of[keys[row]].append(row)
    sessions = []
    for _, numbers in sorted(rows_of.items()):
        since = (rows.vectors.occurred_at[numbers] - rows.vectors.truth_started_at[numbers]) / 1000
        family = rows.vectors.truth_family[numbers[0]] or "unknown"
        sessions.append(_Session(family, since, rows.scores[numbers]))
    return sessions


def _families(sessions: list[_Session], limits: dict[str, float]) -> list[dict[str, Any]]:
    by_family: defaultdict[str, list[_Session]] = defaultdict(list)
    for session in sessions:
        by_family[session.family].append(session)
    return [_family(name, found, limits) for name, found in sorted(by_family.items())]


def _family(name: str, sessions: list[_Session], limits: dict[str, float]) -> dict[str, Any]:
    found = {
        f"found_at_{budget}": sum(session.found(value) for session in sessions) for budget, value in limits.items()
    }
    delays = [delay for session in sessions if (delay := session.delay_s(limits[DELAY_BUDGET])) is not None]
    known = name != "unknown" and bool(delays)
    return {
        "family": name,
        "sessions": len(sessions),
        **found,
        "median_delay_s": round(median(delays), 1) if known else None,
    }


def _round(value: Any) -> float:
    return round(float(value), 6)
