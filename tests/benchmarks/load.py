"""Events for benchmarks: many sessions calling an API, about 500 bytes an event, as a gateway would send them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

OPERATIONS = (
    ("GET /accounts/{id}", "GET", "confidential"),
    ("GET /orders", "GET", "internal"),
    ("POST /orders", "POST", "internal"),
    ("GET /customers/{id}", "GET", "confidential"),
    ("GET /catalogue", "GET", "public"),
    ("PUT /profile", "PUT", "internal"),
)
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36"
START_MS = 1_772_409_600_000


class Sent(NamedTuple):
    """A record as it would come out of Kafka."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


def session_id(number: int) -> str:
    """Thirty-six characters, as a UUID has."""
    return f"{number:08x}-5e55-4000-8000-{number * 2654435761 % 2**48:012x}"


def call(rng: Random, number: int, sessions: int, at: int) -> tuple[bytes, bytes]:
    """Key and value of event *number*: a call of one of *sessions* at *at* ms."""
    return call_of(rng, rng.randrange(sessions), number, at)


def call_of(rng: Random, session_number: int, number: int, at: int) -> tuple[bytes, bytes]:
    """Key and value of event *number*: a call of session *session_number* at *at* ms."""
    operation, method, sensitivity = OPERATIONS[rng.randrange(len(OPERATIONS))]
    event = {
        "type": "api.call",
        "event_id": f"evt-{number:016x}",
        "occurred_at": at,
        "tenant": "acme",
        "session_id": session_id(session_number),
        "principal_id": f"user-{session_number // 2:07d}",
        "principal_kind": "human",
        "device_id": f"device-{session_number // 2:07d}",
        "ip": f"10.{session_number % 250}.{session_number // 250 % 250}.7",
        "asn": 64500 + session_number % 50,
        "country": "NL",
        "network_type": "wifi",
        "user_agent": AGENT[:60],
        "token_id": f"tok-{session_number:012x}",
        "operation": operation,
        "status": 200 if rng.random() > 0.02 else 404,
        "method": method,
        "bytes_out": rng.randrange(200, 20_000),
        "records": rng.randrange(1, 20),
        "sensitivity": sensitivity,
        "resource": f"res-{rng.randrange(5_000):05d}",
        "latency_ms": rng.randrange(3, 90),
    }
    return session_id(session_number).encode(), json.dumps(event, separators=(",", ":")).encode()


def calls(count: int, sessions: int, *, seed: int = 7, first: int = 0, per_second: int = 20_000) -> list[Sent]:
    """*count* records of one partition from offset *first* on, in order of offset and time."""
    rng = Random(seed)
    sent = []
    for number in range(first, first + count):
        at = START_MS + number * 1000 // per_second
        key, value = call(rng, number, sessions, at)
        sent.append(Sent("api-calls", 0, number, at, key, value))
    return sent
