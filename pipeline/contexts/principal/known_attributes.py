"""What a session taught of its principal: forgotten when it is revoked, kept when somebody vouches for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

from models.events.columns import client_family, network_name
from pipeline.contexts.principal.baseline import Baseline
from pipeline.contexts.principal.usage import UsageHistory

KNOWN_ATTRIBUTES: Final = ("device", "asn", "country", "client")
MAX_KNOWN: Final = 64


def networks_of(ip: str | None, asn: int | None) -> list[str]:
    """What a network is called: by its number, by its prefix, or by both.

    >>> networks_of("192.0.2.7", 64500), networks_of(None, None)
    (['as64500', '192.0.2'], [])
    """
    names = (None if asn is None else network_name(None, asn), network_name(ip, None))
    return [name for name in names if name is not None]


def are_comparable(networks: Iterable[str], known: Iterable[str]) -> bool:
    """Whether *networks* can be missing among those *known*.

    A prefix alone may be of a network that is known by its number.

    >>> are_told_alike(["198.51.100"], ["as64500", "192.0.2"]), are_told_alike(["198.51.100"], ["192.0.2"])
    (False, True)
    """
    return any(map(_is_number, networks)) or not any(map(_is_number, known))


def _is_number(network: str) -> bool:
    return network.startswith("as")


def attributes_of(event: dict[str, Any]) -> dict[str, list[str]]:
    """What the event shows of each habit it knows; a network has a number, a prefix, or both."""
    shown = {
        "device": [event["device_id"]],
        "asn": networks_of(event["ip"], event["asn"]),
        "country": [event["country"]],
        "client": [client_family(event["user_agent"]) or event["ja4"]],
    }
    by_key = {name: [value for value in values if value is not None] for name, values in shown.items()}
    return {name: values for name, values in by_key.items() if values}


def learned_from(seen: Any) -> str:
    """Which session taught something, of ``[last seen, session]`` or of the session alone."""
    teacher: str = seen if isinstance(seen, str) else seen[1]
    return teacher


MOST_DOUBTED: Final = 8
"""Revoked sessions whose lessons are kept, for an analyst may vouch for them."""
MOST_LESSONS: Final = 4
"""Kept of each kind: a session that showed more is not one to vouch for."""


class Taught(Protocol):
    """What is asked of a principal's state; see :class:`pipeline.contexts.principal.processor.PrincipalState`."""

    habits: dict[str, dict[str, list[Any]]]
    place: list[Any]
    anonymisers: dict[str, str]
    homes: dict[str, str]
    doubted: dict[str, dict[str, list[str]]]
    baseline: Baseline
    uses: UsageHistory


def forget_session(principal: Taught, session_id: str) -> None:
    """Forget what a revoked session taught, but so that an analyst can still vouch for it."""
    principal.baseline.unlearn(session_id)
    principal.uses.forget_session(session_id)
    taught = _lessons(principal, session_id)
    if taught:
        principal.doubted.pop(session_id, None)
        principal.doubted[session_id] = {name: values[-MOST_LESSONS:] for name, values in taught.items()}
    if len(principal.doubted) > MOST_DOUBTED:
        del principal.doubted[next(iter(principal.doubted))]
    for name, values in taught.items():
        for value in values:
            del _memory(principal, name)[value]
    if principal.place and principal.place[3] == session_id:
        principal.place = []


def trust_session(principal: Taught, session_id: str, at: int) -> None:
    """What the session taught, or had taught until it was revoked, holds: whatever becomes of it."""
    taught = _lessons(principal, session_id)
    for name, values in (*principal.doubted.pop(session_id, {}).items(), *taught.items()):
        memory = _memory(principal, name)
        for value in values:
            memory[value] = [at, ""] if name in KNOWN_ATTRIBUTES else ""
        while len(memory) > MAX_KNOWN:
            del memory[next(iter(memory))]


def _lessons(principal: Taught, session_id: str) -> dict[str, list[str]]:
    """What the session taught, by where it is remembered."""
    taught = {
        name: [value for value, seen in _memory(principal, name).items() if learned_from(seen) == session_id]
        for name in (*KNOWN_ATTRIBUTES, "anonymisers", "homes")
    }
    return {name: values for name, values in taught.items() if values}


def _memory(principal: Taught, name: str) -> dict[str, Any]:
    """The habit *name*, or the memory beside the habits that has this name."""
    memory: dict[str, Any] = principal.habits[name] if name in KNOWN_ATTRIBUTES else getattr(principal, name)
    return memory
