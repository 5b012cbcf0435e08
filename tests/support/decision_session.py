"""One session on the slow path, for tests of decisions: the detections that hold, by second."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models.events.columns import ACTION
from models.state.table import Subject
from pipeline.decisions.decision import Decision, DecisionInput
from pipeline.decisions.engine import PolicyEngine
from pipeline.decisions.guard import Guard
from pipeline.decisions.policy import Policy, parse_policy
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import BIT

WHO = Subject("acme", "s-1", "ana", "phone-1")


@dataclass
class Session:
    """One session on the slow path: each event has a second and the detections that hold then."""

    policy: Policy = field(default_factory=Policy)
    kind: str = "human"
    subject: Subject = WHO
    guard: Guard | None = None
    fleet_silent: bool = False
    silence_unverified: bool = False
    risk_state: SessionRiskState = field(default_factory=SessionRiskState)
    mask: int = 0
    at: int = 0
    used_at: int = -1
    threshold: float = 0.0

    def __post_init__(self) -> None:
        self.engine = PolicyEngine(self.policy)
        self.guard = self.guard or Guard(self.policy.guard, 1.0)

    def see(
        self,
        at: float,
        *holding: str,
        action: str = "",
        band: int = 0,
        strong_age_s: float = 1e9,
        id_: str = "",
        observed: dict[str, str] | None = None,
        idle: bool = False,
    ) -> Decision:
        """Decide at second *at*, while the detections *holding* hold: at its use, unless it is *idle*."""
        mask, now = sum(1 << BIT[name] for name in holding), round(at * 1000)
        moment = DecisionInput(
            at_ms=now,
            event_id=id_ or f"e-{now}",
            evidence=id_ or f"e-{now}",
            mask=mask,
            mask_before=self.mask,
            before_ms=self.at,
            band=band,
            action=ACTION.get(action, 0),
            strong_age_s=strong_age_s,
            principal_kind=self.kind,
            fact=lambda _: 1.0,
            fleet_silent=lambda: self.fleet_silent,
            used_at=self.used_at if idle else now - 1,  # otherwise it is in use all the time
            is_use=not idle,
            observed_text=observed or {},
            silence_unverified=lambda: self.silence_unverified,
            threshold=self.threshold,
        )
        self.mask, self.at = mask, now
        self.used_at = self.used_at if idle else now
        assert self.guard is not None
        return self.engine.decide(self.risk_state, self.subject, moment, self.guard)

    def wake(self) -> float:
        """The second at which the session wakes; 0 for never."""
        return self.engine.wake_at(self.risk_state, self.at, self.mask) / 1000


def new_session(text: str = "", **members: Any) -> Session:
    return Session(parse_policy(text), **members)


def brief(decision: Decision) -> tuple[str, str, bool, bool]:
    """Level, action, whether a revocation and whether a challenge is commanded."""
    return decision.level, decision.action, bool(decision.revocation_id), bool(decision.challenge_id)


QUIET = ("LOW", "allow", False, False)
REVOKED = ("HIGH", "revoke", True, False)
ASKED = ("HIGH", "step_up", False, True)
CHALLENGED = ("MEDIUM", "step_up", False, True)
HELD = ("HIGH", "hold_for_approval", False, True)
