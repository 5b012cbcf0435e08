"""Device context: the newest posture of each device, and the sessions on it, which are notified of every change.

Telemetry knows devices, decisions are about sessions: here the one becomes the other. What became worse on a device is
found by :mod:`pipeline.contexts.device.posture_changes`.

Two clocks are involved. When a device reported last, and when its facts were learned, is the time of arrival: that is
compared with sessions, with other devices, and to detect silence. The device's own clock, or its count of reports, only
decides which of two reports of the same device is newer. So a device whose clock is wrong is treated like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from pipeline.contexts.device import network, posture_changes
from pipeline.contexts.device.network import DeviceNetwork
from pipeline.contexts.device.posture_changes import CLOCK_TOLERANCE_MS, DeviceReport, PostureChanges
from pipeline.contexts.device.rollouts import RolloutTracker
from pipeline.contexts.keyed_processor import KeyedProcessor
from pipeline.processing.eviction import exceeds
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from schemas.decoded import DEFAULT_LIMITS, Limits
from schemas.fields import DAY_MS, Posture
from schemas.records import SessionBindingDict
from schemas.topics import DEVICE_TELEMETRY, SESSION_BINDINGS, SESSION_CONTEXT

SOURCES: Final = (DEVICE_TELEMETRY, SESSION_BINDINGS)
POSTURE_FIELDS: Final = tuple(Posture.model_fields)
UNREMARKABLE: Final = frozenset({"sequence"})
"""Fields of which sessions are not notified when nothing else changes."""
MAX_SESSIONS: Final = 1_500
MAX_SESSIONS_BYTES: Final = 850_000
"""Sessions of a device, and the bytes of their ids: they fit into a changelog record, whatever the ids are."""
MAX_DEVICES: Final = 200_000
"""Devices in a partition: somebody who can invent device ids could otherwise fill any memory."""
KEEP_MS: Final = DAY_MS

Event = DeviceReport | SessionBindingDict


def _known_facts(stored: dict[str, Any]) -> dict[str, Any]:
    """The stored facts that this version knows."""
    return {name: value for name, value in stored.items() if name in POSTURE_FIELDS}


@dataclass(slots=True)
class DeviceState:
    """A device; times in ms of event time, by arrival.

    Attributes:
        seen_at: when there was last an event about the device.
        heard_at: when its newest report arrived.
        notified_at: when its sessions were last notified.
        woken_at: from when on its silence counts although its newest report is older: nobody used it until then.
        clock_at: the time of its newest report by its own clock, if that was not ahead.
        dated_at: the date of that report's facts (:func:`_fact_date`).
        posture: the newest value of every fact.
        fact_dates: the date of each of these facts.
        sessions: its live sessions, and since when each is bound to it.
        changes: what became worse on it.
        network: where it is.
    """

    seen_at: int = 0
    heard_at: int = 0
    notified_at: Annotated[int, Field(alias="told_at")] = 0
    woken_at: int = 0
    clock_at: int = 0
    dated_at: int = 0
    posture: Annotated[dict[str, Any], BeforeValidator(_known_facts)] = field(default_factory=dict)
    fact_dates: Annotated[dict[str, int], Field(alias="told_of")] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    changes: PostureChanges = field(default_factory=PostureChanges)
    network: Annotated[DeviceNetwork, Field(alias="place")] = field(default_factory=DeviceNetwork)


class DeviceContext(KeyedProcessor[DeviceState, Event]):
    """The devices of one partition, and the rollouts among them."""

    def __init__(self, limits: Limits, max_records: int, *, changelog: bool) -> None:
        self.rollouts = RolloutTracker()
        super().__init__(
            state=DeviceState,
            key_field="device_id",
            handle=partial(_handle, self.rollouts),
            keep_ms=KEEP_MS,
            is_in_use=lambda device: bool(device.sessions),
            limits=limits,
            max_records=max_records,
            is_low_value=lambda device: not device.sessions,
            arrival_time_topics=frozenset({DEVICE_TELEMETRY}),
            changelog=changelog,
        )

    def on_restored(self) -> None:
        """Count the restored devices and their downgrades again."""
        for (tenant, _), device in self.records.items():
            self.rollouts.add_report(tenant, 0, device.heard_at)
            for fact, downgrade in device.changes.downgrades.items():
                if fact in posture_changes.FACTS:
                    self.rollouts.add_downgrade(tenant, fact, 0, downgrade.at)


def device_context(
    limits: Limits = DEFAULT_LIMITS, max_records: int = MAX_DEVICES, *, changelog: bool = True
) -> DeviceContext:
    """The device context's processor of one partition."""
    return DeviceContext(limits, max_records, changelog=changelog)


def _handle(rollouts: RolloutTracker, _topic: str, device: DeviceState, event: Event, out: OutcomeBuilder) -> bool:
    if event["type"] == "device.telemetry":
        return _on_report(rollouts, device, event, out)
    return _on_binding(device, event, out)


