"""What a decision is asked about, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pipeline.decisions.risk import Level
from pipeline.decisions.risk_state import DetectionEpisode
from pipeline.detections import Detection
from pipeline.detections.detection import is_modelled

ANOMALY: Final = "anomaly"


@dataclass(frozen=True, slots=True)
class DecisionInput:
    """One event as the decision sees it.

    Attributes:
        at: the session's event time, ms.
        event_id: of the event, or the name of the sweep.
        evidence: the producer's event behind it, as evidence shows it.
        mask: detections that hold now, bit *i* for ``RULES[i]``.
        mask_before: the same after the previous event, at *before* ms.
        band: how unusual the model's score is, 0 to 3.
        action: the auth action's number, 0 for other events.
        strong_age_s: seconds since a factor was last proved.
        kind: of the principal.
        fact: a fact's or feature's value at this event, by name.
        fleet_silent: whether the guard finds the tenant's fleet silent; asked only when it matters.
        used_at: when the session was last used before this event, ms; *uses*: whether this event is a use.
        told: what a context observed, in words, by signal.
        fleet_unheard: whether nothing shows that its devices could be heard; asked as *fleet_silent*.
    """

    at: int
    event_id: str
    evidence: str
    mask: int
    mask_before: int
    before: int
    band: int
    action: int
    strong_age_s: float
    kind: str
    fact: Callable[[str], float]
    fleet_silent: Callable[[], bool]
    used_at: int = 0
    uses: bool = False
    observed_text: Mapping[str, str] = field(default_factory=dict)
    fleet_unheard: Callable[[], bool] = bool

    def measured(self, rule: Detection) -> tuple[float, float | None]:
        """What *rule* observes, and what is usual of it, if anything is known."""
        float_read = rule.usual_fact and self.fact("days_known")
        observed = self.fact(rule.observed[0]) if rule.observed[0] else 0.0
        return observed, self.fact(rule.usual_fact) if float_read else None

    def in_role(self, rule: Detection) -> tuple[float | None, bool]:
        """What is usual of it in the session's role, if the model knows; whether that is the tenant's own."""
        usual = self.fact(rule.role_usual_fact) if rule.role_usual_fact else math.inf
        if not math.isfinite(usual):
            return None, False
        known = is_modelled({name: np.array(self.fact(name)) for name in ("calls_10m", "surprise_10m")})
        return (usual, bool(self.fact("tenant_cohort"))) if known else (None, False)


@dataclass(slots=True)
class Contribution:
    """A part of the score, in log-odds; *muted* says why it does not count."""

    detection: str
    log_odds: float
    episode: DetectionEpisode | None = None
    muted: str = ""


@dataclass(slots=True)
class Decision:
    """What follows from a moment."""

    decision_id: str
    score: float
    level: Level
    previous: Level
    action: str
    suppressed: str
    parts: list[Contribution]
    report: bool = False
    revoke: str = ""
    challenge: str = ""
    held: bool = False
    waits: bool = False
    detections: list[str] = field(default_factory=list)
    learning: list[str] = field(default_factory=list)

    @property
    def cause(self) -> str:
        """What weighs most; without any evidence, where a policy commands even then, the model is named."""
        return next((part.detection for part in self.parts if not part.muted), ANOMALY)
