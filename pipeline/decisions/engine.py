"""The decision: what a session's evidence means now, and what should be done about it. Pure; the slow path.

It is asked only when something may change: a detection starts or stops to hold, a deadline passes, a factor
is proved. Everything it needs is an argument; everything it concludes is returned or kept in the case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.events.columns import ACTION
from pipeline.decisions.decision import ANOMALY, Contribution, Decision, DecisionInput
from pipeline.decisions.guard import Guard, next_minute
from pipeline.decisions.holds import (
    ANSWERED_MS,
    HELD_FLEET_SILENT,
    HELD_POSSIBLE_ROLLOUT,
    HELD_UNVERIFIED,
    SILENT,
    SILENT_ACTIVE,
    fleet_follows_until,
    fleet_is_silent,
    is_taken_back,
    may_be_rollout,
    rests_on_silence,
    silence_is_unverified,
)
from pipeline.decisions.policy import Policy
from pipeline.decisions.risk import LEVELS, Level, next_level, score
from pipeline.decisions.risk_state import Challenge, DetectionEpisode, SessionRiskState
from pipeline.detections import BIT, DETECTIONS, STEP_UP_MISSED, Detection
from pipeline.processing.messages import stable_id


def is_attended(challenge: Challenge, moment: DecisionInput, step_up_s: float) -> bool:
    """Whether the session was in use since *challenge* was asked, and its time is over.

    Where it was not used by the deadline, the time runs anew from its next use, which *challenge* then knows.
    """
    used_at = moment.at if moment.uses else moment.used_at
    challenge.unseen |= moment.used_at <= challenge.asked_at
    if challenge.unseen and used_at > challenge.asked_at:
        challenge.unseen = False
        challenge.asked_at = used_at - 1  # that use is seen
        challenge.deadline = used_at + int(step_up_s * 1000)
    return not challenge.unseen and moment.at >= challenge.deadline


_STEP_UP: Final = ACTION["step_up_passed"]
_SIGN_IN: Final = ACTION["sign_in"]
_SIGN_OUT: Final = ACTION["sign_out"]


class PolicyEngine:
    """A policy made ready to decide."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.policy_id = policy.id
        self.weights = policy.weights()
        self.limits = policy.limits()
        self.alarming = self._alarming()
        """The band from which the model's word alone raises the level."""

    def _alarming(self) -> int:
        weights = self.policy.anomaly_weights
        raised = [
            band
            for band, weight in enumerate(weights, start=1)
            if score(self.policy.prior + weight) >= self.policy.levels.medium_raise
        ]
        return min(raised, default=len(weights) + 1)

    def decide(
        self, case: SessionRiskState, subject: Mapping[str, str], moment: DecisionInput, guard: Guard
    ) -> Decision:
        """Bring *case* up to *moment* and conclude.

        Args:
            case: changed in place.
            who: ``tenant``, ``session_id``, ``principal_id``, ``device_id``.
            moment: what is seen.
            guard: asked before anything is revoked.
        """
        self._proved(case, moment)
        self._missed(case, moment)
        self._episodes(case, moment)
        self._withdraw(case, moment)
        parts = self.weigh(case, subject, moment)
        value = score(self.policy.prior + sum(part.log_odds for part in parts if not part.muted))
        previous: Level = case.level  # type: ignore[assignment]
        level = next_level(previous, value, (moment.at - case.level_since) / 1000, self.policy.levels)
        if level != previous:
            case.level, case.level_since = level, moment.at
        decision = Decision(
            stable_id(subject["tenant"], subject["session_id"], moment.event_id, moment.at, case.epoch),
            value,
            level,
            previous,
            self.policy.action(moment.kind, level),
            "; ".join(p.muted for p in parts if p.muted),
            parts,
        )
        decision.detections = [p.detection for p in parts if p.detection in BIT and not p.muted]
        self._act(case, subject, moment, guard, decision)
        decision.report = self._worth_telling(case, moment, decision)
        return decision

    def _proved(self, case: SessionRiskState, moment: DecisionInput) -> None:
        if moment.action not in (_STEP_UP, _SIGN_IN) or case.revocation:
            return
        # Only where there was something to answer are later commands others than before: else the ids would
        # depend on whether the first sign-in or news of a child is read first, which an outage may reverse.
        if case.challenge or case.episodes or case.level != "LOW":
            case.epoch += 1
        if case.challenge and case.challenge.silence and moment.fleet_unheard():
            for rule_id in SILENT:
                case.episodes.pop(rule_id, None)
                case.cleared_until[rule_id] = moment.at + ANSWERED_MS
        case.challenge = None
        cleared = [rule.id for rule in DETECTIONS if rule.cleared_by_step_up]
        for rule_id in cleared:
            cleared_for_s = DETECTIONS[BIT[rule_id]].cleared_for_s
            if case.episodes.pop(rule_id, None) and cleared_for_s:
                case.cleared_until[rule_id] = moment.at + int(cleared_for_s * 1000)
        case.held_at_step_up = [rule_id for rule_id in cleared if moment.mask >> BIT[rule_id] & 1]
        if moment.band:  # what the model finds odd was just answered, until it finds nothing odd any more
            case.held_at_step_up.append(ANOMALY)
        if moment.action == _STEP_UP:
            case.level_since = min(case.level_since, moment.at - int(self.policy.levels.dwell_s * 1000))

    def _missed(self, case: SessionRiskState, moment: DecisionInput) -> None:
        challenge = case.challenge
        if challenge is None or moment.at < challenge.deadline or STEP_UP_MISSED in case.episodes:
            return
        if is_attended(challenge, moment, self.policy.times.step_up_s):
            age = moment.fact("strong_auth_age_m")
            case.episodes[STEP_UP_MISSED] = DetectionEpisode(moment.at, moment.at, age, [moment.evidence])

    def _episodes(self, case: SessionRiskState, moment: DecisionInput) -> None:
        """Detections that hold open or extend their episode; those that no longer count end."""
        case.held_at_step_up = [name for name in case.held_at_step_up if self._still_holds(name, moment)]
        case.cleared_until = {name: until for name, until in case.cleared_until.items() if until > moment.at}
        for index, rule in enumerate(DETECTIONS):
            episode = case.episodes.get(rule.id)
            if moment.mask >> index & 1:
                if episode is None and self._is_news(case, rule):
                    episode = case.episodes[rule.id] = DetectionEpisode(moment.at, moment.at, 0.0)
                if episode is not None:
                    text = moment.observed_text.get(rule.signal, "")
                    episode.see(moment.at, *moment.measured(rule), moment.evidence, text)
                    episode.role_usual, episode.at_tenant = moment.in_role(rule)
            elif episode is not None:
                if moment.mask_before >> index & 1:
                    episode.last_at = max(episode.last_at, moment.before)
                excused = rule.fleet_may_follow and rule.signal in moment.observed_text
                if excused or moment.at > episode.last_at + rule.hold_s * 1000:
                    del case.episodes[rule.id]

    @staticmethod
    def _still_holds(what: str, moment: DecisionInput) -> bool:
        return bool(moment.band if what == ANOMALY else moment.mask >> BIT[what] & 1)

    def _is_news(self, case: SessionRiskState, rule: Detection) -> bool:
        """Not what was just answered with a factor, nor the silence that a revocation itself brings."""
        answered = rule.id in case.held_at_step_up or rule.id in case.cleared_until
        return not answered and not (rule.rests_on_silence and case.revocation)

    def _withdraw(self, case: SessionRiskState, moment: DecisionInput) -> None:
        """Nobody need step up any more for a device that is heard again, or for what its fleet did too."""
        challenge = case.challenge
        if challenge is None or case.revocation:
            return
        silent = any(DETECTIONS[BIT[rule_id]].rests_on_silence for rule_id in case.episodes)
        if (challenge.silence and not silent) or is_taken_back(case, challenge, moment):
            case.challenge = None
            case.episodes.pop(STEP_UP_MISSED, None)

    def weigh(self, case: SessionRiskState, subject: Mapping[str, str], moment: DecisionInput) -> list[Contribution]:
        """Every part of the score, largest first."""
        parts = []
        for rule_id, episode in case.episodes.items():
            muted = self._muted(case, subject, rule_id, moment.at)
            part = Contribution(rule_id, self.weights[BIT[rule_id]], episode, muted)
            if part.log_odds:
                parts.append(part)
        if moment.band:
            answered = "" if ANOMALY not in case.held_at_step_up else f"{ANOMALY}: answered with a factor"
            parts.append(Contribution(ANOMALY, self.policy.anomaly_weights[moment.band - 1], None, answered))
        if self._proved_since(parts, moment):
            parts.append(Contribution("fresh_strong_auth", self.policy.fresh_strong_auth_weight))
        return sorted(parts, key=lambda part: (-part.log_odds, part.detection))

    def _proved_since(self, parts: list[Contribution], moment: DecisionInput) -> bool:
        """Whether a factor was proved a short while ago, after everything that speaks against the session.

        A sign-in before the evidence reassures nobody: that session is the one that was stolen.
        """
        newest = max((part.episode.last_at for part in parts if part.episode), default=moment.at)
        proved_at = moment.at - moment.strong_age_s * 1000
        return moment.strong_age_s <= self.policy.fresh_strong_auth_s and proved_at > newest

    def _muted(self, case: SessionRiskState, subject: Mapping[str, str], rule_id: str, at: int) -> str:
        if case.suppressed_until.get(rule_id, 0) > at:
            return f"{rule_id}: reported as a false positive"
        for suppression in self.policy.suppressions:
            if rule_id in suppression.detections and suppression.covers(subject, at):
                return f"{rule_id}: suppressed by {suppression.owner}: {suppression.reason}"
        return ""

    def _act(
        self,
        case: SessionRiskState,
        subject: Mapping[str, str],
        moment: DecisionInput,
        guard: Guard,
        decision: Decision,
    ) -> None:
        """Turn the level's action into a command, once per epoch and cause, if the guard lets it."""
        case.held_at = 0
        if case.revocation:
            decision.action = "revoke"
            return
        if decision.score < self._least(decision.level):
            decision.action = "allow"
        if self.policy.mode == "observe":
            return
        if decision.action == "revoke" and self._waits(moment, decision, self.policy.levels.high_raise):
            decision.action = "step_up" if moment.kind in ("human", "") else "allow"
        if decision.action == "revoke":
            hold = self._reason_to_hold(case, subject, moment, guard, decision)
            if not hold:
                decision.revoke = stable_id(subject["tenant"], subject["session_id"], case.epoch, decision.cause)
                return
            case.held_at = moment.at
            decision.held = True
            decision.suppressed = "; ".join(filter(None, (decision.suppressed, hold)))
            decision.action = "step_up" if moment.kind in ("human", "") else "allow"
        if decision.action == "step_up" and case.challenge is None:
            self._ask(case, subject, moment, decision)

    def _ask(
        self, case: SessionRiskState, subject: Mapping[str, str], moment: DecisionInput, decision: Decision
    ) -> None:
        """Ask for a factor, unless what speaks for it may yet turn out not to be the session's own."""
        if reason := self._reason_not_to_ask(case, moment, decision):
            if not decision.held:
                decision.held, case.held_at = True, moment.at
                decision.suppressed = "; ".join(filter(None, (decision.suppressed, reason)))
            decision.action = "allow"
            return
        if self._waits(moment, decision, self.policy.levels.medium_raise):
            decision.action = "allow"
            return
        decision.challenge = stable_id(subject["tenant"], subject["session_id"], case.epoch, decision.cause, "step-up")
        due = moment.at + int(self.policy.times.step_up_s * 1000)
        silence = rests_on_silence(self.policy, case, decision)
        case.challenge = Challenge(decision.challenge, due, silence, list(decision.detections), asked_at=moment.at)

    def _reason_not_to_ask(self, case: SessionRiskState, moment: DecisionInput, decision: Decision) -> str:
        """Silence that is not the session's own; while nobody uses it, not even of a tenant's only device."""
        if fleet_is_silent(self.policy, case, moment, decision):
            return HELD_FLEET_SILENT
        idle = SILENT_ACTIVE not in decision.detections
        return HELD_UNVERIFIED if idle and silence_is_unverified(self.policy, case, moment, decision) else ""

    def _waits(self, moment: DecisionInput, decision: Decision, least: float) -> bool:
        """Whether the score only reaches *least* by what other devices may be about to do too."""
        if not may_be_rollout(self.policy, moment, decision, least):
            return False
        if not decision.waits:
            decision.suppressed = "; ".join(filter(None, (decision.suppressed, HELD_POSSIBLE_ROLLOUT)))
        decision.waits = True
        return True

    def _least(self, level: Level) -> float:
        """The score from which a level means something; below it only the dwell time keeps the level."""
        levels = self.policy.levels
        return {"LOW": 0.0, "MEDIUM": levels.medium_clear, "HIGH": levels.high_clear}[level]

    def _reason_to_hold(
        self,
        case: SessionRiskState,
        subject: Mapping[str, str],
        moment: DecisionInput,
        guard: Guard,
        decision: Decision,
    ) -> str:
        if fleet_is_silent(self.policy, case, moment, decision):
            return HELD_FLEET_SILENT
        if silence_is_unverified(self.policy, case, moment, decision):
            return HELD_UNVERIFIED
        if not guard.admit(subject["tenant"], moment.at):
            return f"held by the guard: more than {guard.budget} revocations in this minute and partition"
        return ""

    def _worth_telling(self, case: SessionRiskState, moment: DecisionInput, decision: Decision) -> bool:
        lines = sorted(f"{p.detection} {'quiet' * bool(p.muted)}".strip() for p in decision.parts if p.episode)
        due = decision.level != "LOW" and moment.at >= case.reported_at + self.policy.times.repeat_s * 1000
        again = decision.level != decision.previous or lines != case.last_reported
        if not (again or due or decision.revoke or decision.challenge):
            return False
        case.last_reported, case.reported_at = lines, moment.at
        return True

    def wake_at(self, case: SessionRiskState, at: int, mask: int) -> int:
        """When to look again though nothing happens, ms; 0 for never.

        *mask* is what holds now: a change of it is noticed without waking.
        """
        if case.revocation:
            return 0 if case.revocation.acknowledged else case.revocation.due
        times = [next_minute(case.held_at) if case.held_at else 0]
        if case.challenge and STEP_UP_MISSED not in case.episodes:
            times.append(case.challenge.deadline)
            times.append(next_minute(at) if case.challenge.unseen else 0)
        for rule_id, episode in case.episodes.items():
            if not mask >> BIT[rule_id] & 1:
                times.append(episode.last_at + int(DETECTIONS[BIT[rule_id]].hold_s * 1000) + 1)
            times.append(case.suppressed_until.get(rule_id, 0))
            times.append(fleet_follows_until(self.policy, rule_id, episode))
            times += [
                suppression.expires_at for suppression in self.policy.suppressions if rule_id in suppression.detections
            ]
        times += [until for rule_id, until in case.cleared_until.items() if mask >> BIT[rule_id] & 1]
        if case.level != LEVELS[0]:
            times.append(case.level_since + int(self.policy.levels.dwell_s * 1000))
            times.append(case.reported_at + int(self.policy.times.repeat_s * 1000))
        return min((time for time in times if time > at), default=0)
