"""Device context: the newest posture of each device, and the sessions on it, each of which hears of a change.

Telemetry knows devices, decisions are about sessions: this is where one becomes the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.keyed import KeyedStage
from pipeline.outbox import Outbox
from pipeline.outputs import derived_id, keyed
from schemas.decode import DEFAULT_LIMITS, Limits
from schemas.members import DAY_MS, Posture
from schemas.topics import DEVICE_TELEMETRY, SESSION_BINDINGS, SESSION_CONTEXT

SOURCES: Final = (DEVICE_TELEMETRY, SESSION_BINDINGS)
MEMBERS: Final = tuple(Posture.model_fields)
QUIET: Final = frozenset({"sequence"})
"""Members whose change alone is no news to a session."""
MOST_SESSIONS: Final = 1_500
"""As many as fit into a changelog record, however long their names are."""
KEEP_MS: Final = DAY_MS


@dataclass(slots=True)
class DeviceState:
    """A device; times in ms of event time.

    *posture* holds the newest of every fact, *told_of* when each was told; *sessions* maps a live session's
    id to when it was bound.
    """

    seen_at: int = 0
    heard_at: int = 0
    told_at: int = 0
    posture: dict[str, Any] = field(default_factory=dict)
    told_of: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)


def device_context(limits: Limits = DEFAULT_LIMITS) -> KeyedStage[DeviceState]:
    """The device stage of one partition."""
    return KeyedStage(
        member="device_id",
        create=DeviceState,
        load=lambda told: DeviceState(**told),
        handle=_handle,
        keep_ms=KEEP_MS,
        busy=lambda device: bool(device.sessions),
        limits=limits,
    )


def _handle(topic: str, device: DeviceState, event: dict[str, Any], out: Outbox) -> bool:
    return _heard(device, event, out) if topic == DEVICE_TELEMETRY else _bound(device, event, out)


def _heard(device: DeviceState, event: dict[str, Any], out: Outbox) -> bool:
    """The newest wins, fact by fact: what omits a fact, or comes late, does not unsay a newer one."""
    at = event["occurred_at"]
    late = at < device.heard_at
    out.count_events("late_events", int(late))
    told = {
        name: event[name] for name in MEMBERS if event[name] is not None and at >= device.told_of.get(name, 0)
    }
    news = any(device.posture.get(name) != value for name, value in told.items() if name not in QUIET)
    device.heard_at = max(device.heard_at, at)
    device.posture |= told
    device.told_of |= dict.fromkeys(told, at)
    interval = device.posture.get("heartbeat_interval_ms") or 0
    if news or (at - device.told_at >= interval / 2 and not late):
        device.told_at = max(device.told_at, at)
        for session_id in device.sessions:
            _tell(device, event, session_id, out)
    return bool(told) or not late


def _bound(device: DeviceState, event: dict[str, Any], out: Outbox) -> bool:
    """A session lives here: it hears at once what the device is. Or it has ended."""
    session_id = event["session_id"]
    if event["state"] == "ended":
        return device.sessions.pop(session_id, None) is not None
    device.sessions[session_id] = event["occurred_at"]
    if len(device.sessions) > MOST_SESSIONS:
        del device.sessions[next(iter(device.sessions))]
        out.count("evicted_sessions")
    if device.heard_at:
        _tell(device, event, session_id, out)
    return True


def _tell(device: DeviceState, event: dict[str, Any], session_id: str, out: Outbox) -> None:
    members = {
        "type": "session.context", "event_id": derived_id(event["event_id"], "~d"),
        "occurred_at": event["occurred_at"], "tenant": event["tenant"], "session_id": session_id,
        "source": "device", "device_id": event["device_id"], "heard_at": device.heard_at, **device.posture,
    }  # fmt: skip
    out.send(keyed(SESSION_CONTEXT, session_id, members))
