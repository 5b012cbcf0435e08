"""Device context: the newest posture of each device, and the sessions on it, each of which hears of a change.

Telemetry knows devices, decisions are about sessions: this is where one becomes the other. What became worse
on a device is :mod:`pipeline.contexts.device.posture_changes`' business.

Two clocks meet here. When a device was heard, and when we learned what it is, is the time of arrival: that is
compared with sessions, other devices and silence. Its own clock, or its count of reports, only says which of
two reports of the same device is newer. So a device whose clock is wrong is heard like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pipeline.contexts.device import network, posture_changes
from pipeline.contexts.device.network import Place
from pipeline.contexts.device.posture_changes import CLOCK_TOLERANCE_MS, Changes
from pipeline.contexts.device.rollouts import RolloutTracker
from pipeline.contexts.keyed_processor import KeyedProcessor
from pipeline.processing.eviction import exceeds
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.processing.stored_fields import known_fields
from schemas.decoded import DEFAULT_LIMITS, Limits
from schemas.members import DAY_MS, Posture
from schemas.topics import DEVICE_TELEMETRY, SESSION_BINDINGS, SESSION_CONTEXT

SOURCES: Final = (DEVICE_TELEMETRY, SESSION_BINDINGS)
MEMBERS: Final = tuple(Posture.model_fields)
QUIET: Final = frozenset({"sequence"})
"""Members whose change alone is no news to a session."""
MOST_SESSIONS: Final = 1_500
MOST_SESSIONS_BYTES: Final = 850_000
"""Of the names of a device's sessions: they fit into a changelog record, whatever they are."""
MOST_DEVICES: Final = 200_000
"""Held in a partition: whoever can make names of devices up could fill any memory."""
KEEP_MS: Final = DAY_MS


@dataclass(slots=True)
class DeviceState:
    """A device; times in ms of event time, by arrival.

    *told_at* is when its sessions were last told, *clock_at* the time of its newest report by its own clock,
    if that was not ahead, *dated_at* the date of that report's facts (:func:`_dated`).
    *woken_at* is from when on its silence counts though it was last heard before: nobody used it until then.
    *posture* holds the newest of every fact, *told_of* of which date the report was that told it; *sessions*
    maps a live session's id to when it was first bound; *changes* is a :class:`Changes` in plain values,
    *place* where the device is.
    """

    seen_at: int = 0
    heard_at: int = 0
    told_at: int = 0
    woken_at: int = 0
    clock_at: int = 0
    dated_at: int = 0
    posture: dict[str, Any] = field(default_factory=dict)
    told_of: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    place: Place = field(default_factory=Place)


class DeviceContext(KeyedProcessor[DeviceState]):
    """The devices of one partition, and the fleet they make."""

    def __init__(self, limits: Limits, most: int) -> None:
        self.fleet = RolloutTracker()
        super().__init__(
            member="device_id",
            create=DeviceState,
            load=_load,
            handle=partial(_handle, self.fleet),
            keep_ms=KEEP_MS,
            is_in_use=lambda device: bool(device.sessions),
            limits=limits,
            max_records=most,
            is_low_value=lambda device: not device.sessions,
            arrival_time_topics=frozenset({DEVICE_TELEMETRY}),
        )

    def on_restored(self) -> None:
        """The fleet is what its devices remember."""
        for (tenant, _), device in self.records.items():
            self.fleet.hear(tenant, 0, device.heard_at)
            for fact, (at, *_) in device.changes.fell.items():
                if fact in posture_changes.FACTS:  # a clock is each device's own
                    self.fleet.fall(tenant, fact, 0, at)


def device_context(limits: Limits = DEFAULT_LIMITS, most: int = MOST_DEVICES) -> DeviceContext:
    """The device stage of one partition."""
    return DeviceContext(limits, most)


def _load(fields: dict[str, Any]) -> DeviceState:
    stored, changes = known_fields(DeviceState, fields), known_fields(Changes, fields.get("changes", {}))
    stored["posture"] = {name: value for name, value in stored.get("posture", {}).items() if name in MEMBERS}
    fell = changes.get("fell", {}).items()
    changes["fell"] = {fact: change for fact, change in fell if fact in posture_changes.REMEMBERED}
    stored["changes"] = Changes(**changes)
    stored["place"] = Place(**known_fields(Place, stored.get("place", {})))
    return DeviceState(**stored)


def _handle(fleet: RolloutTracker, topic: str, device: DeviceState, event: dict[str, Any], out: OutcomeBuilder) -> bool:
    return _heard(fleet, device, event, out) if topic == DEVICE_TELEMETRY else _bound(device, event, out)


