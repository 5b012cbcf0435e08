"""Principal context: what is normal for a human, a service, an API key or an agent, over all of its sessions.

When a session starts or its client changes, it is notified how new the values are that it shows; with every summary, it
is notified what is usual. What a revoked session taught is forgotten, so that an intruder's values do not become known
ones, unless an analyst trusts the session.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from models.events.columns import FACTOR_CHANGES
from pipeline.contexts.keyed_processor import KeyedProcessor, tenant_key
from pipeline.contexts.principal import factors as principal_factors
from pipeline.contexts.principal import locations, suppressions
from pipeline.contexts.principal.concurrent_sessions import (
    concurrent_counts,
    confirm_device,
    device_familiarity,
    on_session_ended,
    sessions_to_notify,
    short_network,
    unfamiliar_networks,
)
from pipeline.contexts.principal.device_networks import Release
from pipeline.contexts.principal.known_attributes import MAX_KNOWN, attributes_of, forget_session, trust_session
from pipeline.contexts.principal.state import (
    KNOWN_ATTRIBUTES,
    DeviceFamiliarity,
    KnownValue,
    LiveSession,
    PrincipalState,
)
from pipeline.contexts.principal.usage import PeerUsage
from pipeline.processing.eviction import exceeds
from pipeline.processing.messages import derived_id, message
from pipeline.processing.outcome import OutcomeBuilder
from schemas.decoded import DEFAULT_LIMITS, Limits
from schemas.fields import DAY_MS
from schemas.records import EventHead, PrincipalActivityDict
from schemas.topics import PRINCIPAL_ACTIVITY, SESSION_CONTEXT

SOURCES: Final = (PRINCIPAL_ACTIVITY,)
MAX_SESSIONS: Final = 1_000
MAX_SESSIONS_BYTES: Final = 370_000
"""Live sessions of a principal, and the bytes of their ids: all fits into a changelog record, whatever the ids are."""
MAX_PRINCIPALS: Final = 200_000
"""Principals in a partition: somebody who guesses account names could otherwise fill any memory."""
KEEP_MS: Final = 30 * DAY_MS


def principal_context(
    limits: Limits = DEFAULT_LIMITS, max_records: int = MAX_PRINCIPALS, *, changelog: bool = True
) -> KeyedProcessor[PrincipalState, PrincipalActivityDict]:
    """The principal context's processor of one partition."""

    def handle(_topic: str, principal: PrincipalState, event: PrincipalActivityDict, out: OutcomeBuilder) -> bool:
        return _handle(principal, event, processor.records[tenant_key(event["tenant"])].peers, out)

    processor: KeyedProcessor[PrincipalState, PrincipalActivityDict] = KeyedProcessor(
        state=PrincipalState,
        key_field="principal_id",
        handle=handle,
        keep_ms=KEEP_MS,
        is_in_use=lambda principal: bool(principal.live or principal.suppressions),
        on_time=_on_time,
        limits=limits,
        max_records=max_records,
        is_low_value=_is_guessed,
        on_tenant_event=_update_peer_usage,
        changelog=changelog,
    )
    return processor


def _is_guessed(principal: PrincipalState) -> bool:
    """Whether nobody ever signed in as this principal, as far as is known, and no analyst gave a verdict about it."""
    learned = any(principal.known.values()) or principal.baseline.days or principal.baseline.pending
    return not (learned or principal.suppressions or principal.factors.changes)


def _on_time(principal: PrincipalState, at_ms: int, out: OutcomeBuilder) -> bool:
    released = _release(principal, principal.devices.overdue(at_ms), out)
    return suppressions.expire(principal.suppressions, at_ms, out) or released


def _update_peer_usage(tenant: PrincipalState, event: PrincipalActivityDict) -> bool:
    if event["kind"] == "revoked":
        return tenant.peers.forget_session(event["session_id"])
    return tenant.peers.add(event["used"] or (), event["occurred_at"], event["principal_id"], event["session_id"])


def _handle(principal: PrincipalState, event: PrincipalActivityDict, peers: PeerUsage, out: OutcomeBuilder) -> bool:
    kind = event["kind"]
    if kind == "muted":
        suppressions.suppress(principal.suppressions, principal.live, event, out)
    elif kind == "vouched":
        trust_session(principal, event["session_id"], event["occurred_at"])
    elif kind in ("ended", "revoked"):
        _session_ended(principal, event)
    elif kind == "device_moved":
        _release(principal, principal.devices.on_device_moved(event), out)
        confirm_device(principal, event)
    elif kind in FACTOR_CHANGES:
        known = event["device_id"] in principal.known["device"]
        principal_factors.remember_change(principal.factors, event, known=known)
    elif kind in ("summary", "used"):
        return _session_continues(principal, event, peers, out)
    else:
        _session_appears(principal, event, peers, out)
    return True


def _session_ended(principal: PrincipalState, event: PrincipalActivityDict) -> None:
    session_id = event["session_id"]
    principal.live.pop(session_id, None)
    on_session_ended(principal)
    if event["kind"] == "revoked":
        forget_session(principal, session_id)
    else:
        principal.baseline.observe_peaks(session_id, event["peaks"] or {})
        principal.baseline.learn(session_id)


def _session_continues(
    principal: PrincipalState, event: PrincipalActivityDict, peers: PeerUsage, out: OutcomeBuilder
) -> bool:
    """A live session reports what it did: notify it what is usual, or that something it used is unfamiliar."""
    session_id, at = event["session_id"], event["occurred_at"]
    session = principal.live.get(session_id)
    if session is None:
        return False
    principal.usage.add(event["used"] or (), at, session_id)
    if event["kind"] == "used" and not session.network:  # it began with a wrong password
        session = session._replace(network=short_network(event), familiarity=device_familiarity(principal, event))
        principal.live[session_id] = session
        _learn(principal, attributes_of(event), event)
    if event["kind"] == "summary":
        principal.baseline.observe(session_id, at, len(unfamiliar_networks(principal)))
        principal.baseline.observe_peaks(session_id, event["peaks"] or {})
    if event["kind"] == "summary" or principal.usage.unusual(event, peers):
        _notify(principal, event, peers, {}, session.network_signals, out)
    return True


