"""What a scorer says about what it saw: to contexts when sessions start, move and end; to the world when it decides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.columns import ACTION, KINDS, Kind
from models.features import FEATURE_NAMES, FEATURE_SET
from models.state import Names
from pipeline import outputs
from pipeline.brain import Brain
from pipeline.case import CHILDREN, Case, Revocation
from pipeline.decision import Decision, Moment, stable_id
from pipeline.guard import Guard
from pipeline.judging import ENDED, REVOKED, Sight, Walk
from pipeline.outbox import Outbox
from pipeline.risk import LEVELS

if TYPE_CHECKING:
    from pipeline.scorer import SessionScorer

_SIGN_OUT: Final = ACTION["sign_out"]


class Reporter:
    """Turns one walk over a chunk into messages."""

    def __init__(self, walk: Walk, brain: Brain, guard: Guard, out: Outbox, *, event_clock: bool) -> None:
        self.walk = walk
        self.judge = brain.judge
        self.guard = guard
        self.out = out
        policy = brain.judge.policy
        self._now = outputs.Stamp(out.now_ms, brain.detector.id, brain.judge.policy_id, policy.mode)
        self._event_clock = event_clock

    def _stamp(self, at: int) -> outputs.Stamp:
        """Under what a decision about a session at *at* is made: by the wall clock, or as if on the spot."""
        return replace(self._now, now_ms=at) if self._event_clock else self._now

    def lifecycle(self) -> None:
        """Sessions that started or changed client: their principal and device hear of it."""
        folded = self.walk.looked.folded
        if folded.batch.kind not in (Kind.AUTH, Kind.CALL):
            return
        seg, facts = folded.seg, folded.facts
        started = (seg.rank == 0) & (folded.before["kind"][seg.of] == 0)
        over = folded.before["flags"][seg.of] & (REVOKED | ENDED) != 0
        moved = (facts["network_changed"] | facts["client_changed"]) & ~over
        for index in np.flatnonzero(started | moved).tolist():
            event = folded.batch.events[int(seg.order[index])]
            who = _names(self.walk.table.names[int(seg.keys[seg.of[index]])])
            kind = KINDS[int(facts["kind"][index])]
            what = "started" if started[index] else "client_changed"
            self.out.send(outputs.activity(who, kind, what, event["event_id"], event["occurred_at"], event))
            if event["device_id"] and (started[index] or facts["client_changed"][index]):
                self._bind(who, kind, event["device_id"], "live", event)

    def _bind(self, who: dict[str, str], kind: str, device_id: str, live: str, event: dict[str, Any]) -> None:
        at = int(event["occurred_at"])
        self.out.send(outputs.binding(who, kind, device_id, live, str(event["event_id"]), at))

    def handle(self, sight: Sight, moment: Moment) -> None:
        """One event on the slow path."""
        case, event = sight.case, sight.event
        if event.get("parent_session_id"):
            self._born(sight, event["parent_session_id"])
        if event.get("relation") == "child":
            self._parent_of(sight, event["child_session_id"])
        if event.get("relation") == "ancestor_revoked":
            case.root = case.root or event["root_session_id"]
        if event.get("verdict") == "false_positive":
            self._mute(case, moment)
        if moment.action == _SIGN_OUT and not case.revocation:
            self._end(sight)
        elif not case.ended_at:
            self._decide(sight, moment)

    def _born(self, sight: Sight, parent: str) -> None:
        case, who = sight.case, sight.who
        if case.parent or parent == who["session_id"]:
            return
        case.parent = parent
        event_id, at = str(sight.event["event_id"]), sight.at
        self.out.send(
            outputs.relative(who["tenant"], parent, "child", event_id, at, child=who["session_id"])
        )

    def _parent_of(self, sight: Sight, child: str) -> None:
        """Remember a child; one that comes after the fall hears of it at once."""
        case = sight.case
        if child in case.children:
            return
        case.children.append(child)
        if len(case.children) > CHILDREN:
            del case.children[0]
        if case.revocation:
            self._tell_child(sight, child)

    def _tell_child(self, sight: Sight, child: str) -> None:
        root = sight.case.root or sight.who["session_id"]
        event_id = outputs.derived_id(str(sight.event["event_id"]), f"~{stable_id(child)[:8]}")
        tenant = sight.who["tenant"]
        self.out.send(outputs.relative(tenant, child, "ancestor_revoked", event_id, sight.at, root=root))

    def _mute(self, case: Case, moment: Moment) -> None:
        """An analyst said: this cause is a false positive. It stays quiet for this session until it expires."""
        until = moment.at + int(self.judge.policy.times.muted_s * 1000)
        case.muted |= dict.fromkeys(case.episodes, until)

    def _end(self, sight: Sight) -> None:
        sight.case.ended_at = sight.at
        sight.flags |= ENDED
        self._close(sight, None)
        self._gone(sight, "ended")

    def _gone(self, sight: Sight, how: str) -> None:
        who, event = sight.who, sight.event
        if who["principal_id"]:
            self.out.send(outputs.activity(who, sight.kind, how, str(event["event_id"]), sight.at, {}))
            if who["device_id"]:
                self._bind(who, sight.kind, who["device_id"], "ended", {**event, "occurred_at": sight.at})

    def _decide(self, sight: Sight, moment: Moment) -> None:
        case = sight.case
        passed = case.challenge is not None
        decision = self.judge.decide(case, sight.who, moment, self.guard)
        if passed and case.challenge is None:
            self.out.count("challenges", "passed")
        told = outputs.reasons(decision.parts, self.judge.limits, self.walk.moved(sight.index)) if decision.report else []
        if decision.revoke:
            self._revoke(sight, decision)
        elif case.revocation and not case.revocation.acknowledged and sight.at >= case.revocation.due:
            self._remind(sight)
        if decision.challenge:
            self._challenge(sight, decision)
        if decision.held:
            self.out.count("revocations", "held")
        if decision.report:
            self._report(sight, decision, told)

    def _report(self, sight: Sight, decision: Decision, told: list[dict[str, Any]]) -> None:
        cause = str(sight.event["event_id"])
        self.out.send(outputs.risk(sight.who, sight.kind, decision, told, cause, sight.at, self._stamp(sight.at)))
        self.out.count("decisions", decision.level, decision.action)
        if decision.suppressed:
            self.out.count("suppressed", "guard" if decision.held else "suppression")
        case = sight.case
        if decision.level != LEVELS[0]:
            activity = outputs.UPDATE if case.finding else outputs.CREATE
            if not case.finding:
                case.finding, case.finding_at = stable_id(decision.decision_id, "finding"), sight.at
            self._find(sight, decision, told, activity)
        else:
            self._close(sight, decision, told)

    def _find(self, sight: Sight, decision: Decision, told: list[dict[str, Any]], activity: int) -> None:
        self.out.send(outputs.finding(sight.who, sight.case, decision, told, activity, sight.at, self._stamp(sight.at)))
        self.out.count("findings", ("create", "update", "close")[activity - 1])

    def _close(self, sight: Sight, decision: Decision | None, told: list[dict[str, Any]] | None = None) -> None:
        """The episode is over: the level fell, or the session ended."""
        case = sight.case
        if not case.finding:
            return
        if decision is None:
            level: Any = case.level
            over = stable_id(case.finding, "over", sight.at)
            decision = Decision(over, 0.0, level, level, "allow", "", [])
        self._find(sight, decision, told or [], outputs.CLOSE)
        case.finding, case.finding_at = "", 0

    def _revoke(self, sight: Sight, decision: Decision) -> None:
        """The command, the session's mark, and the word to its children."""
        case = sight.case
        times = self.judge.policy.times
        stamp = self._stamp(sight.at)
        deadline = stamp.now_ms + int(times.ack_s * 1000)
        members = {
            "revocation_id": decision.revoke,
            **outputs.command(sight.who, sight.kind, decision, case.root, deadline, stamp),
        }
        self.out.send(outputs.revocation(members))
        self.out.count("revocations", "sent")
        case.revocation = Revocation(members, sight.at + int(times.ack_s * 1000))
        case.challenge = None
        sight.flags |= REVOKED
        for child in case.children:
            self._tell_child(sight, child)
        self._gone(sight, "revoked")

    def _remind(self, sight: Sight) -> None:
        """No acknowledgement by the deadline: the same command again, each time after twice as long."""
        revocation = sight.case.revocation
        if revocation is None:
            return
        wait = int(self.judge.policy.times.ack_s * 1000) << min(revocation.sends, 20)
        revocation.sends += 1
        revocation.due = sight.at + wait
        revocation.command["deadline"] = self._stamp(sight.at).now_ms + wait
        self.out.send(outputs.revocation(revocation.command))
        self.out.count("revocations", "resent")

    def _challenge(self, sight: Sight, decision: Decision) -> None:
        stamp = self._stamp(sight.at)
        deadline = stamp.now_ms + int(self.judge.policy.times.step_up_s * 1000)
        members = {
            "challenge_id": decision.challenge,
            **outputs.command(sight.who, sight.kind, decision, sight.case.root, deadline, stamp),
        }
        self.out.send(outputs.challenge(members))
        self.out.count("challenges", "sent")

    def vectors(self) -> None:
        """The scored vectors worth keeping: all of MEDIUM and HIGH, a fixed share of LOW, chosen by event id."""
        looked = self.walk.looked
        folded = looked.folded
        share = np.uint64(min(self.judge.policy.low_features_share * 2.0**64, 2.0**64 - 2048))
        chosen = (looked.level > 0) | (folded.batch.ids[folded.seg.order] < share)
        if folded.batch.kind is Kind.TICK:
            return
        for index in np.flatnonzero(chosen).tolist():
            event = folded.batch.events[int(folded.seg.order[index])]
            who = _names(self.walk.table.names[int(folded.seg.keys[folded.seg.of[index]])])
            values = dict(zip(FEATURE_NAMES, folded.values[:, index].tolist(), strict=True))
            kind, level = KINDS[int(folded.facts["kind"][index])], LEVELS[int(looked.level[index])]
            at = int(folded.at[index])
            self.out.send(
                outputs.features(
                    who, kind, event["event_id"], at, level, values, FEATURE_SET, self._stamp(at)
                )
            )