def _heard(fleet: RolloutTracker, device: DeviceState, event: dict[str, Any], out: OutcomeBuilder) -> bool:
    """The newest wins, fact by fact: what omits a fact, or comes late, does not unsay a newer one."""
    at, newest = event["occurred_at"], _is_newest(device, event)
    alive = _is_alive(device, event, newest=newest)
    dated = _dated(device, event, newest=newest)
    out.count_events("late_events", int(not newest))
    fields = {name: event[name] for name in MEMBERS if event[name] is not None and dated >= device.told_of.get(name, 0)}
    if fields.get("attested_at") and _is_fast(event):
        fields["attested_at"] -= event["told_at"] - at  # the proof was dated by the same fast clock
    news = any(device.posture.get(name) != value for name, value in fields.items() if name not in QUIET)
    news |= posture_changes.check_clock(device.changes, device.posture, device.clock_at, event)
    posture_changes.notice(device.changes, fleet, device.posture, fields, event)
    if alive:
        fleet.hear(event["tenant"], device.heard_at, at)
    for reason in posture_changes.excuse(device.changes, fleet, event["tenant"], at):
        out.count("suppressed", reason)
    if alive:
        device.heard_at = max(device.heard_at, at)
    if newest:
        device.clock_at, device.dated_at = min(event["told_at"], at), max(device.dated_at, dated)
    device.posture |= fields
    device.told_of |= dict.fromkeys(fields, dated)
    if news or (alive and at - device.told_at >= _interval(device) / 2):
        device.told_at = max(device.told_at, at)
        for session_id in device.sessions:
            _tell(device, event, session_id, out)
    network.reported(device.place, event, out)
    return True


def _is_newest(device: DeviceState, event: dict[str, Any]) -> bool:
    """Whether a report is newer than all before it, by the device's own count where both have one.

    A count that begins anew does so at a later time; by a fast clock everything seems later.
    """
    later = event["told_at"] - device.clock_at
    if not _counts(device, event):
        return bool(later >= 0)
    count, before = event["sequence"], device.posture["sequence"]
    anew = count < before and later > 0 and (not _is_fast(event) or count < before // 2)
    return bool(count > before or anew)


def _is_alive(device: DeviceState, event: dict[str, Any], *, newest: bool) -> bool:
    """Whether a report shows that its device speaks now.

    Without a count, reports after a clock went back cannot be told from late ones, so those show it too, and
    those of a device whose count and clock began anew. What is known to be old, or comes twice, does not.
    """
    if newest or not _counts(device, event):
        return newest or bool(event["told_at"] != device.clock_at)
    anew = event["sequence"] < device.posture["sequence"] // 2
    return bool(anew and event["told_at"] < device.clock_at - CLOCK_TOLERANCE_MS)


def _is_fast(event: dict[str, Any]) -> bool:
    return bool(event["told_at"] > event["occurred_at"] + CLOCK_TOLERANCE_MS)


def _counts(device: DeviceState, event: dict[str, Any]) -> bool:
    return event["sequence"] is not None and "sequence" in device.posture


def _dated(device: DeviceState, event: dict[str, Any], *, newest: bool) -> int:
    """Of which date a report's facts are, among those of its device, ms.

    Of its own, unless that is after its arrival, or contradicts what is known to be the newest.
    """
    at, own = int(event["occurred_at"]), int(event["told_at"])
    fast = _is_fast(event)
    dated = at if fast else own
    if newest:
        return max(dated, device.dated_at)
    return min(dated, device.dated_at - 1) if fast or _counts(device, event) else dated


def _interval(device: DeviceState) -> int:
    """How often the device promises to report, ms; 0 where it promises nothing."""
    return device.posture.get("heartbeat_interval_ms") or 0


def _bound(device: DeviceState, event: dict[str, Any], out: OutcomeBuilder) -> bool:
    """A session lives here: it hears at once what the device is. Or it has ended.

    A device that nobody used may have slept: it is taken to have been heard one interval before its session
    began. Not later, for what it reports by a clock that is a little behind must not seem to be older news.
    """
    session_id = event["session_id"]
    if event["state"] == "ended":
        return device.sessions.pop(session_id, None) is not None
    if not device.sessions:
        device.woken_at = event["occurred_at"] - _interval(device)
    device.sessions[session_id] = min(event["occurred_at"], device.sessions.get(session_id, 2**63))
    while exceeds(device.sessions, MOST_SESSIONS, MOST_SESSIONS_BYTES):
        del device.sessions[next(iter(device.sessions))]
        out.count("forgotten_sessions", "device")
    if device.heard_at:
        _tell(device, event, session_id, out)
    network.used(device.place, event, out)
    return True


def _tell(device: DeviceState, event: dict[str, Any], session_id: str, out: OutcomeBuilder) -> None:
    signals, details = posture_changes.signals(
        device.changes,
        device.posture,
        max(device.heard_at, event["occurred_at"]),
        device.sessions[session_id],
    )
    members = {
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
    out.send(message(SESSION_CONTEXT, session_id, members))
