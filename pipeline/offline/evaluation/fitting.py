"""Weights, prior and thresholds from labelled recordings and a stated budget, and the file they go to."""

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
from pipeline.detections import DETECTIONS, Detection
from pipeline.offline.evaluation.evidence import Sessions

Floats = NDArray[np.float64]
BAND_EXPECTED: Final = (0.5, 0.5, 0.5)
"""What each further band of the model is expected to add, in log-odds, before a recording was seen."""
LEAST_SCORE: Final = 0.5
"""Of 100, below which no level begins."""
MARGIN: Final = 0.5
"""Log-odds above the last honest session a threshold lies: sessions to come are not those that were seen."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What honest people may be made to bear, as counts in so many *hours* of honest sessions.

    *revocations* a 10,000 hours, *challenges* a 1,000 hours.
    """

    revocations: float = 1.0
    challenges: float = 2.0

    def allowed(self, hours: float) -> tuple[int, int]:
        """How many challenges and how many revocations *hours* allow."""
        return int(self.challenges * hours / 1e3), int(self.revocations * hours / 1e4)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a policy takes its weights from; *rows* and *attacks* say how many sessions taught them."""

    prior: float
    weights: Mapping[str, float]
    anomaly: tuple[float, ...]
    levels: Levels
    rows: int
    attacks: int


def asked(rule: Detection) -> bool:
    """Whether *rule* asks about what was seen; what only says how a challenge went is not learned."""
    return rule.holds is not None or bool(rule.signal)


def learn(seen: Sessions, hours: float, budget: Budget, asks: Collection[str]) -> Fitted:
    """Fit weights on the evidence of sessions, place thresholds by *budget*.

    The model's bands are weighed first and by themselves, then the detections beside them. Fitted together
    the detections explain the attacks, which the same people simulated, and nothing would be left for the
    model: but of what nobody thought of it alone speaks.

    A detection's severity is a promise: alone it leads at least to the level of that name, one of LOW to no
    other. The thresholds keep what promises less (LOW evidence, the model, several of MEDIUM) from adding up
    to more than is in the budget, of which what detections of MEDIUM ask is spent already. A promise that
    costs honest people too much is a matter for the table of detections.

    *hours*: how long the honest sessions among them lasted in all; *asks*: the kinds of principal of whom
    MEDIUM asks a factor: the others are not challenged, and not in that budget. Raises `ValueError` as
    :func:`models.detectors.evidence_weights.fit` does.
    """
    rows, attack, kinds = seen
    evidence = _weighed(rows, attack)
    honest, asked_of = rows[~attack], np.isin(kinds[~attack], list(asks))
    challenges, revocations = budget.allowed(hours)
    people = honest[asked_of]
    rest = _without(people, "MEDIUM", "HIGH")
    asked_anyway = len(people) - len(rest)
    medium = _above(rest @ evidence, max(challenges - asked_anyway, challenges // 2))
    _promise(evidence, "MEDIUM", medium)
    high = max(_above(_without(honest, "HIGH") @ evidence, revocations), medium + 1.0)
    # A score has one decimal: where the levels lie too far apart for it, all evidence shrinks alike.
    shrunk = min(1.0, (_logit(Levels().high_raise) - _logit(LEAST_SCORE)) / (high - medium))
    evidence, medium, high = np.round(evidence * shrunk, 2), medium * shrunk, high * shrunk
    _promise(evidence, "MEDIUM", medium)
    _promise(evidence, "HIGH", high)
    _keep_low(evidence, medium)
    return _placed(evidence, medium, high, rows.shape[0], int(attack.sum()))


def _weighed(rows: Floats, attack: NDArray[np.bool_]) -> Floats:
    """Log-odds of every detection and band, ``(len(RULES) + len(BANDS),)``: what is learned is learned."""
    evidence = np.array([*(rule.weight for rule in DETECTIONS), *BAND_EXPECTED])
    bands = np.arange(len(evidence)) >= len(DETECTIONS)
    learned = np.array([*(asked(rule) for rule in DETECTIONS), *(False for _ in BANDS)])
    evidence[bands] = fit(rows[:, bands], attack, evidence[bands]).evidence
    odd = rows[:, bands] @ evidence[bands]
    evidence[learned] = fit(rows[:, learned], attack, evidence[learned], offset=odd).evidence
    return np.round(evidence, 2)


def _of_severity(*severities: str) -> NDArray[np.bool_]:
    return np.array([*(rule.severity in severities for rule in DETECTIONS), *(False for _ in BANDS)])


def _without(rows: Floats, *severities: str) -> Floats:
    """The sessions in which no detection of these severities held."""
    kept: Floats = rows[~(rows[:, _of_severity(*severities)] > 0).any(axis=1)]
    return kept


def _promise(evidence: Floats, severity: str, least: float) -> None:
    """Let detections of *severity* weigh *least*, so that each alone reaches its level."""
    chosen = _of_severity(severity)
    evidence[chosen] = np.maximum(evidence[chosen], math.ceil(least * 100) / 100)


def _keep_low(evidence: Floats, medium: float) -> None:
    """Let what is LOW alone ask nobody: it tells of what is bad, not of what goes on."""
    chosen = _of_severity("LOW")
    evidence[chosen] = np.minimum(evidence[chosen], math.floor((medium - MARGIN) * 100) / 100)


def _above(spent: Floats, allowed: int) -> float:
    """The least evidence that no more than *allowed* honest sessions reach, and a margin."""
    ordered = np.sort(spent)[::-1]
    return float(ordered[min(allowed, ordered.size - 1)]) + MARGIN if ordered.size else MARGIN


def _placed(evidence: Floats, medium: float, high: float, rows: int, attacks: int) -> Fitted:
    """Scores in which HIGH begins at the default policy's threshold; the prior moves to where that is so."""
    standard = Levels()
    prior = round(_logit(standard.high_raise) - high, 2)
    raised = math.floor(1000 / (1 + math.exp(-(prior + medium)))) / 10
    raised = min(max(raised, LEAST_SCORE), standard.high_raise - 10)
    levels = standard.model_copy(
        update={
            "medium_raise": raised,
            "medium_clear": round(raised * 0.6, 1),
            "high_clear": max(standard.high_clear, raised),
        }
    )
    by_key = {rule.id: float(weight) for rule, weight in zip(DETECTIONS, evidence, strict=False)}
    added = np.cumsum(evidence[len(DETECTIONS) :])
    return Fitted(prior, by_key, tuple(round(float(item), 2) for item in added), levels, rows, attacks)


def _logit(score: float) -> float:
    return math.log(score / (100.0 - score))


def toml(fitted: Fitted, source: Sequence[str]) -> str:
    """*fitted* as the text of a policy file; *source* says, line by line, what it was learned from."""
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
    for rule_id, weight in fitted.weights.items():
        lines += ["", f"[detections.{rule_id}]", f"weight = {weight:g}"]
    return "\n".join(lines) + "\n"
