"""Records that cannot be read, made of ones that can: what a broken or hostile producer would send."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from schemas.decode import encode

Event = dict[str, Any]


def _cut(value: bytes, chance: random.Random) -> bytes:
    return value[: chance.randrange(1, len(value))]


def _scratched(value: bytes, chance: random.Random) -> bytes:
    """A byte that no UTF-8 text has."""
    at = chance.randrange(len(value))
    return value[:at] + b"\xff" + value[at:]


def _noise(value: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(value))


def _without(member: str) -> Callable[[Event], Event]:
    return lambda event: {name: told for name, told in event.items() if name != member}


def _with(member: str, told: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, member: told}


BYTES = (_cut, _scratched, _noise)
MEMBERS = (
    _without("session_id"),
    _without("occurred_at"),
    _with("occurred_at", "yesterday"),
    _with("occurred_at", 2**62),
    _with("event_id", ""),
    _with("principal_kind", "ghost"),
    _with("session_id", ["a", "list"]),
    _with("session_id", "x" * 10_000),
    _with("type", "api.cull"),
)
LARGE = 900_000
"""Bytes of the largest record: near to what a broker takes."""


def poisoned(event: Event, chance: random.Random) -> bytes:
    """Return *event* so changed, in a way that chance chooses, that it must become a dead letter."""
    which = chance.randrange(len(BYTES) + len(MEMBERS) + 1)
    if which < len(BYTES):
        return BYTES[which](encode(event), chance)
    if which < len(BYTES) + len(MEMBERS):
        return encode(MEMBERS[which - len(BYTES)](event))
    return b"x" * LARGE
