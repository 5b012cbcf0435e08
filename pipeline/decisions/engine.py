"""The policy engine (NIST SP 800-207): what a session's evidence means under a policy, and what is commanded.

It runs on the slow path, and only when something may change: a detection starts or stops to hold, a deadline passes, a
factor is proved. It is pure: everything it needs is an argument, everything it concludes is returned or written to the
session's risk state.
"""

from __future__ import annotations

from typing import Final

from models.events.columns import ACTION
from models.state.table import Subject
from pipeline.decisions.decision import ANOMALY, TENANT_THRESHOLD, Contribution, Decision, DecisionInput
from pipeline.decisions.guard import Guard, next_minute
from pipeline.decisions.holds import (
    HELD_FLEET_SILENT,
    HELD_POSSIBLE_ROLLOUT,
    HELD_UNVERIFIED,
    SILENT,
    SILENT_ACTIVE,
    explained_by_context,
    fleet_follows_until,
    fleet_is_silent,
    may_be_rollout,
    rests_on_silence,
    silence_is_unverified,
)
from pipeline.decisions.policy import Policy
from pipeline.decisions.risk import LEVELS, Level, next_level, score
from pipeline.decisions.risk_state import Challenge, DetectionEpisode, SessionRiskState
from pipeline.detections import BIT, DETECTIONS, FACTS, STEP_UP_MISSED, Detection
from pipeline.processing.messages import stable_id
from pipeline.times import HOUR_MS
from schemas.fields import DAY_MS

ANOMALY_CLEARED_MS: Final = 4 * HOUR_MS
"""For how long a step-up clears what the model finds: the same work shall not be asked about again and again."""
MAX_CLEARED_MS: Final = DAY_MS
"""For how long an answer clears a suspicion at most, however often it was refuted."""
MAX_REPEAT_MS: Final = DAY_MS
"""A decision that still stands is reported once a day at least, unless the policy wants it less often."""
_STEP_UP: Final = ACTION["step_up_passed"]
_SIGN_IN: Final = ACTION["sign_in"]


def is_missed(challenge: Challenge, event: DecisionInput, step_up_s: float) -> bool:
    """Whether the deadline of *challenge* has passed while the session was in use.

    If the session was not used between challenge and deadline, the time starts anew at its next use, and *challenge*
    is changed accordingly.
    """
    used_at = event.at_ms if event.is_use else event.used_at
    challenge.unseen |= event.used_at <= challenge.asked_at
    if challenge.unseen and used_at > challenge.asked_at:
        challenge.unseen = False
        challenge.asked_at = used_at - 1  # so that this use is after it
        challenge.deadline = used_at + int(step_up_s * 1000)
    return not challenge.unseen and event.at_ms >= challenge.deadline


def _cleared_ms(state: SessionRiskState, name: str, once_ms: int) -> int:
    """For how long an answer clears *name*: *once_ms*, and twice as long each time that it was asked about before.

    What a person has refuted again and again is a habit. Without a challenge nothing was refuted.
    """
    times = state.times_cleared.get(name, 0)
    if state.challenge:
        state.times_cleared[name] = times + 1
    return min(once_ms << min(times, 20), max(MAX_CLEARED_MS, once_ms))


