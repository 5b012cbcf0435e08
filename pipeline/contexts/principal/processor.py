"""Principal context: what is normal for a human, a service, an API key or an agent over all its sessions.

A session is told at its start, and when its client changes, how new what it shows is; with every summary,
what is usual. What a revoked session taught is forgotten again, so an intruder does not become a habit;
unless an analyst vouches for that session.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from models.events.columns import FACTOR_CHANGES
from pipeline.contexts.keyed_processor import KeyedProcessor, tenant_key
from pipeline.contexts.principal import factors as principal_factors
from pipeline.contexts.principal import locations
from pipeline.contexts.principal.baseline import Baseline
from pipeline.contexts.principal.concurrent_sessions import (
    OWN,
    brief_network,
    concurrent_counts,
    confirm_device,
    device_familiarity,
    dispersed,
    growing_crowd,
    unfamiliar_sessions,
)
from pipeline.contexts.principal.device_networks import Answer, Devices
from pipeline.contexts.principal.factors import Factors
from pipeline.contexts.principal.known_attributes import (
    KNOWN_ATTRIBUTES,
    MAX_KNOWN,
    attributes_of,
    forget_session,
    trust_session,
)
from pipeline.contexts.principal.locations import anonymity, is_placed, learn_home, speed_from
from pipeline.contexts.principal.suppressions import Suppressions, expire, repeat, suppress
from pipeline.contexts.principal.usage import PeerUsage, UsageHistory
from pipeline.processing.eviction import exceeds
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from pipeline.processing.stored_fields import known_fields
from schemas.decoded import DEFAULT_LIMITS, Limits
from schemas.members import DAY_MS
from schemas.topics import PRINCIPAL_ACTIVITY, SESSION_CONTEXT

SOURCES: Final = (PRINCIPAL_ACTIVITY,)
MOST_SESSIONS: Final = 1_000
MOST_SESSIONS_BYTES: Final = 370_000
"""Of the names of a principal's live sessions: all fits into a changelog record, whatever they are."""
MOST_PRINCIPALS: Final = 200_000
"""Held in a partition: who guesses whose account there might be could fill any memory."""
KEEP_MS: Final = 30 * DAY_MS

_PARTS: Final[dict[str, Any]] = {
    "factors": Factors,
    "baseline": Baseline,
    "uses": UsageHistory,
    "devices": Devices,
    "fashion": PeerUsage,
}


@dataclass(slots=True)
class PrincipalState:
    """A principal; times in ms of event time.

    *habits* maps what is known (device, network, country, client) to ``{value: [last seen, taught by
    session]}``; *place* is that of the newest event with one (:func:`pipeline.contexts.principal.locations.place_of`).
    *anonymisers* maps how a person hid to the session that taught it, *homes* is where a workload is at home,
    *workload* what it is. *doubted* maps revoked sessions to what they had taught: ``{habit: [value]}``.
    *live* maps a session to ``[since, its network in short, how it stands
    (:mod:`pipeline.contexts.principal.concurrent_sessions`), what was
    said of its network]``; *crowd* is the most of them on other devices that all were told of. *devices* is
    where its devices are. *fashion* is used in the record that the principals of a tenant share.
    """

    seen_at: int = 0
    sessions_seen: int = 0
    live: dict[str, list[Any]] = field(default_factory=dict)
    crowd: int = 0
    habits: dict[str, dict[str, list[Any]]] = field(default_factory=lambda: {name: {} for name in KNOWN_ATTRIBUTES})
    place: list[Any] = field(default_factory=list)
    factors: Factors = field(default_factory=Factors)
    suppressions: Suppressions = field(default_factory=dict)
    anonymisers: dict[str, str] = field(default_factory=dict)
    workload: str = ""
    homes: dict[str, str] = field(default_factory=dict)
    doubted: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    baseline: Baseline = field(default_factory=Baseline)
    uses: UsageHistory = field(default_factory=UsageHistory)
    devices: Devices = field(default_factory=Devices)
    fashion: PeerUsage = field(default_factory=PeerUsage)

    @classmethod
    def load(cls, fields: dict[str, Any]) -> PrincipalState:
        """What the changelog keeps, read again."""
        stored = known_fields(cls, fields)
        for name, part in _PARTS.items():
            stored[name] = part(**known_fields(part, stored.get(name, {})))
        stored["habits"] = {name: stored.get("habits", {}).get(name, {}) for name in KNOWN_ATTRIBUTES}
        return cls(**stored)


