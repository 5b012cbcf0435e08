"""Holds: why a command is held back or a challenge withdrawn, because the evidence may not be the session's own.

A silent device may be one of many whose connection is broken, and a posture that got worse may be part of a rollout.
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
HELD_POSSIBLE_ROLLOUT: Final = "waiting whether other devices do the same, as in a rollout"
SILENT_ACTIVE: Final = "telemetry_silent_while_active"
SILENT: Final = (SILENT_ACTIVE, "telemetry_silent_while_idle")


def fleet_is_silent(policy: Policy, state: SessionRiskState, event: DecisionInput, decision: Decision) -> bool:
    """Whether the level rests on silence alone while the tenant's whole fleet is silent."""
    return rests_on_silence(policy, state, decision) and event.fleet_silent()


def silence_is_unverified(policy: Policy, state: SessionRiskState, event: DecisionInput, decision: Decision) -> bool:
    """Whether the level rests on silence alone, and nothing shows that the silence is the device's own.

    No device of the tenant sends telemetry, even if it has only this one, or several fell silent together. A person can
    be asked for a step-up first; if it is missed, or no step-up is possible, silence counts as always.
    """
    return (
        policy.guard.step_up_if_unverified
        and event.is_person
        and STEP_UP_MISSED not in state.episodes
        and any(contribution.detection in SILENT for contribution in decision.counted)
        and rests_on_silence(policy, state, decision)
        and event.silence_unverified()
    )


def rests_on_silence(policy: Policy, state: SessionRiskState, decision: Decision) -> bool:
    """Whether the level would be lower without the contributions that rest on missing telemetry."""
    missed_for_silence = state.challenge is not None and state.challenge.silence
    others = [
        contribution
        for contribution in decision.counted
        if not (contribution.detection in BIT and DETECTIONS[BIT[contribution.detection]].rests_on_silence)
        and not (contribution.detection == STEP_UP_MISSED and missed_for_silence)
    ]
    threshold = policy.levels.high_raise if decision.level == "HIGH" else policy.levels.medium_raise
    return _score(policy, others) < threshold


def may_be_rollout(policy: Policy, event: DecisionInput, decision: Decision, threshold: float) -> bool:
    """Whether the score would be below *threshold* without what the fleet may be about to do as well."""
    others = [
        contribution
        for contribution in decision.counted
        if event.at_ms >= fleet_follows_until(policy, contribution.detection, contribution.episode)
    ]
    return len(others) < len(decision.counted) and _score(policy, others) < threshold


def fleet_follows_until(policy: Policy, detection_id: str, episode: DetectionEpisode | None) -> int:
    """Until when, ms, other devices may show the same as *episode*; 0 where that would explain nothing."""
    if episode is None or not DETECTIONS[BIT[detection_id]].fleet_may_follow:
        return 0
    return episode.first_at + int(policy.times.rollout_s * 1000)


def explained_by_context(state: SessionRiskState, challenge: Challenge, event: DecisionInput) -> bool:
    """Whether a context now explains every detection that led to *challenge*, and so ended each of them."""
    return bool(challenge.detections) and all(
        DETECTIONS[BIT[detection_id]].fleet_may_follow
        and detection_id not in state.episodes
        and DETECTIONS[BIT[detection_id]].signal in event.observed_text
        for detection_id in challenge.detections
    )


def _score(policy: Policy, contributions: list[Contribution]) -> float:
    return score(policy.prior + sum(contribution.log_odds for contribution in contributions))