class PolicyEngine:
    """A policy with its tables worked out, ready to decide."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.policy_id = policy.id
        self.weights = policy.weights()
        self.limits = policy.limits()
        self.alarming_band = self._alarming_band()
        """The lowest band of the model's score that raises the level by itself."""

    def _alarming_band(self) -> int:
        weights = self.policy.anomaly_weights
        raising = [
            band
            for band, weight in enumerate(weights, start=1)
            if score(self.policy.prior + weight) >= self.policy.levels.medium_raise
        ]
        return min(raising, default=len(weights) + 1)

    def decide(self, state: SessionRiskState, subject: Subject, event: DecisionInput, guard: Guard) -> Decision:
        """Update *state* with *event* and decide.

        Args:
            state: the session's risk state; changed in place.
            subject: whose session it is.
            event: what is observed.
            guard: must admit every revocation.
        """
        refuted = self._refutes(state, event)
        self._apply_answer(state, event)
        self._check_deadline(state, event)
        self._update_episodes(state, event)
        self._withdraw_challenge(state, event)
        contributions = self.contributions(state, subject, event)
        counted = sum(contribution.log_odds for contribution in contributions if not contribution.suppressed)
        value = score(self.policy.prior + counted)
        previous: Level = state.level  # type: ignore[assignment]
        level = next_level(previous, value, (event.at_ms - state.level_since) / 1000, self.policy.levels)
        if level != previous:
            state.level, state.level_since = level, event.at_ms
        decision = Decision(
            decision_id=stable_id(subject.tenant, subject.session_id, event.event_id, event.at_ms, state.epoch),
            score=value,
            level=level,
            previous=previous,
            action=self.policy.action(
                event.principal_kind,
                level,
                on_suspicion=level == "HIGH" and self.is_suspicion(state, subject, event.at_ms),
            ),
            suppressed="; ".join(part.suppressed for part in contributions if part.suppressed),
            contributions=contributions,
            refuted=refuted,
        )
        decision.detections = [part.detection for part in decision.counted if part.detection in BIT]
        self._command(state, subject, event, guard, decision)
        decision.is_reported = self._report(state, event, decision)
        return decision

    @staticmethod
    def _refutes(state: SessionRiskState, event: DecisionInput) -> bool:
        """Whether *event* passes a person's step-up that rested on suspicion alone."""
        if event.action != _STEP_UP or not event.is_person or state.challenge is None or state.revocation:
            return False
        return FACTS.isdisjoint(state.challenge.detections)

    def _apply_answer(self, state: SessionRiskState, event: DecisionInput) -> None:
        """A proved factor or an approval clears what it can clear and closes the challenge.

        A machine that signs in has proved nothing that a thief of its key could not, and approves nothing unasked.
        """
        if event.action not in (_STEP_UP, _SIGN_IN) or state.revocation:
            return
        if not event.is_person and (event.action == _SIGN_IN or state.challenge is None):
            return
        # Later commands get other ids only if there was something to clear. Otherwise the ids would depend on whether
        # the first sign-in or the message about a child session is read first, which an outage may reverse.
        if state.challenge or state.episodes or state.level != "LOW":
            state.epoch += 1
        approved_ms = 0 if event.is_person else int(self.policy.times.suppression_s * 1000)
        cleared = [
            detection
            for detection in DETECTIONS
            if detection.cleared_by_step_up or (approved_ms and not detection.is_fact)
        ]
        for detection in cleared:
            if detection.id in state.episodes and (detection.cleared_for_s or approved_ms):
                cleared_ms = approved_ms or _cleared_ms(state, detection.id, int(detection.cleared_for_s * 1000))
                for name in SILENT if detection.rests_on_silence else (detection.id,):
                    state.cleared_until[name] = event.at_ms + cleared_ms
        for detection in cleared:
            state.episodes.pop(detection.id, None)
        state.held_at_step_up = [
            detection.id
            for detection in cleared
            if event.mask >> BIT[detection.id] & 1 and not detection.rests_on_silence  # which must end in time
        ]
        if event.band:  # the anomaly is cleared until the model finds the session normal again, and for a while
            state.held_at_step_up.append(ANOMALY)
            cleared_ms = approved_ms or _cleared_ms(state, ANOMALY, ANOMALY_CLEARED_MS)
            state.cleared_until[ANOMALY] = event.at_ms + cleared_ms
        state.challenge = None
        if event.action == _STEP_UP:
            dwell_ms = int(self.policy.levels.dwell_s * 1000)
            state.level_since = min(state.level_since, event.at_ms - dwell_ms)

    def _check_deadline(self, state: SessionRiskState, event: DecisionInput) -> None:
        challenge = state.challenge
        if challenge is None or event.at_ms < challenge.deadline or STEP_UP_MISSED in state.episodes:
            return
        if self.policy.actions(event.principal_kind).unanswered == "allow":
            if state.level == "LOW":  # so that what comes later is asked about again
                state.challenge = None
            return
        if is_missed(challenge, event, self._answer_s(challenge)):
            age_m = event.fact("strong_auth_age_m")
            state.episodes[STEP_UP_MISSED] = DetectionEpisode(event.at_ms, event.at_ms, age_m, [event.evidence])

    def _answer_s(self, challenge: Challenge) -> float:
        """Seconds within which *challenge* must be answered."""
        times = self.policy.times
        return times.approval_s if challenge.is_approval else times.step_up_s

    def _update_episodes(self, state: SessionRiskState, event: DecisionInput) -> None:
        """Detections that hold start or extend their episode; episodes that no longer count end."""
        state.held_at_step_up = [name for name in state.held_at_step_up if self._still_holds(name, event)]
        state.cleared_until = {name: until for name, until in state.cleared_until.items() if until > event.at_ms}
        for index, detection in enumerate(DETECTIONS):
            episode = state.episodes.get(detection.id)
            if event.mask >> index & 1:
                if episode is None and self._may_start(state, detection):
                    episode = state.episodes[detection.id] = DetectionEpisode(event.at_ms, event.at_ms, 0.0)
                if episode is not None:
                    text = event.observed_text.get(detection.signal, "")
                    episode.extend(event.at_ms, *event.measured(detection), event.evidence, text)
                    episode.role_usual, episode.at_tenant = event.usual_in_role(detection)
            elif episode is not None:
                if event.mask_before >> index & 1:
                    episode.last_at = max(episode.last_at, event.before_ms)
                explained = detection.fleet_may_follow and detection.signal in event.observed_text
                if explained or event.at_ms > episode.last_at + detection.hold_s * 1000:
                    del state.episodes[detection.id]

    @staticmethod
    def _still_holds(name: str, event: DecisionInput) -> bool:
        return bool(event.band if name == ANOMALY else event.mask >> BIT[name] & 1)

    def _may_start(self, state: SessionRiskState, detection: Detection) -> bool:
        """Not if a step-up has just cleared it, nor for the silence that a revocation itself causes."""
        cleared = detection.id in state.held_at_step_up or detection.id in state.cleared_until
        return not cleared and not (detection.rests_on_silence and state.revocation)

    def _withdraw_challenge(self, state: SessionRiskState, event: DecisionInput) -> None:
        """No step-up is needed any more for a device that sends telemetry again, or does what its whole fleet did."""
        challenge = state.challenge
        if challenge is None or state.revocation:
            return
        silent = any(DETECTIONS[BIT[detection_id]].rests_on_silence for detection_id in state.episodes)
        if (challenge.silence and not silent) or explained_by_context(state, challenge, event):
            state.challenge = None
            state.episodes.pop(STEP_UP_MISSED, None)

    def contributions(self, state: SessionRiskState, subject: Subject, event: DecisionInput) -> list[Contribution]:
        """Every summand of the score, largest first."""
        contributions = []
        for detection_id, episode in state.episodes.items():
            if weight := self.weights[BIT[detection_id]]:
                suppressed = self._suppression(state, subject, detection_id, event.at_ms)
                contributions.append(Contribution(detection_id, weight, episode, suppressed))
        if event.band:
            weight = self.policy.anomaly_weights[event.band - 1]
            cleared = ANOMALY in state.held_at_step_up or ANOMALY in state.cleared_until
            suppressed = f"{ANOMALY}: answered with a factor" if cleared else ""
            contributions.append(Contribution(ANOMALY, weight, suppressed=suppressed))
        if event.threshold and (less := self._threshold(contributions, event)):
            contributions.append(Contribution(TENANT_THRESHOLD, -less))
        if self._proved_since(contributions, event):
            contributions.append(Contribution("fresh_strong_auth", self.policy.fresh_strong_auth_weight))
        return sorted(contributions, key=lambda contribution: (-contribution.log_odds, contribution.detection))

    @staticmethod
    def _threshold(contributions: list[Contribution], event: DecisionInput) -> float:
        """By how much the suspicions among *contributions* weigh less in this tenant; never more than they weigh."""
        if not event.is_person:
            return 0.0
        suspected = sum(part.log_odds for part in contributions if not part.suppressed and part.detection not in FACTS)
        return round(min(event.threshold, max(suspected, 0.0)), 2)

    def is_suspicion(self, state: SessionRiskState, subject: Subject, at_ms: int) -> bool:
        """Whether the facts about the session of *subject* do not reach HIGH without what is only unusual.

        After a missed step-up nothing is only suspected: the person was asked.
        """
        facts = [
            name
            for name in state.episodes
            if name in FACTS and self.weights[BIT[name]] and not self._suppression(state, subject, name, at_ms)
        ]
        if STEP_UP_MISSED in facts:
            return False
        total = sum(self.weights[BIT[name]] for name in facts)
        return score(self.policy.prior + total) < self.policy.levels.high_raise

    def _proved_since(self, contributions: list[Contribution], event: DecisionInput) -> bool:
        """Whether a factor was proved recently, after everything that counts against the session.

        A sign-in before the evidence is no reassurance: the session that it opened may be the one that was stolen.
        """
        newest = max((part.episode.last_at for part in contributions if part.episode), default=event.at_ms)
        proved_at = event.at_ms - event.strong_age_s * 1000
        return event.strong_age_s <= self.policy.fresh_strong_auth_s and proved_at > newest

    def _suppression(self, state: SessionRiskState, subject: Subject, detection_id: str, at_ms: int) -> str:
        """Why *detection_id* does not count, or ""."""
        if state.suppressed_until.get(detection_id, 0) > at_ms:
            return f"{detection_id}: reported as a false positive"
        for suppression in self.policy.suppressions:
            if detection_id in suppression.detections and suppression.covers(subject, at_ms):
                return f"{detection_id}: suppressed by {suppression.owner}: {suppression.reason}"
        return ""

    def _command(
        self,
        state: SessionRiskState,
        subject: Subject,
        event: DecisionInput,
        guard: Guard,
        decision: Decision,
    ) -> None:
        """Turn the level's action into a command, once per epoch and cause, if the guard admits it."""
        state.held_at = 0
        if state.revocation:
            decision.action = "revoke"
            return
        if decision.score < self._min_score(decision.level) or not event.is_open:
            decision.action = "allow"
        if self.policy.mode == "observe":
            return
        instead = "step_up" if event.is_person else "allow"
        ends_or_may_end = decision.action in ("revoke", "hold_for_approval")
        if ends_or_may_end and self._waits_for_fleet(event, decision, self.policy.levels.high_raise):
            decision.action = instead
        if decision.action == "revoke":
            hold = self._reason_to_hold(state, subject, event, guard, decision)
            if not hold:
                decision.revocation_id = stable_id(subject.tenant, subject.session_id, state.epoch, decision.cause)
                return
            self._hold(state, event, decision, hold)
            decision.action = instead
        if decision.action in ("step_up", "hold_for_approval") and state.challenge is None:
            self._challenge(state, subject, event, decision)

    def _challenge(self, state: SessionRiskState, subject: Subject, event: DecisionInput, decision: Decision) -> None:
        """Request a step-up or an approval, unless the evidence may turn out not to be the session's own."""
        if reason := self._reason_not_to_challenge(state, event, decision):
            if not decision.held:
                self._hold(state, event, decision, reason)
            decision.action = "allow"
            return
        if self._waits_for_fleet(event, decision, self.policy.levels.medium_raise):
            decision.action = "allow"
            return
        is_approval = decision.action == "hold_for_approval"
        asked = "approval" if is_approval else "step-up"
        decision.challenge_id = stable_id(subject.tenant, subject.session_id, state.epoch, decision.cause, asked)
        challenge = state.challenge = Challenge(
            decision.challenge_id,
            deadline=0,
            silence=rests_on_silence(self.policy, state, decision),
            detections=list(decision.detections),
            asked_at=event.at_ms,
            is_approval=is_approval,
        )
        challenge.deadline = event.at_ms + int(self._answer_s(challenge) * 1000)

    @staticmethod
    def _hold(state: SessionRiskState, event: DecisionInput, decision: Decision, reason: str) -> None:
        state.held_at = event.at_ms
        decision.held = True
        decision.suppressed = "; ".join(filter(None, (decision.suppressed, reason)))

    def _reason_not_to_challenge(self, state: SessionRiskState, event: DecisionInput, decision: Decision) -> str:
        """Silence that may not be the device's own; while the session is idle, also if only this device is silent."""
        if fleet_is_silent(self.policy, state, event, decision):
            return HELD_FLEET_SILENT
        idle = SILENT_ACTIVE not in decision.detections
        return HELD_UNVERIFIED if idle and silence_is_unverified(self.policy, state, event, decision) else ""

    def _waits_for_fleet(self, event: DecisionInput, decision: Decision, threshold: float) -> bool:
        """Whether the score reaches *threshold* only by what other devices may be about to do as well."""
        if not may_be_rollout(self.policy, event, decision, threshold):
            return False
        if not decision.waits_for_fleet:
            decision.suppressed = "; ".join(filter(None, (decision.suppressed, HELD_POSSIBLE_ROLLOUT)))
        decision.waits_for_fleet = True
        return True

    def _min_score(self, level: Level) -> float:
        """The score from which *level* leads to its action; below it the level only waits for its dwell time."""
        levels = self.policy.levels
        return {"LOW": 0.0, "MEDIUM": levels.medium_clear, "HIGH": levels.high_clear}[level]

    def _reason_to_hold(
        self,
        state: SessionRiskState,
        subject: Subject,
        event: DecisionInput,
        guard: Guard,
        decision: Decision,
    ) -> str:
        """Why a revocation is held, or an empty string.

        It is held if its level rests on silence alone and the tenant's fleet is silent, or no other device shows that
        telemetry can arrive; and if the tenant's budget for this minute is spent.
        """
        if fleet_is_silent(self.policy, state, event, decision):
            return HELD_FLEET_SILENT
        if silence_is_unverified(self.policy, state, event, decision):
            return HELD_UNVERIFIED
        if not guard.admit(subject.tenant, event.at_ms):
            return f"held by the guard: more than {guard.budget} revocations in this minute and partition"
        return ""

    def _report(self, state: SessionRiskState, event: DecisionInput, decision: Decision) -> bool:
        """Whether the decision is sent: if it differs from the last report, commands something, or is due again."""
        lines = sorted(
            f"{part.detection} {'quiet' * bool(part.suppressed)}".strip()
            for part in decision.contributions
            if part.episode
        )
        changed = decision.level != decision.previous or lines != state.last_reported
        due = decision.level != "LOW" and event.at_ms >= self._repeat_at(state)
        if not (changed or due or decision.revocation_id or decision.challenge_id):
            return False
        state.last_reported, state.reported_at = lines, event.at_ms
        return True

    def _repeat_at(self, state: SessionRiskState) -> int:
        """When a decision that still stands is reported again, ms: ever less often the longer its level stands.

        A machine that waits for approval may stay at HIGH for as long as it runs.
        """
        shortest = int(self.policy.times.repeat_s * 1000)
        as_long_as_it_stood = min(state.reported_at - state.level_since, MAX_REPEAT_MS)
        return state.reported_at + max(shortest, as_long_as_it_stood)

    def wake_at(self, state: SessionRiskState, at_ms: int, mask: int) -> int:
        """When to decide again even if no event arrives, ms; 0 for never.

        *mask* is what holds now: a change of it is noticed without a timer.
        """
        if state.revocation:
            return 0 if state.revocation.acknowledged else state.revocation.due
        times = [next_minute(state.held_at) if state.held_at else 0]
        if state.challenge and STEP_UP_MISSED not in state.episodes:
            times.append(state.challenge.deadline)
            times.append(next_minute(at_ms) if state.challenge.unseen else 0)
        for detection_id, episode in state.episodes.items():
            if not mask >> BIT[detection_id] & 1:
                times.append(episode.last_at + int(DETECTIONS[BIT[detection_id]].hold_s * 1000) + 1)
            times.append(state.suppressed_until.get(detection_id, 0))
            times.append(fleet_follows_until(self.policy, detection_id, episode))
            times += [
                suppression.expires_at
                for suppression in self.policy.suppressions
                if detection_id in suppression.detections
            ]
        times += [until for name, until in state.cleared_until.items() if name in BIT and mask >> BIT[name] & 1]
        if state.level != LEVELS[0]:
            times.append(state.level_since + int(self.policy.levels.dwell_s * 1000))
            times.append(self._repeat_at(state))
        return min((time for time in times if time > at_ms), default=0)