def principal_context(limits: Limits = DEFAULT_LIMITS, most: int = MOST_PRINCIPALS) -> KeyedProcessor[PrincipalState]:
    """The principal stage of one partition."""

    def handle(_topic: str, principal: PrincipalState, event: dict[str, Any], out: OutcomeBuilder) -> bool:
        return _handle(principal, event, out, stage.records[tenant_key(event["tenant"])].fashion)

    stage: KeyedProcessor[PrincipalState] = KeyedProcessor(
        member="principal_id",
        create=PrincipalState,
        load=PrincipalState.load,
        handle=handle,
        keep_ms=KEEP_MS,
        is_in_use=lambda principal: bool(principal.live or principal.suppressions),
        on_time=_on_timer,
        limits=limits,
        max_records=most,
        is_low_value=_is_only_guessed,
        on_tenant_event=_update_peer_usage,
    )
    return stage


def _is_only_guessed(principal: PrincipalState) -> bool:
    """Whether nobody ever got in, as far as is known, and nobody said anything of it."""
    learned = any(principal.habits.values()) or principal.baseline.days or principal.baseline.waiting
    return not (learned or principal.suppressions or principal.factors.changes)


def _on_timer(principal: PrincipalState, at: int, out: OutcomeBuilder) -> bool:
    return _send_answers(principal, principal.devices.overdue(at), out) | expire(principal.suppressions, at, out)


def _update_peer_usage(everybody: PrincipalState, event: dict[str, Any]) -> bool:
    if event["kind"] == "revoked":
        return everybody.fashion.forget_session(event["session_id"])
    row = (event["occurred_at"], event["principal_id"], event["session_id"])
    return everybody.fashion.see(event["used"] or (), *row)


def _handle(principal: PrincipalState, event: dict[str, Any], out: OutcomeBuilder, fashion: PeerUsage) -> bool:
    kind = event["kind"]
    if kind == "muted":
        suppress(principal.suppressions, principal.live, event, out)
    elif kind == "vouched":
        trust_session(principal, event["session_id"], event["occurred_at"])
    elif kind in ("ended", "revoked"):
        _session_ended(principal, event)
    elif kind == "device_moved":
        _send_answers(principal, principal.devices.moved(event), out)
        confirm_device(principal, event)
    elif kind in FACTOR_CHANGES:
        known = event["device_id"] in principal.habits["device"]
        principal_factors.remember_change(principal.factors, event, known=known)
    elif kind in ("summary", "used"):
        return _session_continues(principal, event, out, fashion)
    else:
        _session_appears(principal, event, out, fashion)
    return True


def _session_ended(principal: PrincipalState, event: dict[str, Any]) -> None:
    session_id = event["session_id"]
    principal.live.pop(session_id, None)
    dispersed(principal)
    if event["kind"] == "revoked":
        forget_session(principal, session_id)
    else:
        principal.baseline.peaked(session_id, event["peaks"] or {})
        principal.baseline.learn(session_id)


def _session_continues(
    principal: PrincipalState, event: dict[str, Any], out: OutcomeBuilder, fashion: PeerUsage
) -> bool:
    """A session tells what it did: it hears again what is usual, or that what it used is unfamiliar."""
    session_id, at = event["session_id"], event["occurred_at"]
    if session_id not in principal.live:
        return False
    principal.uses.see(event["used"] or (), at, session_id)
    if event["kind"] == "used" and not principal.live[session_id][1]:  # it began with a wrong password
        principal.live[session_id][1:3] = brief_network(event), device_familiarity(principal, event)
        _learn(principal, attributes_of(event), event)
    if event["kind"] == "summary":
        principal.baseline.note(session_id, at, len(unfamiliar_sessions(principal)))
        principal.baseline.peaked(session_id, event["peaks"] or {})
    if event["kind"] == "summary" or principal.uses.unmodelled(event, fashion):
        _tell(principal, event, out, fashion, {}, principal.live[session_id][3])
    return True


