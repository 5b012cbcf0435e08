"""What is said of a session beside decisions: the enforcer's word, its summary, and being forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.events.columns import KINDS
from models.features.volumes import named_volumes
from models.state.table import ENDED, REVOKED, SessionTable, Subject
from pipeline.decisions import escalation, outputs
from pipeline.decisions.decision import Decision
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import BIT
from pipeline.processing.messages import Stamp, activity, binding, stable_id
from pipeline.sessions import lineage
from pipeline.sessions.state_store import SessionOutcome
from schemas.records import RevocationAckDict

SUMMARY_MS: Final = 1_800_000


def acknowledge(
    table: SessionTable,
    cases: dict[int, SessionRiskState],
    ack: RevocationAckDict,
    out: SessionOutcome,
    stamp: Stamp,
) -> str:
    """Take the enforcer's word on a revocation; the reason why it cannot be taken, else nothing.

    Where people were told that it is missing, the finding that told them is closed.
    """
    row = table.find(ack["tenant"], ack["session_id"])
    case = cases.get(row) if row >= 0 else None
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
        alarmed = escalation.is_unconfirmed(case)
        revocation.acknowledged = True
        out.count("revocations", "acknowledged")
        out.time("confirmation_seconds", (stamp.now_ms - revocation.command["decided_at"]) / 1000)
        table.rows["wake_at"][row] = 0
        if alarmed and case.finding:
            _close(Subject.unpack(table.names[row]), case, ack["occurred_at"], stamp, out)
            case.finding, case.finding_at = "", 0
    return ""


def summarise(table: SessionTable, was: int, at: int, out: SessionOutcome) -> None:
    """Live sessions that called tell their principal the most they did, every half hour of their life.

    *was* and *at* are the watermarks of this sweep and of the one before, ms; a summary starts anew.
    """
    rows = table.rows[: table.used]
    age, before = at - rows["started_at"], np.maximum(was - rows["started_at"], 0)
    turn = age // SUMMARY_MS > before // SUMMARY_MS
    over = rows["flags"] & (ENDED | REVOKED) != 0
    for row in np.flatnonzero(turn & ~over & rows["peaks"].any(axis=1)).tolist():
        subject = Subject.unpack(table.names[row])
        if subject.principal_id:
            kind, peaks = KINDS[int(rows["kind"][row])], named_volumes(rows["peaks"][row])
            by_key = {"device_id": subject.device_id or None}
            out.send(activity(subject, kind, "summary", f"summary:{at}", at, by_key, (), peaks))
            rows["peaks"][row] = 0
            out.dirty.add(row)


@dataclass(frozen=True, slots=True)
class SessionExpiry:
    """Says what is left to say of sessions that are forgotten at *at*, in ms of event time."""

    table: SessionTable
    cases: dict[int, SessionRiskState]
    at: int
    stamp: Stamp

    def announce(self, row: int, out: SessionOutcome) -> None:
        """Device and principal hear of it, unless they have; its finding is left, its children go on."""
        subject, case = Subject.unpack(self.table.names[row]), self.cases.get(row)
        kind, event_id = KINDS[int(self.table.rows["kind"][row])], f"expired:{self.at}"
        over = int(self.table.rows["flags"][row]) & (ENDED | REVOKED)
        if not over and subject.principal_id:
            peaks = named_volumes(self.table.rows["peaks"][row])
            out.send(activity(subject, kind, "ended", event_id, self.at, {}, (), peaks))
            for device_id in filter(None, (*(case.devices if case else ()), subject.device_id)):
                out.send(binding(subject, kind, device_id, "ended", event_id, self.at))
        if case and case.finding:
            self._leave(subject, case, out)
        if case and not case.revocation:
            lineage.adopt_child(case, subject.tenant, event_id, self.at, out)

    def _leave(self, subject: Subject, case: SessionRiskState, out: SessionOutcome) -> None:
        """The finding is closed, but not that of a revocation which nobody confirmed.

        That time has passed is no proof that the session ended: the finding stays open, for people to close,
        and says that nothing more will come.
        """
        revocation = case.revocation
        if revocation is None or revocation.acknowledged:
            _close(subject, case, self.at, self.stamp, out)
            return
        decision = outcome_of(case, self.at)
        decision.decision_id = stable_id(revocation.command["revocation_id"], "forgotten")
        decision.score = float(revocation.command["score"])
        decision.detections = [name for name in revocation.command["detections"] if name in BIT]
        message = outputs.finding(
            subject, case, decision, [], outputs.UPDATE, self.at, self.stamp, detail=escalation.FORGOTTEN_TEXT
        )
        out.send(message)
        out.count("findings", "update")


def _close(subject: Subject, case: SessionRiskState, at: int, stamp: Stamp, out: SessionOutcome) -> None:
    """The episode of a session that is over is over too."""
    out.send(outputs.finding(subject, case, outcome_of(case, at), [], outputs.CLOSE, at, stamp))
    out.count("findings", "close")


def outcome_of(case: SessionRiskState, at: int) -> Decision:
    """How the case of a session that is over stood at *at*, for the close of its finding."""
    level: Any = case.level
    action = "revoke" if case.revocation else "allow"
    return Decision(stable_id(case.finding, "over", at), 0.0, level, level, action, "", [])
