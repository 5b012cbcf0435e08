"""Principal context: what is normal for a human, a service, an API key or an agent over all its sessions.

A session is told at its start, and when its client changes, how new what it shows is; with every summary,
what is usual. What a revoked session taught is forgotten again, so an intruder does not become a habit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from models.client import NEAR_KM, distance_km
from models.columns import client_family, network_name
from pipeline.baseline import Baseline, brief
from pipeline.keyed import KeyedStage, shared
from pipeline.outbox import Outbox
from pipeline.outputs import derived_id, keyed
from pipeline.uses import Fashion, Uses
from schemas.decode import DEFAULT_LIMITS, Limits
from schemas.members import DAY_MS
from schemas.topics import PRINCIPAL_ACTIVITY, SESSION_CONTEXT

SOURCES: Final = (PRINCIPAL_ACTIVITY,)
HABITS: Final = ("device", "asn", "country", "client")
MOST_HABITS: Final = 64
MOST_SESSIONS: Final = 1_000
"""As many as fit into a changelog record, however long their names are."""
KEEP_MS: Final = 30 * DAY_MS
_HIDING: Final = frozenset({"vpn", "hosting", "tor"})


@dataclass(slots=True)
class PrincipalState:
    """A principal; times in ms of event time.

    *habits* maps what is known (device, network, country, client) to ``{value: [last seen, taught by
    session]}``; *live* maps a session to ``[since, its network in short, whether on a device not the
    principal's own]``; *place* is ``[latitude, longitude, at, session]`` of the newest event with a place.
    *fashion* is used in the record that the principals of a tenant share.
    """

    seen_at: int = 0
    sessions_seen: int = 0
    live: dict[str, list[Any]] = field(default_factory=dict)
    habits: dict[str, dict[str, list[Any]]] = field(default_factory=lambda: {name: {} for name in HABITS})
    place: list[Any] = field(default_factory=list)
    baseline: Baseline = field(default_factory=Baseline)
    uses: Uses = field(default_factory=Uses)
    fashion: Fashion = field(default_factory=Fashion)

    @classmethod
    def load(cls, told: dict[str, Any]) -> PrincipalState:
        """What the changelog keeps, read again."""
        parts = {"baseline": Baseline, "uses": Uses, "fashion": Fashion}
        return cls(**told | {name: part(**told[name]) for name, part in parts.items() if name in told})


def principal_context(limits: Limits = DEFAULT_LIMITS) -> KeyedStage[PrincipalState]:
    """The principal stage of one partition."""

    def handle(_topic: str, principal: PrincipalState, event: dict[str, Any], out: Outbox) -> bool:
        return _handle(principal, event, out, stage.records[shared(event["tenant"])].fashion)

    stage: KeyedStage[PrincipalState] = KeyedStage(
        member="principal_id",
        create=PrincipalState,
        load=PrincipalState.load,
        handle=handle,
        keep_ms=KEEP_MS,
        busy=lambda principal: bool(principal.live),
        limits=limits,
        common=_follow_fashion,
    )
    return stage


def _follow_fashion(everybody: PrincipalState, event: dict[str, Any]) -> bool:
    if event["kind"] == "revoked":
        return everybody.fashion.unlearn(event["session_id"])
    who = (event["occurred_at"], event["principal_id"], event["session_id"])
    return everybody.fashion.see(event["used"] or (), *who)


def _handle(principal: PrincipalState, event: dict[str, Any], out: Outbox, fashion: Fashion) -> bool:
    if event["kind"] in ("ended", "revoked"):
        _over(principal, event)
        return True
    if event["kind"] in ("summary", "used"):
        return _goes_on(principal, event, out, fashion)
    _appears(principal, event, out, fashion)
    return True


def _over(principal: PrincipalState, event: dict[str, Any]) -> None:
    session_id = event["session_id"]
    principal.live.pop(session_id, None)
    if event["kind"] == "revoked":
        _unlearn(principal, session_id)
    else:
        principal.baseline.peaked(session_id, event["peaks"] or {})
        principal.baseline.learn(session_id)


def _goes_on(principal: PrincipalState, event: dict[str, Any], out: Outbox, fashion: Fashion) -> bool:
    """A session tells what it did: it hears again what is usual, or that what it used is unfamiliar."""
    session_id, at = event["session_id"], event["occurred_at"]
    if session_id not in principal.live:
        return False
    principal.uses.see(event["used"] or (), at, session_id)
    if event["kind"] == "summary":
        principal.baseline.note(session_id, at, len(_strange(principal)))
        principal.baseline.peaked(session_id, event["peaks"] or {})
    if event["kind"] == "summary" or _unfamiliar(principal, event, fashion):
        _tell(principal, event, out, fashion, {})
    return True


def _appears(principal: PrincipalState, event: dict[str, Any], out: Outbox, fashion: Fashion) -> None:
    """A session starts or shows another client."""
    session_id, at = event["session_id"], event["occurred_at"]
    shown = _shown(event)
    known = {name: any(one in principal.habits[name] for one in values) for name, values in shown.items()}
    before = principal.sessions_seen
    if session_id not in principal.live:
        principal.sessions_seen += 1
        principal.live[session_id] = [at, "", False]
        if len(principal.live) > MOST_SESSIONS:
            del principal.live[next(iter(principal.live))]
    else:
        before -= 1
    principal.live[session_id][1:] = _network(event), _is_strange(principal, event)
    principal.baseline.note(session_id, at, len(_strange(principal)))
    principal.uses.see(event["used"] or (), at, session_id)
    members = {
        **{f"known_{name}": known.get(name) for name in HABITS},
        "novelty": round(1 - sum(known.values()) / len(known), 3) if known else None,
        "concurrent_sessions": len(principal.live) - 1, "sessions_seen": max(before, 0),
        "place_speed_kmh": _speed(principal, event),
    }  # fmt: skip
    _tell(principal, event, out, fashion, members)
    _learn(principal, shown, event)


def _tell(
    principal: PrincipalState, event: dict[str, Any], out: Outbox, fashion: Fashion, shown: dict[str, Any]
) -> None:
    """What is usual for the principal, beside what it makes of what the session has *shown*."""
    session_id, at, strange = event["session_id"], event["occurred_at"], _strange(principal)
    normal = principal.baseline.normal()
    members = {
        "type": "session.context", "event_id": derived_id(event["event_id"], "~p"), "occurred_at": at,
        "tenant": event["tenant"], "session_id": session_id, "source": "principal", **shown,
        "signals": _signals(principal, event, fashion), "days_known": normal.days, "usual": normal.volumes,
        "usual_concurrent": normal.concurrent, "hour_share": round(principal.baseline.hour_share(at), 3),
        "strange_sessions": len(strange), "strange_networks": len({one for one in strange if one}),
    }  # fmt: skip
    out.send(keyed(SESSION_CONTEXT, session_id, members))


def _signals(principal: PrincipalState, event: dict[str, Any], fashion: Fashion) -> list[str]:
    new = _unfamiliar(principal, event, fashion)
    tools = [name for name in new if name.startswith("tool:")]
    holds = {
        "unfamiliar_use": len(new) > len(tools),
        "unfamiliar_tool": bool(tools),
        "chains_usual": principal.uses.chains(),
    }
    return [name for name, held in holds.items() if held]


def _unfamiliar(principal: PrincipalState, event: dict[str, Any], fashion: Fashion) -> list[str]:
    """What the session was the first to use, unless many others have begun to use it too."""
    at, principal_id = event["occurred_at"], event["principal_id"]
    new = principal.uses.unfamiliar(event["session_id"], at)
    return [name for name in new if not fashion.popular(name, at, principal_id)]


def _network(event: dict[str, Any]) -> str:
    """The event's network in a few characters."""
    name = network_name(event["ip"], event["asn"])
    return brief(name) if name else ""


def _strange(principal: PrincipalState) -> list[str]:
    """The networks of live sessions on no device that is the principal's own; empty where not known."""
    return [network for _, network, strange in principal.live.values() if strange]


def _is_strange(principal: PrincipalState, event: dict[str, Any]) -> bool:
    """Whether the session is on no device of the principal's own: none, a new one, or another stranger's."""
    known = principal.habits["device"].get(event["device_id"])
    if known is None or known[1] == event["session_id"]:
        return principal.sessions_seen > 1 or event["device_id"] is None
    teacher = principal.live.get(known[1])
    return bool(teacher and teacher[2])


def _shown(event: dict[str, Any]) -> dict[str, list[str]]:
    """What the event shows of each habit it knows; a network has a number, a prefix, or both."""
    numbered = None if event["asn"] is None else network_name(None, event["asn"])
    shown = {
        "device": [event["device_id"]],
        "asn": [numbered, network_name(event["ip"], None)],
        "country": [event["country"]],
        "client": [client_family(event["user_agent"]) or event["ja4"]],
    }
    told = {name: [value for value in values if value is not None] for name, values in shown.items()}
    return {name: values for name, values in told.items() if values}


def _learn(principal: PrincipalState, shown: dict[str, list[str]], event: dict[str, Any]) -> None:
    """Remember what was shown, and which session taught it; the first session's start is nobody's lesson."""
    first = principal.sessions_seen == 1 and event["kind"] == "started"
    by = "" if first else event["session_id"]
    for name, values in shown.items():
        habit = principal.habits[name]
        for value in values:
            taught = habit.pop(value, [0, by])[1]
            habit[value] = [event["occurred_at"], taught]
        while len(habit) > MOST_HABITS:
            del habit[next(iter(habit))]
    if _placed(event):
        principal.place = [event["latitude"], event["longitude"], event["occurred_at"], event["session_id"]]


def _unlearn(principal: PrincipalState, session_id: str) -> None:
    principal.baseline.unlearn(session_id)
    principal.uses.unlearn(session_id)
    for name, habit in principal.habits.items():
        principal.habits[name] = {value: seen for value, seen in habit.items() if seen[1] != session_id}
    if principal.place and principal.place[3] == session_id:
        principal.place = []


def _placed(event: dict[str, Any]) -> bool:
    place = event["latitude"] is not None and event["longitude"] is not None
    return place and event["network_type"] not in _HIDING


def _speed(principal: PrincipalState, event: dict[str, Any]) -> float | None:
    """km/h from the principal's last place, if another session was there."""
    if not _placed(event) or not principal.place or principal.place[3] == event["session_id"]:
        return None
    lat, lon, at, _ = principal.place
    here, there = np.array([[lat, lon]]), np.array([[event["latitude"], event["longitude"]]])
    gone = float(distance_km(here, there)[0])
    if gone <= NEAR_KM:
        return 0.0
    hours: float = max(abs(event["occurred_at"] - at), 1000) / 3_600_000
    return round(gone / hours, 1)