def _session_appears(principal: PrincipalState, event: dict[str, Any], out: OutcomeBuilder, fashion: PeerUsage) -> None:
    """A session starts or shows another client; somebody who only guesses shows nothing of the principal."""
    session_id, at, guess = event["session_id"], event["occurred_at"], event["guess"]
    shown = attributes_of(event)
    known = {name: any(value in principal.habits[name] for value in values) for name, values in shown.items()}
    before = principal.sessions_seen
    if session_id not in principal.live:
        principal.sessions_seen += 1
        principal.live[session_id] = [at, "", OWN, []]
        while exceeds(principal.live, MOST_SESSIONS, MOST_SESSIONS_BYTES):
            del principal.live[next(iter(principal.live))]
            out.count("forgotten_sessions", "principal")
    else:
        before -= 1
    networks = shown.get("asn", [])
    if principal.devices.are_with(event, networks):
        known["asn"] = True
    hints = locations.signals(principal, networks, event)
    beside_others = ("", OWN) if guess else (brief_network(event), device_familiarity(principal, event))
    principal.live[session_id][1:] = *beside_others, hints
    repeat(principal.suppressions, event, out)  # first: what is new of a session may be what is to keep quiet
    if not guess:
        principal.baseline.note(session_id, at, len(unfamiliar_sessions(principal)))
        principal.uses.see(event["used"] or (), at, session_id)
        settled = before >= principal_factors.SETTLED
        principal_factors.remember_device(principal.factors, event, known=known.get("device", True), settled=settled)
    members = {
        **{f"known_{name}": known.get(name) for name in KNOWN_ATTRIBUTES},
        "novelty": round(1 - sum(known.values()) / len(known), 3) if known else None,
        "concurrent_sessions": len(principal.live) - 1,
        "sessions_seen": max(before, 0),
        "place_speed_kmh": speed_from(principal.place, event),
    }
    if principal.devices.wait(event, networks, members):
        members["known_asn"] = None
    _tell(principal, event, out, fashion, members, hints)
    for other in growing_crowd(principal, session_id):
        out.send(message(SESSION_CONTEXT, other, _usual(principal, event | {"session_id": other})))
    if not guess:
        _learn(principal, shown, event)


def _tell(
    principal: PrincipalState,
    event: dict[str, Any],
    out: OutcomeBuilder,
    fashion: PeerUsage,
    shown: dict[str, Any],
    hints: list[str],
) -> None:
    """What is usual for the principal, beside what it makes of what the session has *shown*."""
    factors, details = principal_factors.signals(principal.factors, event)
    members = shown | {
        "signals": [*factors, *hints, *principal.uses.signals(event, fashion)],
        "details": details or None,
    }
    out.send(message(SESSION_CONTEXT, event["session_id"], _usual(principal, event) | members))


def _send_answers(principal: PrincipalState, answers: Iterable[Answer], out: OutcomeBuilder) -> bool:
    """Tell sessions that live what had to wait for their devices; whether anything had."""
    answers_read = list(answers)
    for event, fields in answers_read:
        if (session_id := event["session_id"]) in principal.live:
            principal.live[session_id][3] = locations.excused(principal.live[session_id][3], fields)
            out.send(message(SESSION_CONTEXT, session_id, _usual(principal, event) | fields))
    return bool(answers_read)


def _usual(principal: PrincipalState, event: dict[str, Any]) -> dict[str, Any]:
    """What the session of *event* is told in any case: what is usual, and what lives beside it."""
    session_id, at, normal = event["session_id"], event["occurred_at"], principal.baseline.normal()
    return {
        "type": "session.context",
        "event_id": derived_id(event["event_id"], "~p"),
        "occurred_at": at,
        "tenant": event["tenant"],
        "session_id": session_id,
        "source": "principal",
        "days_known": normal.days,
        "usual": normal.volumes,
        "usual_concurrent": normal.concurrent,
        "hour_share": round(principal.baseline.hour_share(at), 3),
        **concurrent_counts(principal, session_id),
    }


def _learn(principal: PrincipalState, shown: dict[str, list[str]], event: dict[str, Any]) -> None:
    """Remember what was shown, and which session taught it; the first session's start is nobody's lesson."""
    first = principal.sessions_seen == 1 and event["kind"] == "started"
    by = "" if first else event["session_id"]
    for name, values in shown.items():
        habit = principal.habits[name]
        for value in values:
            taught = habit.pop(value, [0, by])[1]
            habit[value] = [event["occurred_at"], taught]
        while len(habit) > MAX_KNOWN:
            del habit[next(iter(habit))]
    if hides := anonymity(event):
        principal.anonymisers.setdefault(hides, by)
    learn_home(principal, shown.get("asn", []), event)
    if is_placed(event) and event["network_type"] != "cellular":
        principal.place = locations.place_of(event)
