"""Why a command is held back, or withdrawn: what speaks against a session may not be its own.

A silent device may be one of many whose way here is broken, a posture that got worse part of a rollout.
"""

from __future__ import annotations

from typing import Final

from pipeline.decisions.decision import Contribution, Decision, DecisionInput
from pipeline.decisions.policy import Policy
from pipeline.decisions.risk import score
from pipeline.decisions.risk_state import Challenge, DetectionEpisode, SessionRiskState
from pipeline.detections import BIT, DETECTIONS, STEP_UP_MISSED

HELD_FLEET_SILENT: Final = "held by the guard: many of the tenant's devices are silent, their way here may be broken"
HELD_UNVERIFIED: Final = "held by the guard: no other device shows that this one could be heard"
ANSWERED_MS: Final = 30 * 60_000
"""How long a factor answers for a device that is silent where none is heard."""
SILENT_ACTIVE: Final = "telemetry_silent_while_active"
SILENT: Final = (SILENT_ACTIVE, "telemetry_silent_while_idle")
HELD_POSSIBLE_ROLLOUT: Final = "waiting whether other devices do the same, as in a rollout"


def fleet_is_silent(policy: Policy, case: SessionRiskState, moment: DecisionInput, decision: Decision) -> bool:
    """Whether the level rests on silence alone while the tenant's whole fleet is silent."""
    return rests_on_silence(policy, case, decision) and moment.fleet_silent()


def silence_is_unverified(policy: Policy, case: SessionRiskState, moment: DecisionInput, decision: Decision) -> bool:
    """Whether the level rests on silence alone that nothing shows to be the device's own.

    No device of the tenant is heard, be it only this one, or some fell silent together: its person can be
    asked first. Who does not answer is judged as ever, and so is who cannot be asked.
    """
    return (
        policy.guard.step_up_if_unverified
        and moment.kind in ("human", "")
        and STEP_UP_MISSED not in case.episodes
        and any(part.detection in SILENT for part in _counted(decision))
        and rests_on_silence(policy, case, decision)
        and moment.fleet_unheard()
    )


def rests_on_silence(policy: Policy, case: SessionRiskState, decision: Decision) -> bool:
    """Whether the level would be lower without what rests on telemetry not having come."""
    missed_in_silence = case.challenge is not None and case.challenge.silence
    spoken = [
        part
        for part in _counted(decision)
        if not (part.detection in BIT and DETECTIONS[BIT[part.detection]].rests_on_silence)
        and not (part.detection == STEP_UP_MISSED and missed_in_silence)
    ]
    floor = policy.levels.high_raise if decision.level == "HIGH" else policy.levels.medium_raise
    return _score(policy, spoken) < floor


def may_be_rollout(policy: Policy, moment: DecisionInput, decision: Decision, least: float) -> bool:
    """Whether the score would be below *least* but for what the fleet may be about to do too."""
    counted = _counted(decision)
    rest = [
        contribution
        for contribution in counted
        if moment.at >= fleet_follows_until(policy, contribution.detection, contribution.episode)
    ]
    return len(rest) < len(counted) and _score(policy, rest) < least


def fleet_follows_until(policy: Policy, detection: str, episode: DetectionEpisode | None) -> int:
    """Until when others may follow in what *detection* saw, ms; 0 where that would explain nothing."""
    if episode is None or not DETECTIONS[BIT[detection]].fleet_may_follow:
        return 0
    return episode.first_at + int(policy.times.rollout_s * 1000)


def is_taken_back(case: SessionRiskState, challenge: Challenge, moment: DecisionInput) -> bool:
    """Whether a context explains now every detection that asked, each of which ended with its word."""
    return bool(challenge.detections) and all(
        DETECTIONS[BIT[detection]].fleet_may_follow
        and detection not in case.episodes
        and DETECTIONS[BIT[detection]].signal in moment.observed_text
        for detection in challenge.detections
    )


def _counted(decision: Decision) -> list[Contribution]:
    return [part for part in decision.parts if not part.muted]


def _score(policy: Policy, parts: list[Contribution]) -> float:
    return score(policy.prior + sum(part.log_odds for part in parts))
