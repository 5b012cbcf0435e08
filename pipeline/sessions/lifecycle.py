"""Session lifecycle: acknowledgements of revocations, periodic activity summaries, and expiry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

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
"""A live session is summarised every half hour of its life."""


def acknowledge(
    table: SessionTable,
    risk_states: dict[int, SessionRiskState],
    ack: RevocationAckDict,
    out: SessionOutcome,
    stamp: Stamp,
) -> str:
    """Apply an enforcer's acknowledgement; returns why it was refused, or an empty string.

    If a finding reported that the acknowledgement was missing, that finding is closed.
    """
    row = table.find(ack["tenant"], ack["session_id"])
    state = risk_states.get(row) if row >= 0 else None
    if state is None or state.revocation is None:
        return "session_id: no revocation of this session is open here"
    revocation = state.revocation
    if revocation.command["revocation_id"] != ack["revocation_id"]:
        return "revocation_id: not the revocation of this session"
    out.dirty.add(row)
    if ack["outcome"] == "failed":
        out.count("revocations", "failed")
        return ""
    if not revocation.acknowledged:
        alarmed = escalation.is_unconfirmed(state)
        revocation.acknowledged = True
        out.count("revocations", "acknowledged")
        out.time("confirmation_seconds", (stamp.now_ms - revocation.command["decided_at"]) / 1000)
        table.rows["wake_at"][row] = 0
        if alarmed and state.finding:
            _close(Subject.unpack(table.names[row]), state, ack["occurred_at"], stamp, out)
            state.finding, state.finding_at = "", 0
    return ""


def summarise(table: SessionTable, due: Iterable[int], at: int, out: SessionOutcome) -> None:
    """Send the peak activity of the sessions in the rows *due* to their principals, at the watermark *at*, ms.

    Peaks start at zero after a summary.
    """
    rows = table.rows
    for row in due:
        subject = Subject.unpack(table.names[row])
        if subject.principal_id:
            kind, peaks = KINDS[int(rows["kind"][row])], named_volumes(rows["peaks"][row])
            device = {"device_id": subject.device_id or None}
            out.send(activity(subject, kind, "summary", f"summary:{at}", at, device, (), peaks))
            rows["peaks"][row] = 0
            out.dirty.add(row)


@dataclass(frozen=True, slots=True)
class SessionExpiry:
    """Sends the last messages about sessions that expire at *at*, in ms of event time."""

    table: SessionTable
    risk_states: dict[int, SessionRiskState]
    at: int
    stamp: Stamp

    def announce(self, row: int, out: SessionOutcome) -> None:
        """Notify device and principal unless they know; settle the finding, and hand the children to the parent."""
        subject, state = Subject.unpack(self.table.names[row]), self.risk_states.get(row)
        kind, event_id = KINDS[int(self.table.rows["kind"][row])], f"expired:{self.at}"
        over = int(self.table.rows["flags"][row]) & (ENDED | REVOKED)
        if not over and subject.principal_id:
            peaks = named_volumes(self.table.rows["peaks"][row])
            out.send(activity(subject, kind, "ended", event_id, self.at, {}, (), peaks))
            for device_id in filter(None, (*(state.devices if state else ()), subject.device_id)):
                out.send(binding(subject, kind, device_id, "ended", event_id, self.at))
        if state and state.finding:
            self._settle_finding(subject, state, out)
        if state and not state.revocation:
            lineage.adopt_child(state, subject.tenant, event_id, self.at, out)

    def _settle_finding(self, subject: Subject, state: SessionRiskState, out: SessionOutcome) -> None:
        """Close the finding, unless it is about a revocation that was never acknowledged.

        Expiry is no proof that the session ended: that finding stays open for an analyst, with a last update that
        no more will follow.
        """
        revocation = state.revocation
        if revocation is None or revocation.acknowledged:
            _close(subject, state, self.at, self.stamp, out)
            return
        decision = outcome_of(state, self.at)
        decision.decision_id = stable_id(revocation.command["revocation_id"], "forgotten")
        decision.score = float(revocation.command["score"])
        decision.detections = [name for name in revocation.command["detections"] if name in BIT]
        message = outputs.finding(
            subject, state, decision, [], outputs.UPDATE, self.at, self.stamp, detail=escalation.FORGOTTEN_TEXT
        )
        out.send(message)
        out.count("findings", "update")


def _close(subject: Subject, state: SessionRiskState, at: int, stamp: Stamp, out: SessionOutcome) -> None:
    """Close the finding of a session that is over."""
    out.send(outputs.finding(subject, state, outcome_of(state, at), [], outputs.CLOSE, at, stamp))
    out.count("findings", "close")


def outcome_of(state: SessionRiskState, at: int) -> Decision:
    """The final decision about a session that is over, for the close of its finding at *at*."""
    level: Any = state.level
    action = "revoke" if state.revocation else "allow"
    return Decision(stable_id(state.finding, "over", at), 0.0, level, level, action, "", [])
