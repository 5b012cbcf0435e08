"""The context of a principal alone: where it is at home, and what a session heard of its habits."""

from __future__ import annotations

from typing import Any

from pipeline.contexts.principal.processor import principal_context
from pipeline.contexts.principal.state import KNOWN_ATTRIBUTES
from schemas import topics
from tests.support.run_processors import Player, Said, of

HOME = {"device_id": "phone-1", "ip": "192.0.2.1", "asn": 64500, "country": "DE", "user_agent": "Firefox/140"}
CAFE = {**HOME, "ip": "198.51.100.1", "asn": 64501}
VPN = {"asn": 64880, "ip": "203.0.113.9", "network_type": "vpn"}


def principal() -> Player:
    return Player(principal_context())


def known(said: list[Said]) -> list[tuple[Any, ...]]:
    """What was told of each habit: device, network, country, client."""
    return [
        tuple(event.get(f"known_{name}") for name in KNOWN_ATTRIBUTES) for event in of(said, topics.SESSION_CONTEXT)
    ]


def heard(said: list[Said], *members: str) -> list[tuple[Any, ...]]:
    return [tuple(event.get(name) for name in members) for event in of(said, topics.SESSION_CONTEXT)]
