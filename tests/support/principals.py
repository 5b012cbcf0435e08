"""A principal context alone, networks of its principal, and what its messages to sessions contain."""

from __future__ import annotations

from typing import Any

from pipeline.contexts.principal.processor import principal_context
from pipeline.contexts.principal.state import KNOWN_ATTRIBUTES
from schemas import topics
from tests.support.run_processors import Player, SentMessage, of

HOME = {"device_id": "phone-1", "ip": "192.0.2.1", "asn": 64500, "country": "DE", "user_agent": "Firefox/140"}
CAFE = {**HOME, "ip": "198.51.100.1", "asn": 64501}
VPN = {"asn": 64880, "ip": "203.0.113.9", "network_type": "vpn"}


def principal() -> Player:
    return Player(principal_context())


def known(sent: list[SentMessage]) -> list[tuple[Any, ...]]:
    """Whether each attribute was known in the messages: device, network, country, client."""
    return [
        tuple(event.get(f"known_{name}") for name in KNOWN_ATTRIBUTES) for event in of(sent, topics.SESSION_CONTEXT)
    ]


def notified(sent: list[SentMessage], *members: str) -> list[tuple[Any, ...]]:
    return [tuple(event.get(name) for name in members) for event in of(sent, topics.SESSION_CONTEXT)]