def _session_appears(
    principal: PrincipalState, event: PrincipalActivityDict, peers: PeerUsage, out: OutcomeBuilder
) -> None:
    """A session starts or shows another client; one that only guesses a password shows nothing of the principal."""
    session_id, at, guess = event["session_id"], event["occurred_at"], event["guess"]
    shown = attributes_of(event)
    known = {name: any(value in principal.known[name] for value in values) for name, values in shown.items()}
    sessions_before = principal.sessions_seen
    is_new = session_id not in principal.live
    if is_new:
        principal.sessions_seen += 1
        principal.live[session_id] = LiveSession(at, "", DeviceFamiliarity.OWN, [])
        while not guess and exceeds(principal.live, MAX_SESSIONS, MAX_SESSIONS_BYTES):
            del principal.live[next(iter(principal.live))]
            out.count("forgotten_sessions", "principal")
    else:
        sessions_before -= 1
    networks = shown.get("asn", [])
    if principal.devices.confirms(event, networks):
        known["asn"] = True
    network_signals = locations.signals(principal, networks, event)
    principal.live[session_id] = LiveSession(
        since=principal.live[session_id].since,
        network="" if guess else short_network(event),
        familiarity=DeviceFamiliarity.OWN if guess else device_familiarity(principal, event),
        network_signals=network_signals,
    )
    # Suppressions come first: what is new about a session may be what they suppress.
    suppressions.notify(principal.suppressions, event, out)
    if not guess:
        principal.baseline.observe(session_id, at, len(unfamiliar_networks(principal)))
        principal.usage.add(event["used"] or (), at, session_id)
        settled = sessions_before >= principal_factors.SETTLED_SESSIONS
        principal_factors.remember_device(principal.factors, event, known=known.get("device", True), settled=settled)
    context = {
        **{f"known_{name}": known.get(name) for name in KNOWN_ATTRIBUTES},
        "novelty": round(1 - sum(known.values()) / len(known), 3) if known else None,
        "concurrent_sessions": len(principal.live) - 1,
        "sessions_seen": max(sessions_before, 0),
        "place_speed_kmh": locations.speed_kmh(principal, event),
    }
    if principal.devices.hold(event, networks, context):
        context["known_asn"] = None
    _notify(principal, event, peers, context, network_signals, out)
    for other in sessions_to_notify(principal, session_id):
        out.send(message(SESSION_CONTEXT, other, _usual(principal, event | {"session_id": other})))
    if not guess:
        _learn(principal, shown, event)
    elif is_new:  # nobody got in: it takes no place among the principal's sessions
        del principal.live[session_id]
        principal.sessions_seen -= 1


def _notify(
    principal: PrincipalState,
    event: PrincipalActivityDict,
    peers: PeerUsage,
    context: dict[str, Any],
    network_signals: list[str],
    out: OutcomeBuilder,
) -> None:
    """Send the session of *event* what is usual, the fields in *context*, and all signals of the principal context."""
    factor_signals, details = principal_factors.signals(principal.factors, event)
    fields = context | {
        "signals": [*factor_signals, *network_signals, *principal.usage.signals(event, peers)],
        "details": details or None,
    }
    out.send(message(SESSION_CONTEXT, event["session_id"], _usual(principal, event) | fields))


def _release(principal: PrincipalState, releases: Iterable[Release], out: OutcomeBuilder) -> bool:
    """Send live sessions the messages that were held back for their devices; returns whether there were any."""
    released = list(releases)
    for event, context in released:
        session = principal.live.get(event["session_id"])
        if session is not None:
            raised = locations.without_excused(session.network_signals, context)
            principal.live[event["session_id"]] = session._replace(network_signals=raised)
            out.send(message(SESSION_CONTEXT, event["session_id"], _usual(principal, event) | context))
    return bool(released)


def _usual(principal: PrincipalState, event: EventHead) -> dict[str, Any]:
    """The fields of every message to the session of *event*: what is usual, and how many sessions there are."""
    session_id, at, usual = event["session_id"], event["occurred_at"], principal.baseline.usual()
    return {
        "type": "session.context",
        "event_id": derived_id(event["event_id"], "~p"),
        "occurred_at": at,
        "tenant": event["tenant"],
        "session_id": session_id,
        "source": "principal",
        "days_known": usual.days,
        "usual": usual.volumes,
        "usual_concurrent": usual.concurrent,
        "hour_share": round(principal.baseline.hour_share(at), 3),
        **concurrent_counts(principal, session_id),
    }


def _learn(principal: PrincipalState, shown: dict[str, list[str]], event: PrincipalActivityDict) -> None:
    """Remember the values *shown* and the session; what the first session starts with is settled at once."""
    is_first_start = principal.sessions_seen == 1 and event["kind"] == "started"
    session_id = "" if is_first_start else event["session_id"]
    for name, values in shown.items():
        known = principal.known[name]
        for value in values:
            before = known.pop(value, None)
            known[value] = KnownValue(event["occurred_at"], session_id if before is None else before.learned_from)
        while len(known) > MAX_KNOWN:
            del known[next(iter(known))]
    if anonymiser := locations.anonymiser_of(event):
        principal.anonymisers.setdefault(anonymiser, session_id)
    locations.learn_home(principal, shown.get("asn", []), event)
    locations.learn_location(principal, event)
