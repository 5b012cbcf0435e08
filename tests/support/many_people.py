"""Many people whose sessions fall again and again, and the tokens that must come of it.

They are reckoned from the records, and nothing of the product is asked: were a `jti` another in its next
version, whoever changes to that would tell everything once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

from tests.support.ssf_records import Record, decision, now_ms, revocation

PEOPLE: Final = 170
WAVES: Final = 10
"""How often each of them is decided about: the level changes, and the session falls."""

ROOTED: Final = 17
"""Every so manyth has a device that is rooted in one wave, and well in the next."""
SENT_AGAIN: Final = 10
"""Of every so many, one has a command that the worker sends a second time."""

COMPLIANCE: Final = "device-compliance-change"
EVENTS: Final = ("risk-level-change", COMPLIANCE, "session-revoked")


class Received(NamedTuple):
    """What a token must tell: of whom, what, by which decision. *place*: its topic, and when it comes."""

    person: str
    event: str
    txn: str
    place: tuple[str, int, int]


def wave(name: str, number: int) -> list[Record]:
    """What is written of everybody in the wave *number*, in its order: people of the tenant *name*."""
    at = now_ms()
    return [record for person in range(PEOPLE) for record in _written(name, number, person, at)]


def received(name: str, events: Collection[str] = EVENTS) -> list[Received]:
    """What a stream that hears of *events* is told of all waves."""
    return [
        item
        for number in range(WAVES)
        for person in range(PEOPLE)
        for item in _received(name, number, person)
        if item.event in events
    ]


def jti_of(one: Received, stream_id: str) -> str:
    """The name under which a stream is told of it, for ever: 128 bits of BLAKE2b (RFC 7693)."""
    return blake2b(f"{one.txn}\x1f{stream_id}\x1f{one.event}".encode(), digest_size=16).hexdigest()


def sends(name: str) -> dict[str, int]:
    """How often each command was sent, by its id."""
    return {f"r-{name}-{person}-{number}": _sends(person) for person in range(PEOPLE) for number in range(WAVES)}


def numbers_of(txn: str) -> tuple[int, int]:
    """The person's number and the wave's."""
    _, person, number = txn.rsplit("-", 2)
    return int(person), int(number)


def _sends(person: int) -> int:
    return 2 if person % SENT_AGAIN == 3 else 1


def _written(name: str, number: int, person: int, at: int) -> Iterator[Record]:
    subject = {
        "tenant": name,
        "session_id": f"s-{name}-{person}",
        "principal_id": f"{name}-{person}",
        "device_id": f"phone-{name}-{person}",
        "decision_id": f"{name}-{person}-{number}",
        "decided_at": at,
    }
    if number % 2:
        yield decision("HIGH", "LOW", occurred_at=at, **subject)
    else:
        cause = "anomaly" if person % ROOTED else "device_rooted"
        yield decision("LOW", "HIGH", cause, occurred_at=at, **subject)
    for send in range(_sends(person)):
        deadline = at + 3_600_000 + send * 60_000
        yield revocation(revocation_id=f"r-{name}-{person}-{number}", deadline=deadline, **subject)


def _received(name: str, number: int, person: int) -> Iterator[Received]:
    named_name, txn = f"{name}-{person}", f"{name}-{person}-{number}"
    yield Received(named_name, "risk-level-change", txn, ("session-risk", number, 0))
    if person % ROOTED == 0:
        yield Received(named_name, COMPLIANCE, txn, ("session-risk", number, 1))
    yield Received(named_name, "session-revoked", txn, ("session-revocations", number, 0))