def _names(packed: bytes) -> dict[str, str]:
    names = Names.unpack(packed)
    return {
        "tenant": names.tenant, "session_id": names.session_id, "principal_id": names.principal_id,
        "device_id": names.device_id,
    }  # fmt: skip


def acknowledge(scorer: SessionScorer, ack: dict[str, Any], out: Outbox) -> str:
    """Take the enforcer's word on a revocation; the reason why it cannot be taken, else nothing."""
    row = scorer.table.find(ack["tenant"], ack["session_id"])
    case = scorer.cases.get(row) if row >= 0 else None
    if case is None or case.revocation is None:
        return "session_id: no revocation of this session is open here"
    revocation = case.revocation
    if revocation.command["revocation_id"] != ack["revocation_id"]:
        return "revocation_id: not the revocation of this session"
    out.dirty.add(row)
    if ack["outcome"] == "failed":
        out.count("revocations", "failed")
        return ""
    if not revocation.acknowledged:
        revocation.acknowledged = True
        out.count("revocations", "acknowledged")
        scorer.table.rows["wake_at"][row] = 0
    return ""


def farewell(scorer: SessionScorer, row: int, at: int, out: Outbox) -> None:
    """A session is forgotten: unless it had already ended, its device and principal hear of it."""
    flags = int(scorer.table.rows["flags"][row])
    who = _names(scorer.table.names[row])
    if flags & (ENDED | REVOKED) or not who["principal_id"]:
        return
    kind = KINDS[int(scorer.table.rows["kind"][row])]
    event_id = f"expired:{at}"
    out.send(outputs.activity(who, kind, "ended", event_id, at, {}))
    if who["device_id"]:
        out.send(outputs.binding(who, kind, who["device_id"], "ended", event_id, at))