def _on_report(rollouts: RolloutTracker, device: DeviceState, event: DeviceReport, out: OutcomeBuilder) -> bool:
    """Take the newest value of every fact: a report that omits a fact, or comes late, does not undo a newer one."""
    at, is_newest = event["occurred_at"], _is_newest(device, event)
    is_alive = _is_alive(device, event, is_newest=is_newest)
    date = _fact_date(device, event, is_newest=is_newest)
    out.count_events("late_events", int(not is_newest))
    values: dict[str, Any] = {name: value for name, value in event.items() if name in POSTURE_FIELDS}
    facts = {
        name: values[name]
        for name in POSTURE_FIELDS
        if values[name] is not None and date >= device.fact_dates.get(name, 0)
    }
    if facts.get("attested_at") and _is_fast(event):
        facts["attested_at"] -= event["reported_at"] - at  # the attestation was dated by the same fast clock
    news = any(device.posture.get(name) != value for name, value in facts.items() if name not in UNREMARKABLE)
    news |= posture_changes.check_clock(device.changes, device.posture, device.clock_at, event)
    posture_changes.compare(device.changes, rollouts, device.posture, facts, event)
    if is_alive:
        rollouts.add_report(event["tenant"], device.heard_at, at)
    for excuse in posture_changes.excuse(device.changes, rollouts, event["tenant"], at):
        out.count("suppressed", excuse)
    if is_alive:
        device.heard_at = max(device.heard_at, at)
    if is_newest:
        device.clock_at, device.dated_at = min(event["reported_at"], at), max(device.dated_at, date)
    device.posture |= facts
    device.fact_dates |= dict.fromkeys(facts, date)
    if news or (is_alive and at - device.notified_at >= _interval(device) / 2):
        device.notified_at = max(device.notified_at, at)
        for session_id in device.sessions:
            _notify(device, event, session_id, out)
    network.on_report(device.network, event, out)
    return True


def _is_newest(device: DeviceState, event: DeviceReport) -> bool:
    """Whether a report is newer than all before it, by the device's own count if both have one.

    A count that starts again does so at a later time; by a fast clock every time seems later.
    """
    later_ms = event["reported_at"] - device.clock_at
    counts = _counts(device, event)
    if counts is None:
        return later_ms >= 0
    count, before = counts
    starts_again = count < before and later_ms > 0 and (not _is_fast(event) or count < before // 2)
    return count > before or starts_again


def _is_alive(device: DeviceState, event: DeviceReport, *, is_newest: bool) -> bool:
    """Whether a report shows that its device is reporting now.

    Without a count, reports after a clock was set back look like late ones, so those show it too, and so do
    those of a device whose count and clock started again. A report that is known to be old, or comes twice, does not.
    """
    counts = _counts(device, event)
    if is_newest or counts is None:
        return is_newest or event["reported_at"] != device.clock_at
    count, before = counts
    return count < before // 2 and event["reported_at"] < device.clock_at - CLOCK_TOLERANCE_MS


def _is_fast(event: DeviceReport) -> bool:
    """Whether the device's clock is ahead of the report's arrival."""
    return event["reported_at"] > event["occurred_at"] + CLOCK_TOLERANCE_MS


def _counts(device: DeviceState, event: DeviceReport) -> tuple[int, int] | None:
    """The report's count and the newest before it; `None` if one is not known."""
    if event["sequence"] is None or "sequence" not in device.posture:
        return None
    return event["sequence"], int(device.posture["sequence"])


def _fact_date(device: DeviceState, event: DeviceReport, *, is_newest: bool) -> int:
    """The date of a report's facts among those of its device, ms.

    It is the report's own time, unless that is after its arrival or contradicts what is known to be the newest.
    """
    is_fast = _is_fast(event)
    date = event["occurred_at"] if is_fast else event["reported_at"]
    if is_newest:
        return max(date, device.dated_at)
    return min(date, device.dated_at - 1) if is_fast or _counts(device, event) else date


def _interval(device: DeviceState) -> int:
    """How often the device promises to report, ms; 0 if it promises nothing."""
    return device.posture.get("heartbeat_interval_ms") or 0


def _on_binding(device: DeviceState, event: SessionBindingDict, out: OutcomeBuilder) -> bool:
    """A session lives on the device and is notified of its posture, or it has ended.

    A device that nobody used may have slept: its silence counts from one interval before its session began. Not from
    later on, or what it reports by a clock that is a little behind would seem to be older.
    """
    session_id = event["session_id"]
    if event["state"] == "ended":
        return device.sessions.pop(session_id, None) is not None
    if not device.sessions:
        device.woken_at = event["occurred_at"] - _interval(device)
    device.sessions[session_id] = min(event["occurred_at"], device.sessions.get(session_id, 2**63))
    while exceeds(device.sessions, MAX_SESSIONS, MAX_SESSIONS_BYTES):
        del device.sessions[next(iter(device.sessions))]
        out.count("forgotten_sessions", "device")
    if device.heard_at:
        _notify(device, event, session_id, out)
    network.on_session(device.network, event, out)
    return True


def _notify(device: DeviceState, event: Event, session_id: str, out: OutcomeBuilder) -> None:
    """Send a session the posture of its device and the signals of what became worse."""
    signals, details = posture_changes.signals(
        device.changes,
        device.posture,
        at_ms=max(device.heard_at, event["occurred_at"]),
        bound_at=device.sessions[session_id],
    )
    fields = {
        "type": "session.context",
        "event_id": derived_id(event["event_id"], "~d"),
        "occurred_at": event["occurred_at"],
        "tenant": event["tenant"],
        "session_id": session_id,
        "source": "device",
        "device_id": event["device_id"],
        "heard_at": max(device.heard_at, device.woken_at),
        **device.posture,
        "signals": signals,
        "details": details or None,
    }
    out.send(message(SESSION_CONTEXT, session_id, fields))
