"""Records that cannot be read, made of ones that can: what a broken or hostile producer would send."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.decode import decode_chunk, encode, record_key

Event = dict[str, Any]
Bytes = Callable[[bytes, random.Random], bytes]


def _cut(value: bytes, chance: random.Random) -> bytes:
    return value[: chance.randrange(1, len(value))]


def _scratched(value: bytes, chance: random.Random) -> bytes:
    """A byte that no UTF-8 text has."""
    at = chance.randrange(len(value))
    return value[:at] + b"\xff" + value[at:]


def _noise(value: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(value))


def _without(member: str) -> Callable[[Event], Event]:
    return lambda event: {name: details for name, details in event.items() if name != member}


def _with(member: str, received: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, member: received}


BYTES: Sequence[Bytes] = (_cut, _scratched, _noise)
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


# --- by chance ----------------------------------------------------------------------------------------------


def _flipped(value: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :]


def _swapped(value: bytes, chance: random.Random) -> bytes:
    """Two parts of it in each other's place."""
    number, other = sorted(chance.sample(range(len(value)), 2))
    return value[other:] + value[number:other] + value[:number]


def _twice(value: bytes, chance: random.Random) -> bytes:
    return value + chance.choice((b"", b",", b"\n", b"\0")) + value


def _deep(_value: bytes, chance: random.Random) -> bytes:
    """Brackets in brackets, more than any reader follows."""
    depth = chance.randrange(200, 20_000)
    return chance.choice((b"[", b'{"a":')) * depth


def _long(value: bytes, chance: random.Random) -> bytes:
    """Just too long to be read, though each part of it is right."""
    return value[:-1] + b',"more":"' + b"x" * chance.randrange(65_000, 70_000) + b'"}'


STRANGE: Sequence[Any] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**53,
    2**63,
    -(2**63),
    10**400,
    "",
    " ",
    "\0",
    "x" * 600,
    "\U0001f600" * 300,
    [],
    [[]],
    {},
    {"a": {}},
    [None] * 50,
    "2026-03-02",
    "NaN",
)
"""What may stand in the place of anything."""
RAW = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"\\ud800"', b"01", b"'a'", b"undefined")
"""What is no JSON, though some write it."""


def _raw_member(value: bytes, chance: random.Random) -> bytes:
    name = chance.choice((b"type", b"event_id", b"occurred_at", b"tenant"))
    return value[:-1] + b',"' + name + b'":' + chance.choice(RAW) + b"}"


def _strange_member(event: Event, chance: random.Random) -> Event:
    return {**event, chance.choice([*event]): chance.choice(STRANGE)} if event else event


def _missing_members(event: Event, chance: random.Random) -> Event:
    gone = chance.sample([*event], chance.randint(1, len(event))) if event else ()
    return {name: details for name, details in event.items() if name not in gone}


BYTE_WAYS: Mapping[Bytes, float] = {
    _cut: 1,
    _scratched: 1,
    _noise: 1,
    _flipped: 3,
    _swapped: 1,
    _twice: 1,
    _deep: 0.2,
    _long: 0.1,
    _raw_member: 2,
}
"""What may become of a record's bytes, and how often; those that make large ones seldom."""
MEMBER_WAYS = (_strange_member, _strange_member, _missing_members)


def fuzzed(topic: str, event: Event, chance: random.Random, now_ms: int) -> bytes:
    """Return *event* changed once or more often, at random, so that nobody can read it on *topic*."""
    key = record_key(topic, event)
    while True:
        changed = event
        for way in chance.sample(MEMBER_WAYS, chance.randint(0, 3)):
            changed = way(changed, chance)
        value = json.dumps(changed).encode()
        for other in chance.choices([*BYTE_WAYS], [*BYTE_WAYS.values()], k=chance.randint(0, 2)):
            value = other(value, chance) if len(value) > 2 else value
        if decode_chunk(topic, [value], [key], now_ms=now_ms).rejected:
            return value
