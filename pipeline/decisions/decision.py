"""Input and result of a decision."""

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
"""The name of the contribution that is the anomaly model's."""
TENANT_THRESHOLD: Final = "tenant_threshold"
"""The name of the contribution that makes suspicions weigh less where people have refuted them."""


@dataclass(frozen=True, slots=True)
class DecisionInput:
    """One event of a session as the policy engine sees it.

    Attributes:
        at_ms: the session's event time.
        event_id: of the event, or the name of the timer.
        evidence: id of the producer's event behind it, which is shown as evidence.
        mask: detections that hold now: bit *i* is ``DETECTIONS[i]``.
        mask_before: the same after the previous event, at *before_ms*.
        before_ms: event time of the previous event.
        band: how unusual the model's score is: how many of :data:`models.detectors.base.BANDS` it is above.
        action: number of the auth action (:data:`models.events.columns.ACTION`); 0 for other events.
        strong_age_s: seconds since a factor was last proved.
        principal_kind: "" while it is unknown.
        fact: name of a fact or feature → its value after this event.
        fleet_silent: whether the guard finds the tenant's fleet silent; called only when it matters.
        used_at: when the session was last used before this event, ms.
        is_use: whether this event is a use of the session.
        is_open: whether anybody got into the session; without that there is nothing to command.
        observed_text: what a context observed, in words, by signal.
        silence_unverified: whether no telemetry shows that the tenant's devices could be received; as *fleet_silent*.
        threshold: by how much log-odds the tenant's people have made suspicions weigh less.
    """

    at_ms: int
    event_id: str
    evidence: str
    mask: int
    mask_before: int
    before_ms: int
    band: int
    action: int
    strong_age_s: float
    principal_kind: str
    fact: Callable[[str], float]
    fleet_silent: Callable[[], bool]
    used_at: int = 0
    is_use: bool = False
    is_open: bool = True
    observed_text: Mapping[str, str] = field(default_factory=dict)
    silence_unverified: Callable[[], bool] = bool
    threshold: float = 0.0

    @property
    def is_person(self) -> bool:
        """Whether a step-up can be requested; a principal of unknown kind is treated as a human."""
        return self.principal_kind in ("human", "")

    def measured(self, detection: Detection) -> tuple[float, float | None]:
        """The value that *detection* observes, and the principal's usual one if its baseline has any days."""
        name = detection.observed[0]
        usual_known = detection.usual_fact and self.fact("days_known")
        return self.fact(name) if name else 0.0, self.fact(detection.usual_fact) if usual_known else None

    def usual_in_role(self, detection: Detection) -> tuple[float | None, bool]:
        """The usual value in the session's role, if the model knows it; whether it is of the tenant's own cohort."""
        usual = self.fact(detection.role_usual_fact) if detection.role_usual_fact else math.inf
        if not math.isfinite(usual):
            return None, False
        modelled = is_modelled({name: np.array(self.fact(name)) for name in ("calls_10m", "surprise_10m")})
        return (usual, bool(self.fact("tenant_cohort"))) if modelled else (None, False)


@dataclass(slots=True)
class Contribution:
    """One summand of the score, in log-odds; *suppressed* says why it does not count, if it does not."""

    detection: str
    log_odds: float
    episode: DetectionEpisode | None = None
    suppressed: str = ""


@dataclass(slots=True)
class Decision:
    """The result of a decision.

    Attributes:
        decision_id: the same whenever the same input is decided again.
        score: 0 to 100.
        level: the session's level now.
        previous: its level before.
        action: what the policy makes of the level, after guard and holds.
        suppressed: why contributions do not count or a command is held; "" if neither.
        contributions: all summands of the score, largest first.
        is_reported: whether the decision is sent at all.
        revocation_id: of the revocation to send, or "".
        challenge_id: of the challenge to send, or "".
        held: whether the guard holds a command.
        refuted: whether the event is a passed step-up that rested on suspicion, which was wrong.
        waits_for_fleet: whether a command waits for a possible rollout.
        detections: ids of the detections that count.
        learning: ids of the detections whose baseline is not established.
    """

    decision_id: str
    score: float
    level: Level
    previous: Level
    action: str
    suppressed: str
    contributions: list[Contribution]
    is_reported: bool = False
    revocation_id: str = ""
    challenge_id: str = ""
    held: bool = False
    waits_for_fleet: bool = False
    refuted: bool = False
    detections: list[str] = field(default_factory=list)
    learning: list[str] = field(default_factory=list)

    @property
    def counted(self) -> list[Contribution]:
        """Contributions that are not suppressed."""
        return [contribution for contribution in self.contributions if not contribution.suppressed]

    @property
    def cause(self) -> str:
        """The largest contribution that counts; the model if there is none, as when a policy commands at LOW."""
        return next((contribution.detection for contribution in self.counted), ANOMALY)
