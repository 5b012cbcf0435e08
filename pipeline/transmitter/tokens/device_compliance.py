"""Device compliance: derives the state of each device from decisions, and reports changes (CAEP 1.0 §3.5).

A device is not compliant from the first decision that names one of its faults. The absence of faults proves
nothing by itself: a new session does not know its device yet. So the device is compliant again when the session
that last named the fault no longer does, or when another session has named none for a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, tuple_, update

from pipeline.transmitter.protocol import SecurityEvent, Subject
from pipeline.transmitter.store.tables import device_statuses
from pipeline.transmitter.tokens.events import DETAILS, LANGUAGE, OBSERVED, details, reason, text_of

FAULTS: Final = frozenset(
    {"device_rooted", "device_hooked", "device_emulated", "malware_on_device", "attestation_failed"}
)
"""Detections of a lasting state of the device. Others are left out: those that authentication clears, or that a
change of device management causes, because they end while the device stays as it is.
"""

SETTLED_MS: Final = 60_000
_STATUS: Final = {True: "compliant", False: "not-compliant"}
_USER_TEXT: Final = {
    True: "Your device meets the security rules again.",
    False: "Your device no longer meets the security rules.",
}

Key = tuple[str, str]
"""Tenant and device."""


@dataclass(frozen=True, slots=True)
class Device:
    """State of a device, and the decision *txn* that made it *compliant* or not.

    *changed_at*: when that was, or when a fault was last named, ms. *named_by*: the session that named it.
    *well_session* has named none since *well_since*, ms.
    """

    compliant: bool
    changed_at: int
    txn: str
    named_by: str
    well_session: str | None = None
    well_since: int = 0


def apply_decision(decision: Mapping[str, Any], before: Device | None) -> tuple[Device | None, list[SecurityEvent]]:
    """Apply a session-risk record to its device: return the new state, if it changed, and the resulting events.

    The decision that caused the last change gives the same event again. An earlier one, or one before a fault
    was last named, changes nothing: it is late, or read again. Nor does a decision in observe mode. Decisions
    of one millisecond have no order: those that name a fault count.
    """
    if decision["mode"] == OBSERVED:
        return None, []
    faults = [item for item in decision["reasons"] if item["detection"] in FAULTS]
    if before is not None and before.txn == decision["decision_id"]:
        return None, [_change_event(decision, faults, compliant=before.compliant)]
    if before is not None and _is_late(decision["occurred_at"], before, faults=bool(faults)):
        return None, []
    after = _after_fault(decision, before) if faults else _after_no_fault(decision, before)
    if after is None or (before is not None and after.compliant == before.compliant):
        return after, []
    return after, [_change_event(decision, faults, compliant=after.compliant)]


def _is_late(at: int, before: Device, *, faults: bool) -> bool:
    return at < before.changed_at or (at == before.changed_at and not (faults and before.compliant))


def _after_fault(decision: Mapping[str, Any], before: Device | None) -> Device:
    """The device after a decision that names a fault of it."""
    session, at = decision["session_id"], decision["occurred_at"]
    if before is None or before.compliant:
        return _changed(decision, compliant=False)
    return replace(before, changed_at=at, named_by=session, well_session=None, well_since=0)


def _after_no_fault(decision: Mapping[str, Any], before: Device | None) -> Device | None:
    """The device after a decision that names no fault; `None` if nothing changes."""
    if before is None or before.compliant:
        return None
    session, at = decision["session_id"], decision["occurred_at"]
    if session == before.named_by:
        return _changed(decision, compliant=True)
    if at <= before.well_since:  # it is late, or read again
        return None
    if session != before.well_session:
        return replace(before, well_session=session, well_since=at)
    return _changed(decision, compliant=True) if at - before.well_since >= SETTLED_MS else None


def _changed(decision: Mapping[str, Any], *, compliant: bool) -> Device:
    at, txn, session = decision["occurred_at"], decision["decision_id"], decision["session_id"]
    return Device(compliant=compliant, changed_at=at, txn=txn, named_by=session)


def _change_event(
    decision: Mapping[str, Any], faults: Iterable[Mapping[str, Any]], *, compliant: bool
) -> SecurityEvent:
    faults = list(faults)
    names = [fault["detection"] for fault in faults]
    text = " ".join(text_of(fault) for fault in faults) or "The device reports none of its faults any more."
    payload: dict[str, Any] = {
        "previous_status": _STATUS[not compliant],
        "current_status": _STATUS[compliant],
        "initiating_entity": "policy",
        "reason_admin": reason(text, names),
        "reason_user": {LANGUAGE: _USER_TEXT[compliant]},
    }
    if observed := details(faults):
        payload[DETAILS] = observed
    subject = Subject(decision["tenant"], None, decision["principal_id"], decision["device_id"])
    txn = decision["decision_id"]
    return SecurityEvent("device-compliance-change", txn, subject, decision["occurred_at"], payload, txn)


def known(conn: Connection, keys: Iterable[Key]) -> dict[Key, Device]:
    """The stored states of *keys*."""
    key_list = list(keys)
    if not key_list:
        return {}
    table = device_statuses.c
    rows = conn.execute(select(device_statuses).where(tuple_(table.tenant, table.device_id).in_(key_list)))
    return {
        (row.tenant, row.device_id): Device(
            row.compliant, row.changed_at, row.txn, row.named_by, row.well_session, row.well_since
        )
        for row in rows
    }


def purge(conn: Connection, before_ms: int, limit: int = 10_000) -> int:
    """Delete at most *limit* devices that were compliant before *before_ms*: an unknown device counts as compliant."""
    table = device_statuses.c
    compliant_before = table.compliant & (table.changed_at < before_ms)
    old = select(table.tenant, table.device_id).where(compliant_before).order_by(table.changed_at).limit(limit)
    return conn.execute(delete(device_statuses).where(tuple_(table.tenant, table.device_id).in_(old))).rowcount


def remember(conn: Connection, devices: Mapping[Key, Device]) -> None:
    """Store the states of *devices*; only one transmitter writes here at a time."""
    for (tenant, device_id), device in devices.items():
        columns = {
            "compliant": device.compliant,
            "changed_at": device.changed_at,
            "txn": device.txn,
            "named_by": device.named_by,
            "well_session": device.well_session,
            "well_since": device.well_since,
        }
        table = device_statuses.c
        here = (table.tenant == tenant) & (table.device_id == device_id)
        if not conn.execute(update(device_statuses).where(here).values(columns)).rowcount:
            conn.execute(insert(device_statuses).values(tenant=tenant, device_id=device_id, **columns))
