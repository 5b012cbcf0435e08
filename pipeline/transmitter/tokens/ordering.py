"""The order in which what one batch of records says is told.

Kafka has an order within a partition and none between them, and what is about one person may lie in several:
of its sessions, and on several topics. So the records of a batch go by the time of what they tell, which is
the time that receivers are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, Final

from pipeline.stage import Record
from pipeline.transmitter.tokens.happenings import TOPICS
from pipeline.transmitter.tokens.statements import Heard
from schemas.topics import AUTH_EVENTS, REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK

AT: Final[Mapping[str, str]] = {
    SESSION_REVOCATIONS: "decided_at",
    SESSION_RISK: "occurred_at",
    AUTH_EVENTS: "occurred_at",
    REVOCATION_ACKS: "occurred_at",
}
"""By topic, the member with the time of what a record tells, ms."""
_PLACE: Final = {topic: place for place, topic in enumerate(TOPICS)}


def in_order(told: Iterable[tuple[Record, Mapping[str, Any]]]) -> list[Heard]:
    """Records and what was read of them, in the order of their times; at one time, in the order of `TOPICS`.

    What has one key on one topic keeps its order in Kafka whatever its times are: it was decided in that
    order. So nothing there counts as earlier than what lies before it. The same records come in the same
    order, however their partitions were read between each other.
    """
    latest: dict[tuple[str, bytes | None], int] = {}
    timed: list[tuple[int, Heard]] = []
    for record, event in sorted(told, key=_by_place):
        source = record.topic, record.key
        latest[source] = max(event[AT[record.topic]], latest.get(source, 0))
        timed.append((latest[source], Heard(record.topic, event)))
    return [heard for _, heard in sorted(timed, key=itemgetter(0))]


def _by_place(one: tuple[Record, Mapping[str, Any]]) -> tuple[int, int, int]:
    record, _ = one
    return _PLACE[record.topic], record.partition, record.offset
