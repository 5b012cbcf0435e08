"""Fitting of weights, prior and thresholds to labelled sessions and a budget, and the text of the policy file."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import BANDS
from models.detectors.evidence_weights import fit
from pipeline.decisions.policy import Levels
from pipeline.decisions.risk import log_odds
from pipeline.detections import DETECTIONS, Detection
from pipeline.offline.evaluation.evidence import Sessions

Floats = NDArray[np.float64]
BAND_EXPECTED: Final = (0.3,) * len(BANDS)
"""Prior expectation of what each further band of the model adds, in log-odds."""
MIN_SCORE: Final = 0.5
"""The lowest threshold of a level, of 100."""
MARGIN: Final = 0.5
"""Distance in log-odds of a threshold above the honest sessions seen, as future sessions differ."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Accepted false interventions: *revocations* per 10,000 and *challenges* per 1,000 hours of honest sessions."""

    revocations: float = 1.0
    challenges: float = 2.0

    def allowed(self, hours: float) -> tuple[int, int]:
        """The numbers of challenges and of revocations allowed in *hours*."""
        return int(self.challenges * hours / 1e3), int(self.revocations * hours / 1e4)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Fitted parameters of a policy; *rows* and *attacks* are the numbers of sessions they were learned from."""

    prior: float
    weights: Mapping[str, float]
    anomaly: tuple[float, ...]
    levels: Levels
    rows: int
    attacks: int


def is_learned(detection: Detection) -> bool:
    """Whether the weight of *detection* is learned; not if it only reports the result of a challenge."""
    return detection.holds is not None or bool(detection.signal)


def learn(seen: Sessions, hours: float, budget: Budget, asks: Collection[str]) -> Fitted:
    """Fit weights to the evidence of sessions, and set thresholds by *budget*.

    The bands of the model are fitted first and alone, then the detections beside them. If they were fitted together,
    the detections would explain all attacks, which were simulated by their authors, and nothing would be left for the
    model, which alone can find attacks that nobody thought of.

    A detection's severity is a guarantee: alone it leads at least to the level of that name; one of LOW alone leads to
    no level. The thresholds limit how often weaker evidence (LOW detections, the model, several of MEDIUM) adds up to
    more, within the budget; challenges by detections of MEDIUM are part of that budget. A guarantee that costs honest
    people too much must be changed in the table of detections.

    Args:
        seen: the evidence of the sessions.
        hours: total duration of the honest sessions.
        budget: accepted false interventions.
        asks: principal kinds that MEDIUM asks for a factor; the others are not challenged and not in that budget.

    Raises:
        ValueError: as :func:`models.detectors.evidence_weights.fit`.
    """
    rows, attack, kinds = seen
    evidence = _fitted_evidence(rows, attack)
    honest, is_asked = rows[~attack], np.isin(kinds[~attack], list(asks))
    challenges, revocations = budget.allowed(hours)
    people = honest[is_asked]
    rest = _without(people, "MEDIUM", "HIGH")
    asked_anyway = len(people) - len(rest)
    medium = _above(rest @ evidence, max(challenges - asked_anyway, challenges // 2))
    _at_least(evidence, "MEDIUM", medium)
    high = max(_above(_without(honest, "HIGH") @ evidence, revocations), medium + 1.0)
    # A score has one decimal: if the levels are too far apart for that, all evidence is scaled down.
    shrunk = min(1.0, (log_odds(Levels().high_raise) - log_odds(MIN_SCORE)) / (high - medium))
    evidence, medium, high = np.round(evidence * shrunk, 2), medium * shrunk, high * shrunk
    _at_least(evidence, "MEDIUM", medium)
    _at_least(evidence, "HIGH", high)
    _below_medium(evidence, medium)
    return scaled(evidence, medium, high, rows.shape[0], int(attack.sum()))


def _fitted_evidence(rows: Floats, attack: NDArray[np.bool_]) -> Floats:
    """Log-odds of every detection and band, ``(len(DETECTIONS) + len(BANDS),)``."""
    evidence = np.array([*(detection.weight for detection in DETECTIONS), *BAND_EXPECTED])
    bands = np.arange(len(evidence)) >= len(DETECTIONS)
    learned = np.array([*(is_learned(detection) for detection in DETECTIONS), *(False for _ in BANDS)])
    evidence[bands] = fit(rows[:, bands], attack, evidence[bands]).evidence
    model_part = rows[:, bands] @ evidence[bands]
    evidence[learned] = fit(rows[:, learned], attack, evidence[learned], offset=model_part).evidence
    return np.round(evidence, 2)


def _of_severity(*severities: str) -> NDArray[np.bool_]:
    return np.array([*(detection.severity in severities for detection in DETECTIONS), *(False for _ in BANDS)])


def _without(rows: Floats, *severities: str) -> Floats:
    """The sessions without detections of these severities."""
    others: Floats = rows[~(rows[:, _of_severity(*severities)] > 0).any(axis=1)]
    return others


def _at_least(evidence: Floats, severity: str, minimum: float) -> None:
    """Raise the weights of detections of *severity* to *minimum*, so that each alone reaches its level."""
    chosen = _of_severity(severity)
    evidence[chosen] = np.maximum(evidence[chosen], math.ceil(minimum * 100) / 100)


def _below_medium(evidence: Floats, medium: float) -> None:
    """Limit the weights of LOW detections, so that none alone leads to a challenge."""
    chosen = _of_severity("LOW")
    evidence[chosen] = np.minimum(evidence[chosen], math.floor((medium - MARGIN) * 100) / 100)


def _above(evidence: Floats, allowed: int) -> float:
    """The lowest evidence that at most *allowed* honest sessions exceed, plus the margin."""
    ordered = np.sort(evidence)[::-1]
    return float(ordered[min(allowed, ordered.size - 1)]) + MARGIN if ordered.size else MARGIN


def scaled(evidence: Floats, medium: float, high: float, rows: int, attacks: int) -> Fitted:
    """Parameters on the scale of scores: the prior is set so that HIGH begins at the default policy's threshold.

    It is rounded up, so that what weighs *high* reaches it.
    """
    standard = Levels()
    prior = math.ceil(round((log_odds(standard.high_raise) - high) * 100, 6)) / 100
    raised = math.floor(1000 / (1 + math.exp(-(prior + medium)))) / 10
    raised = min(max(raised, MIN_SCORE), standard.high_raise - 10)
    levels = standard.model_copy(
        update={
            "medium_raise": raised,
            "medium_clear": round(raised * 0.6, 1),
            "high_clear": max(standard.high_clear, raised),
        }
    )
    weights = {detection.id: float(weight) for detection, weight in zip(DETECTIONS, evidence, strict=False)}
    added = np.cumsum(evidence[len(DETECTIONS) :])
    return Fitted(prior, weights, tuple(round(float(item), 2) for item in added), levels, rows, attacks)


def toml(fitted: Fitted, source: Sequence[str]) -> str:
    """*fitted* as the text of a policy file; *source* has lines that describe the training data."""
    levels = fitted.levels
    lines = [
        *(f"# {line}" for line in source),
        f"# {fitted.rows:,} sessions, {fitted.attacks:,} of them under attack.",
        f"prior = {fitted.prior:g}",
        f"anomaly_weights = {list(fitted.anomaly)}",
        "",
        "[levels]",
        *(f"{name} = {value:g}" for name, value in levels.model_dump().items()),
    ]
    for detection_id, weight in fitted.weights.items():
        lines += ["", f"[detections.{detection_id}]", f"weight = {weight:g}"]
    return "\n".join(lines) + "\n"
