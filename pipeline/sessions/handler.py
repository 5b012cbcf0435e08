"""Session event handler: turns the events of the slow path into decisions, and decisions into messages.

It notifies the principal and device contexts when a session starts, moves or ends, and sends revocations, challenges,
risk records and findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.events.batch import Kind
from models.events.columns import ACTION, FACTOR_CHANGES, KINDS, NETWORK_TYPES
from models.features.table import FEATURE_NAMES
from models.features.volumes import named_volumes
from models.state.segments import Bools
from models.state.table import ENDED, REVOKED, Subject
from models.updates.arrivals import device_before, subject_at
from models.updates.call_sequence import UNCLEAR
from pipeline.control.active import ActiveConfig
from pipeline.decisions import escalation, outputs
from pipeline.decisions.decision import Decision, DecisionInput
from pipeline.decisions.explanations import reasons
from pipeline.decisions.guard import Guard
from pipeline.decisions.risk import LEVELS
from pipeline.decisions.risk_state import MAX_DEVICES, Revocation
from pipeline.decisions.step_up_budget import StepUpBudget
from pipeline.detections.detection import STEP_UP_MISSED
from pipeline.processing.messages import Stamp, activity, binding, source_event_id, stable_id
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.sessions import feedback, lineage
from pipeline.sessions.context_updates import used_names
from pipeline.sessions.lifecycle import outcome_of
from pipeline.sessions.shadow import Shadows
from pipeline.sessions.slow_path import PROVING, SlowPath, SlowPathEvent

ON_ITS_WAY_MS: Final = 10_000
"""A call that arrives so soon after a sign-out, in ms, may have begun before it."""
_SIGN_IN, _SIGN_OUT = ACTION["sign_in"], ACTION["sign_out"]


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """What limits commands beyond one session: the guard of revocations, and the budget of step-ups."""

    guard: Guard
    budget: StepUpBudget


class SessionEventHandler:
    """Handles the events of one chunk's slow path; all messages go to *out*."""

    def __init__(
        self,
        slow_path: SlowPath,
        active: ActiveConfig,
        limits: CommandLimits,
        out: OutcomeBuilder,
        *,
        event_clock: bool,
    ) -> None:
        self.slow_path = slow_path
        self.engine = active.engine
        self.guard = limits.guard
        self.budget = limits.budget
        self.out = out
        policy = active.engine.policy
        self._now = Stamp(out.now_ms, active.detector.id, active.engine.policy_id, policy.mode)
        self._event_clock = event_clock

    def _stamp(self, at: int) -> Stamp:
        """Time, model, policy and mode of a decision at *at*; in a replay the time is that of the event."""
        now = self._now
        return Stamp(at, now.model, now.policy, now.mode) if self._event_clock else now

    def announce(self, index: int, flags: int) -> None:
        """Notify the principal and device contexts that a session starts, shows another client or changes a factor."""
        folded = self.slow_path.chunk.folded
        facts, event = folded.facts, folded.batch.events[int(folded.seg.order[index])]
        moved = any(facts[name][index] for name in ("network_changed", "client_changed", "network_new"))
        moved = moved or event.get("workload") is not None
        started = not folded.before["kind"][folded.seg.of[index]] and not folded.seg.rank[index]
        guess, opened = bool(self.slow_path.guessed[index]), bool(self.slow_path.opened[index])
        started = started or opened
        subject, kind = subject_at(self.slow_path.table, folded, index), KINDS[int(facts["kind"][index])]
        if (action := event.get("action")) in FACTOR_CHANGES:
            pair = (str(event["event_id"]), int(event["occurred_at"]))
            self.out.send(activity(subject, kind, str(action), *pair, event))
        if flags & (REVOKED | ENDED) and not started:
            return
        if event.get("network_type") is None and not facts["network_changed"][index]:
            event = {**event, "network_type": NETWORK_TYPES[int(facts["network_type"][index])] or None}
        reaches = facts["reaching"][index] or folded.batch.kind is Kind.AUTH
        used = used_names(event, modelled=bool(facts["familiar"][index])) if reaches else []
        if started or moved or used:
            what = "started" if started else "client_changed" if moved else "used"
            event_id, at = str(event["event_id"]), int(event["occurred_at"])
            self.out.send(activity(subject, kind, what, event_id, at, event, used, guess=guess))
        if guess:
            return
        if facts["device_new"][index] or (event["device_id"] and (started or facts["client_changed"][index])):
            self._send_binding(subject, kind, event["device_id"], "live", event)
        elif opened and subject.device_id:  # named by a guess, and not by what got in
            self._send_binding(subject, kind, subject.device_id, "live", event)

    def _send_binding(self, subject: Subject, kind: str, device_id: str, live: str, event: Mapping[str, Any]) -> None:
        at = int(event["occurred_at"])
        self.out.send(binding(subject, kind, device_id, live, str(event["event_id"]), at))

    def handle(self, current: SlowPathEvent, decision_input: DecisionInput) -> None:
        """Apply one event of the slow path to its session's risk state, and decide."""
        state = current.state
        lineage.follow(current, self.out)
        if self.slow_path.chunk.folded.facts["device_changed"][current.index]:
            self._device_left(current)
        state.suppressed_until = {
            detection: until for detection, until in state.suppressed_until.items() if until > decision_input.at_ms
        }
        if "verdict" in current.event:
            feedback.apply_verdict(current, self.engine.policy, self.out)
        elif current.event.get("muted"):
            feedback.note_verdict(state, current.event)
        if current.event.get("verdict") == "false_positive":
            self._trust(current)
        if state.ended_at and self._continues_after_end(current, decision_input):
            self._reopen(current)
        if state.ended_at:
            return
        if decision_input.action == _SIGN_OUT and not state.revocation:
            self._end(current)
        else:
            self._decide(current, decision_input)

    def _device_left(self, current: SlowPathEvent) -> None:
        """Remember the device that the session left. Above `MAX_DEVICES` the oldest is unbound."""
        state, now = current.state, current.subject.device_id
        was = device_before(self.slow_path.table, self.slow_path.chunk.folded, current.index)
        state.devices = [*(device for device in state.devices if device not in (was, now)), was]
        for forgotten in state.devices[:-MAX_DEVICES]:
            self._send_binding(current.subject, current.kind, forgotten, "ended", current.event)
        state.devices = state.devices[-MAX_DEVICES:]

    def _continues_after_end(self, current: SlowPathEvent, decision_input: DecisionInput) -> bool:
        """Whether the session is used after its sign-out; calls that may have begun before it do not count."""
        grace = 0 if decision_input.action == _SIGN_IN else ON_ITS_WAY_MS
        used = bool(self.slow_path.continues[current.index])
        return used and int(current.event["occurred_at"]) > current.state.ended_at + grace

    def _reopen(self, current: SlowPathEvent) -> None:
        """Decide about the session again, and notify principal and device that it is live."""
        current.state.ended_at = 0
        current.flags &= ~ENDED
        event = current.event
        pair = (str(event["event_id"]), int(event["occurred_at"]))
        self.out.send(activity(current.subject, current.kind, "started", *pair, event))
        if current.subject.device_id:
            self._send_binding(current.subject, current.kind, current.subject.device_id, "live", event)

    def _trust(self, current: SlowPathEvent) -> None:
        """An analyst called the session honest: its principal may learn from it even if it was revoked."""
        if current.subject.principal_id:
            pair = (str(current.event["event_id"]), current.at)
            self.out.send(activity(current.subject, current.kind, "vouched", *pair, {}))

    def _end(self, current: SlowPathEvent) -> None:
        current.state.ended_at = current.at
        current.flags |= ENDED
        self._close(current, None)
        self._leave_contexts(current, "ended")

    def _leave_contexts(self, current: SlowPathEvent, how: str) -> None:
        subject, event = current.subject, current.event
        if subject.principal_id:
            peaks = named_volumes(self.slow_path.chunk.folded.peaks_after(current.index))
            event_id = str(event["event_id"])
            self.out.send(activity(subject, current.kind, how, event_id, current.at, {}, (), peaks))
            for device_id in filter(None, (*current.state.devices, subject.device_id)):
                self._send_binding(subject, current.kind, device_id, "ended", {**event, "occurred_at": current.at})

    def _decide(self, current: SlowPathEvent, decision_input: DecisionInput) -> None:
        state = current.state
        asked, missed = state.challenge, STEP_UP_MISSED in state.episodes
        decision = self.engine.decide(state, current.subject, decision_input, self.guard)
        if asked and state.challenge is not asked and decision_input.action in PROVING:
            self._passed(current, decision)
        if not missed and STEP_UP_MISSED in state.episodes:
            self.out.count("challenges", "missed")
        revocation = state.revocation
        if revocation and not revocation.acknowledged and current.at >= revocation.due:
            self._resend(current, revocation)
            if escalation.is_first_report(revocation):
                decision.is_reported, decision.decision_id = True, escalation.decision_id(revocation)
        records = self._reasons(current, decision) if decision.is_reported else []
        if decision.revocation_id:
            self._revoke(current, decision)
        if decision.challenge_id:
            self._challenge(current, decision)
        if decision.held:
            self.out.count("revocations", "held")
        moved = decision.level != decision.previous and not state.revocation
        if moved and LEVELS[0] in (decision.level, decision.previous):
            lineage.notify_risk_level(current, self.out)
        if decision.is_reported:
            self._report(current, decision, records)

    def _passed(self, current: SlowPathEvent, decision: Decision) -> None:
        """Count a passed step-up, and let suspicions weigh less in this tenant if it rested on them."""
        self.out.count("challenges", "passed")
        if decision.refuted:
            subject, limits = current.subject, self.engine.policy.budget
            self.budget.refuted(subject.tenant, subject.principal_id, current.at, limits)
            self.out.count("refuted_step_ups")

    def _reasons(self, current: SlowPathEvent, decision: Decision) -> list[dict[str, Any]]:
        """The reasons as texts; adds to the decision which detections still lack a baseline."""
        odd, transition = self.slow_path.moved(current.index), self.slow_path.transition(current)
        records = reasons(decision.contributions, self.engine.limits, odd, transition)
        decision.learning = self.slow_path.learning(current.index)
        revocation = current.state.revocation
        if revocation and escalation.is_unconfirmed(current.state):
            records.append(escalation.reason(revocation, self.engine.policy.times.ack_s))
            records.sort(key=lambda fields: -float(fields["contribution"]))
        return records

    def _report(self, current: SlowPathEvent, decision: Decision, reasons: list[dict[str, Any]]) -> None:
        cause = source_event_id(str(current.event["event_id"]))
        self.out.send(
            outputs.risk(
                current.subject,
                current.kind,
                decision,
                reasons,
                cause,
                current.at,
                self._stamp(current.at),
            )
        )
        self.out.count("decisions", decision.level, decision.action)
        if decision.suppressed:
            reason = "guard" if decision.held else "waiting" if decision.waits_for_fleet else "suppression"
            self.out.count("suppressed", reason)
        state = current.state
        if decision.level != LEVELS[0] or escalation.is_unconfirmed(state):
            activity = outputs.UPDATE if state.finding else outputs.CREATE
            if not state.finding:
                state.finding, state.finding_at = stable_id(decision.decision_id, "finding"), current.at
            self._send_finding(current, decision, reasons, activity)
        else:
            self._close(current, decision, reasons)

    def _send_finding(
        self, current: SlowPathEvent, decision: Decision, reasons: list[dict[str, Any]], activity: int
    ) -> None:
        self.out.send(
            outputs.finding(
                current.subject,
                current.state,
                decision,
                reasons,
                activity,
                current.at,
                self._stamp(current.at),
            )
        )
        self.out.count("findings", ("create", "update", "close")[activity - 1])

    def _close(
        self, current: SlowPathEvent, decision: Decision | None, reasons: list[dict[str, Any]] | None = None
    ) -> None:
        """Close the open finding: the level returned to LOW, or the session ended."""
        state = current.state
        if not state.finding:
            return
        self._send_finding(current, decision or outcome_of(state, current.at), reasons or [], outputs.CLOSE)
        state.finding, state.finding_at = "", 0

    def _revoke(self, current: SlowPathEvent, decision: Decision) -> None:
        """Send the revocation, mark the session as revoked, and notify its children and contexts."""
        state = current.state
        times = self.engine.policy.times
        stamp = self._stamp(current.at)
        deadline = stamp.now_ms + int(times.ack_s * 1000)
        members = {
            "revocation_id": decision.revocation_id,
            **outputs.command(current.subject, current.kind, decision, state.root, deadline, stamp),
        }
        self.out.send(outputs.revocation(members))
        self.out.count("revocations", "sent")
        state.revocation = Revocation(members, current.at + int(times.ack_s * 1000))
        state.challenge = None
        current.flags |= REVOKED
        lineage.notify_children(current, self.out)
        self._leave_contexts(current, "revoked")

    def _resend(self, current: SlowPathEvent, revocation: Revocation) -> None:
        """Send the same command again: no acknowledgement came by the deadline. The wait doubles each time."""
        wait = int(self.engine.policy.times.ack_s * 1000) << min(revocation.sends, 20)
        revocation.sends += 1
        revocation.due = current.at + wait
        revocation.command["deadline"] = self._stamp(current.at).now_ms + wait
        self.out.send(outputs.revocation(revocation.command))
        self.out.count("revocations", "resent")
        if escalation.is_first_report(revocation):
            self.out.count("revocations", "unconfirmed")

    def _challenge(self, current: SlowPathEvent, decision: Decision) -> None:
        state, stamp = current.state, self._stamp(current.at)
        if state.challenge is None:
            raise AssertionError(f"decision {decision.decision_id} asks without a challenge")
        members = {
            "challenge_id": decision.challenge_id,
            "asks": state.challenge.asks,
            "parent_session_id": state.parent or None,
            "revoked_if_unanswered": self.engine.policy.actions(current.kind).unanswered == "revoke",
            **outputs.command(
                current.subject,
                current.kind,
                decision,
                state.root,
                stamp.now_ms + state.challenge.deadline - current.at,
                stamp,
            ),
        }
        self.out.send(outputs.challenge(members))
        self.out.count("challenges", "sent")

    def _sampled(self) -> Bools:
        """Sample of the scored events, ``(n,)``, chosen by event id; timer events are never in it."""
        chunk = self.slow_path.chunk
        batch, order = chunk.folded.batch, chunk.folded.seg.order
        share = np.uint64(min(self.engine.policy.low_features_share * 2.0**64, 2.0**64 - 2048))
        sampled: Bools = (batch.ids[order] < share) & (batch.kind is not Kind.TICK) & chunk.scored
        return sampled

    def report_shadows(self, shadows: Shadows) -> None:
        """Report what challengers would decide: where they differ, and for the sample."""
        shadows.report(self.slow_path, np.flatnonzero(self._sampled()), self._stamp, self.out)

    def report_features(self) -> None:
        """Send the feature vectors for retraining: all of MEDIUM and HIGH sessions, a sample of LOW."""
        chunk = self.slow_path.chunk
        folded = chunk.folded
        if folded.batch.kind is Kind.TICK:
            return
        chosen = np.flatnonzero((chunk.level > 0) | self._sampled())
        if not chosen.size:
            return
        facts, seg = folded.facts, folded.seg
        roles = facts["role"][chosen].tolist() if folded.batch.kind is Kind.CALL else [UNCLEAR] * chosen.size
        columns = (
            seg.order[chosen],
            seg.keys[seg.of[chosen]],
            folded.values[:, chosen].T,
            chunk.level[chosen],
            facts["kind"][chosen],
            folded.at[chosen],
        )
        names = self.slow_path.table.names
        for (place, row, values, level, kind, at), role in zip(
            zip(*(column.tolist() for column in columns), strict=True), roles, strict=True
        ):
            scored = {
                "level": LEVELS[level],
                "role": None if role == UNCLEAR else role,
                "values": dict(zip(FEATURE_NAMES, values, strict=True)),
            }
            event_id, subject = folded.batch.event_id(place), Subject.unpack(names[row])
            self.out.send(outputs.features(subject, KINDS[kind], event_id, at, scored, self._stamp(at)))
