"""What a scorer says: to contexts when sessions start, move and end; to the world when it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from pipeline.detections.detection import STEP_UP_MISSED, authenticated
from pipeline.processing.messages import Stamp, activity, binding, source_event_id, stable_id
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.sessions import feedback, lineage
from pipeline.sessions.context_updates import used_names
from pipeline.sessions.lifecycle import outcome_of
from pipeline.sessions.shadow import Shadows
from pipeline.sessions.slow_path import PROVING, SlowPath, SlowPathEvent

ON_ITS_WAY_MS: Final = 10_000
"""What happens so soon after a sign-out may have begun before it."""
_SIGN_IN, _SIGN_OUT, _FAILED = ACTION["sign_in"], ACTION["sign_out"], ACTION["sign_in_failed"]


class SessionEventHandler:
    """Turns one walk over a chunk into messages."""

    def __init__(
        self, walk: SlowPath, active: ActiveConfig, guard: Guard, out: OutcomeBuilder, *, event_clock: bool
    ) -> None:
        self.walk = walk
        self.judge = active.judge
        self.guard = guard
        self.out = out
        policy = active.judge.policy
        self._now = Stamp(out.now_ms, active.detector.id, active.judge.policy_id, policy.mode)
        self._event_clock = event_clock

    def _stamp(self, at: int) -> Stamp:
        """Under what a decision about a session at *at* is made: by the wall clock, or as if on the spot."""
        return replace(self._now, now_ms=at) if self._event_clock else self._now

    def announce(self, index: int, flags: int) -> None:
        """A session starts, shows another client or changes a factor: principal and device hear of it."""
        folded = self.walk.looked.folded
        facts, event = folded.facts, folded.batch.events[int(folded.seg.order[index])]
        moved = any(facts[name][index] for name in ("network_changed", "client_changed", "network_new"))
        moved = moved or event.get("workload") is not None
        started = not folded.before["kind"][folded.seg.of[index]] and not folded.seg.rank[index]
        subject, kind = subject_at(self.walk.table, folded, index), KINDS[int(facts["kind"][index])]
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
            guess = facts["action"][index] == _FAILED and not authenticated(facts)[index]
            self.out.send(activity(subject, kind, what, event_id, at, event, used, guess=bool(guess)))
        if facts["device_new"][index] or (event["device_id"] and (started or facts["client_changed"][index])):
            self._send_binding(subject, kind, event["device_id"], "live", event)

    def _send_binding(self, subject: Subject, kind: str, device_id: str, live: str, event: Mapping[str, Any]) -> None:
        at = int(event["occurred_at"])
        self.out.send(binding(subject, kind, device_id, live, str(event["event_id"]), at))

    def handle(self, sight: SlowPathEvent, moment: DecisionInput) -> None:
        """One event on the slow path."""
        case = sight.case
        lineage.follow(sight, self.out)
        if self.walk.looked.folded.facts["device_changed"][sight.index]:
            self._device_left(sight)
        case.suppressed_until = {
            detection: until for detection, until in case.suppressed_until.items() if until > moment.at_ms
        }
        if "verdict" in sight.event:
            feedback.apply_verdict(sight, self.judge.policy, self.out)
        elif sight.event.get("muted"):
            feedback.note_verdict(case, sight.event)
        if sight.event.get("verdict") == "false_positive":
            self._trust(sight)
        if case.ended_at and self._continues_after_end(sight, moment):
            self._reopen(sight)
        if case.ended_at:
            return
        if moment.action == _SIGN_OUT and not case.revocation:
            self._end(sight)
        else:
            self._decide(sight, moment)

    def _device_left(self, sight: SlowPathEvent) -> None:
        """Remember the device that the session left; the oldest of too many speaks for it no more."""
        case, now = sight.case, sight.subject.device_id
        was = device_before(self.walk.table, self.walk.looked.folded, sight.index)
        case.devices = [*(device for device in case.devices if device not in (was, now)), was]
        for forgotten in case.devices[:-MAX_DEVICES]:
            self._send_binding(sight.subject, sight.kind, forgotten, "ended", sight.event)
        case.devices = case.devices[-MAX_DEVICES:]

    def _continues_after_end(self, sight: SlowPathEvent, moment: DecisionInput) -> bool:
        """Whether the session is in use after its sign-out; what was on its way then does not count."""
        grace = 0 if moment.action == _SIGN_IN else ON_ITS_WAY_MS
        used = bool(self.walk.going_on[sight.index])
        return used and int(sight.event["occurred_at"]) > sight.case.ended_at + grace

    def _reopen(self, sight: SlowPathEvent) -> None:
        """The session is judged again, and principal and device hear that it lives."""
        sight.case.ended_at = 0
        sight.flags &= ~ENDED
        event = sight.event
        pair = (str(event["event_id"]), int(event["occurred_at"]))
        self.out.send(activity(sight.subject, sight.kind, "started", *pair, event))
        if sight.subject.device_id:
            self._send_binding(sight.subject, sight.kind, sight.subject.device_id, "live", event)

    def _trust(self, sight: SlowPathEvent) -> None:
        """What this session showed was honest: its principal may learn from it even if it was revoked."""
        if sight.subject.principal_id:
            pair = (str(sight.event["event_id"]), sight.at)
            self.out.send(activity(sight.subject, sight.kind, "vouched", *pair, {}))

    def _end(self, sight: SlowPathEvent) -> None:
        sight.case.ended_at = sight.at
        sight.flags |= ENDED
        self._close(sight, None)
        self._leave_contexts(sight, "ended")

    def _leave_contexts(self, sight: SlowPathEvent, how: str) -> None:
        subject, event = sight.subject, sight.event
        if subject.principal_id:
            peaks = named_volumes(self.walk.looked.folded.peaks_after(sight.index))
            event_id = str(event["event_id"])
            self.out.send(activity(subject, sight.kind, how, event_id, sight.at, {}, (), peaks))
            for device_id in filter(None, (*sight.case.devices, subject.device_id)):
                self._send_binding(subject, sight.kind, device_id, "ended", {**event, "occurred_at": sight.at})

    def _decide(self, sight: SlowPathEvent, moment: DecisionInput) -> None:
        case = sight.case
        open_, missed = case.challenge is not None, STEP_UP_MISSED in case.episodes
        decision = self.judge.decide(case, sight.subject, moment, self.guard)
        if open_ and moment.action in PROVING:
            self.out.count("challenges", "passed")
        if not missed and STEP_UP_MISSED in case.episodes:
            self.out.count("challenges", "missed")
        revocation = case.revocation
        if revocation and not revocation.acknowledged and sight.at >= revocation.due:
            self._resend(sight, revocation)
            if escalation.is_first_report(revocation):
                decision.is_reported, decision.decision_id = True, escalation.decision_id(revocation)
        records = self._reasons(sight, decision) if decision.is_reported else []
        if decision.revocation_id:
            self._revoke(sight, decision)
        if decision.challenge_id:
            self._challenge(sight, decision)
        if decision.held:
            self.out.count("revocations", "held")
        moved = decision.level != decision.previous and not case.revocation
        if moved and LEVELS[0] in (decision.level, decision.previous):
            lineage.notify_risk_level(sight, self.out)
        if decision.is_reported:
            self._report(sight, decision, records)

    def _reasons(self, sight: SlowPathEvent, decision: Decision) -> list[dict[str, Any]]:
        """Why, in words; the decision learns what it could not know yet."""
        odd, transition = self.walk.moved(sight.index), self.walk.transition(sight)
        records = reasons(decision.contributions, self.judge.limits, odd, transition)
        decision.learning = self.walk.learning(sight.index)
        revocation = sight.case.revocation
        if revocation and escalation.is_unconfirmed(sight.case):
            records.append(escalation.reason(revocation, self.judge.policy.times.ack_s))
            records.sort(key=lambda fields: -float(fields["contribution"]))
        return records

    def _report(self, sight: SlowPathEvent, decision: Decision, reasons: list[dict[str, Any]]) -> None:
        cause = source_event_id(str(sight.event["event_id"]))
        self.out.send(
            outputs.risk(sight.subject, sight.kind, decision, reasons, cause, sight.at, self._stamp(sight.at))
        )
        self.out.count("decisions", decision.level, decision.action)
        if decision.suppressed:
            reason = "guard" if decision.held else "waiting" if decision.waits_for_fleet else "suppression"
            self.out.count("suppressed", reason)
        case = sight.case
        if decision.level != LEVELS[0] or escalation.is_unconfirmed(case):
            activity = outputs.UPDATE if case.finding else outputs.CREATE
            if not case.finding:
                case.finding, case.finding_at = stable_id(decision.decision_id, "finding"), sight.at
            self._send_finding(sight, decision, reasons, activity)
        else:
            self._close(sight, decision, reasons)

    def _send_finding(
        self, sight: SlowPathEvent, decision: Decision, reasons: list[dict[str, Any]], activity: int
    ) -> None:
        self.out.send(
            outputs.finding(sight.subject, sight.case, decision, reasons, activity, sight.at, self._stamp(sight.at))
        )
        self.out.count("findings", ("create", "update", "close")[activity - 1])

    def _close(
        self, sight: SlowPathEvent, decision: Decision | None, reasons: list[dict[str, Any]] | None = None
    ) -> None:
        """The episode is over: the level fell, or the session ended."""
        case = sight.case
        if not case.finding:
            return
        self._send_finding(sight, decision or outcome_of(case, sight.at), reasons or [], outputs.CLOSE)
        case.finding, case.finding_at = "", 0

    def _revoke(self, sight: SlowPathEvent, decision: Decision) -> None:
        """The command, the session's mark, and the word to its children."""
        case = sight.case
        times = self.judge.policy.times
        stamp = self._stamp(sight.at)
        deadline = stamp.now_ms + int(times.ack_s * 1000)
        members = {
            "revocation_id": decision.revocation_id,
            **outputs.command(sight.subject, sight.kind, decision, case.root, deadline, stamp),
        }
        self.out.send(outputs.revocation(members))
        self.out.count("revocations", "sent")
        case.revocation = Revocation(members, sight.at + int(times.ack_s * 1000))
        case.challenge = None
        sight.flags |= REVOKED
        lineage.notify_children(sight, self.out)
        self._leave_contexts(sight, "revoked")

    def _resend(self, sight: SlowPathEvent, revocation: Revocation) -> None:
        """No acknowledgement by the deadline: the same command again, each time after twice as long."""
        wait = int(self.judge.policy.times.ack_s * 1000) << min(revocation.sends, 20)
        revocation.sends += 1
        revocation.due = sight.at + wait
        revocation.command["deadline"] = self._stamp(sight.at).now_ms + wait
        self.out.send(outputs.revocation(revocation.command))
        self.out.count("revocations", "resent")
        if escalation.is_first_report(revocation):
            self.out.count("revocations", "unconfirmed")

    def _challenge(self, sight: SlowPathEvent, decision: Decision) -> None:
        stamp = self._stamp(sight.at)
        deadline = stamp.now_ms + int(self.judge.policy.times.step_up_s * 1000)
        members = {
            "challenge_id": decision.challenge_id,
            **outputs.command(sight.subject, sight.kind, decision, sight.case.root, deadline, stamp),
        }
        self.out.send(outputs.challenge(members))
        self.out.count("challenges", "sent")

    def _sampled(self) -> Bools:
        """A share of all events that were scored, chosen by event id; none of those that only time brings."""
        looked = self.walk.looked
        batch, order = looked.folded.batch, looked.folded.seg.order
        share = np.uint64(min(self.judge.policy.low_features_share * 2.0**64, 2.0**64 - 2048))
        sampled: Bools = (batch.ids[order] < share) & (batch.kind is not Kind.TICK) & looked.scored
        return sampled

    def report_shadows(self, shadows: Shadows) -> None:
        """What challengers make of the chunk, where they differ and of the sample."""
        shadows.report(self.walk, np.flatnonzero(self._sampled()), self._stamp, self.out)

    def report_features(self) -> None:
        """The scored vectors worth keeping: all of MEDIUM and HIGH, a share of LOW, chosen by event id."""
        looked = self.walk.looked
        folded = looked.folded
        if folded.batch.kind is Kind.TICK:
            return
        for index in np.flatnonzero((looked.level > 0) | self._sampled()).tolist():
            event_id = folded.batch.event_id(int(folded.seg.order[index]))
            subject = Subject.unpack(self.walk.table.names[int(folded.seg.keys[folded.seg.of[index]])])
            values = dict(zip(FEATURE_NAMES, folded.values[:, index].tolist(), strict=True))
            role = int(folded.facts["role"][index]) if folded.batch.kind is Kind.CALL else UNCLEAR
            scored = {
                "level": LEVELS[int(looked.level[index])],
                "role": None if role == UNCLEAR else role,
                "values": values,
            }
            kind, at = KINDS[int(folded.facts["kind"][index])], int(folded.at[index])
            self.out.send(outputs.features(subject, kind, event_id, at, scored, self._stamp(at)))
