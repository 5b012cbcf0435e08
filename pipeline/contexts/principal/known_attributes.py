"""Known attributes of a principal (device, network, country, client), each with the session it was learned from.

What a session taught is forgotten when the session is revoked, and restored when an analyst trusts the session.
"""

from __future__ import annotations

from typing import Any, Final

from models.events.columns import client_family
from pipeline.contexts.network_names import network_names
from pipeline.contexts.principal.state import KNOWN_ATTRIBUTES, KnownValue, PrincipalState
from schemas.records import PrincipalActivityDict

MAX_KNOWN: Final = 64
MAX_REVOKED: Final = 8
"""Revoked sessions of which is stored what they had taught, because an analyst may trust them again."""
MAX_RESTORED: Final = 4
"""Values of one attribute stored for a revoked session: one that showed more is not one to trust."""


def attributes_of(event: PrincipalActivityDict) -> dict[str, list[str]]:
    """The values that *event* shows of each attribute; a network is known by its number, its prefix, or both."""
    shown: dict[str, list[str | None]] = {
        "device": [event["device_id"]],
        "asn": [*network_names(event["ip"], event["asn"])],
        "country": [event["country"]],
        "client": [client_family(event["user_agent"]) or event["ja4"]],
    }
    present = {name: [value for value in values if value is not None] for name, values in shown.items()}
    return {name: values for name, values in present.items() if values}


def forget_session(principal: PrincipalState, session_id: str) -> None:
    """Forget what a revoked session taught, but store it in case that an analyst trusts the session."""
    principal.baseline.discard(session_id)
    principal.usage.forget_session(session_id)
    taught = _taught_by(principal, session_id)
    if taught:
        principal.revoked.pop(session_id, None)
        principal.revoked[session_id] = {name: values[-MAX_RESTORED:] for name, values in taught.items()}
    if len(principal.revoked) > MAX_REVOKED:
        del principal.revoked[next(iter(principal.revoked))]
    for name, values in taught.items():
        for value in values:
            del _values(principal, name)[value]
    if principal.location and principal.location.session_id == session_id:
        principal.location = ()


def trust_session(principal: PrincipalState, session_id: str, at_ms: int) -> None:
    """Settle what a session taught, or had taught before it was revoked: its fate no longer matters."""
    taught = _taught_by(principal, session_id)
    for name, values in (*principal.revoked.pop(session_id, {}).items(), *taught.items()):
        known = _values(principal, name)
        for value in values:
            known[value] = KnownValue(at_ms, "") if name in KNOWN_ATTRIBUTES else ""
        while len(known) > MAX_KNOWN:
            del known[next(iter(known))]


def _taught_by(principal: PrincipalState, session_id: str) -> dict[str, list[str]]:
    """The values that were learned from the session, by where they are stored."""
    taught = {
        name: [value for value, known in _values(principal, name).items() if _source(known) == session_id]
        for name in (*KNOWN_ATTRIBUTES, "anonymisers", "homes")
    }
    return {name: values for name, values in taught.items() if values}


def _source(known: KnownValue | str) -> str:
    """The session from which a value was learned."""
    return known if isinstance(known, str) else known.learned_from


def _values(principal: PrincipalState, name: str) -> dict[str, Any]:
    """The stored values of a known attribute, or the anonymisers or homes."""
    stored: dict[str, Any] = principal.known[name] if name in KNOWN_ATTRIBUTES else getattr(principal, name)
    return stored
