"""From records as they lie in Kafka to what they say. What cannot be read is counted, and its place told.

Whatever a record holds, it stops none of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pipeline.stage import Record, named_tenants
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.tokens.happenings import TOPICS
from pipeline.transmitter.tokens.ordering import in_order
from pipeline.transmitter.tokens.statements import Heard
from schemas.decode import decode_chunk
from schemas.decoded import Limits, without
from schemas.members import SAFE_INTEGER
from schemas.tenancy import VOUCHED
from schemas.topics import AUTH_EVENTS

log = logging.getLogger(__name__)

_KEPT: Final = (
    "tenant", "session_id", "principal_id", "device_id", "decision_id", "revocation_id", "event_id",
    "enforcer",
)  # fmt: skip


def heard(records: Sequence[Record], limits: Limits, metrics: TransmitterMetrics, now_ms: int) -> list[Heard]:
    """Those of *records*, one batch, that can be read and may say something, in the order of their times."""
    told: list[tuple[Record, Mapping[str, Any]]] = []
    for topic in TOPICS:
        some = [record for record in records if record.topic == topic and _may_say(record)]
        if some:
            told += _decoded(topic, some, limits, metrics, now_ms)
    return in_order(told)


def _decoded(
    topic: str, records: Sequence[Record], limits: Limits, metrics: TransmitterMetrics, now_ms: int
) -> Iterator[tuple[Record, Mapping[str, Any]]]:
    # The worker's own word is taken however long it is, and not measured by this clock: it has its times
    # from devices' clocks.
    ours = replace(limits, max_future_ms=SAFE_INTEGER, max_bytes=SAFE_INTEGER)
    taken = limits if topic in VOUCHED else ours
    decoded = decode_chunk(
        topic,
        [record.value for record in records],
        [record.key for record in records],
        now_ms=now_ms,
        limits=taken,
        tenants=named_tenants(topic, records, taken),
    )
    decoded = without(decoded, [_unfit(event) for event in decoded.events])
    for one in decoded.rejected:
        record = records[one.index]
        metrics.refused_records.labels(topic).inc()
        log.warning(
            "record %d of %s, partition %d, cannot be read: %s",
            *(record.offset, topic, record.partition, one.reason),
        )
    for place, event in zip(decoded.places, decoded.events, strict=True):
        yield records[place], event


def _unfit(event: Mapping[str, Any]) -> str | None:
    """Why the store could not take an event that can be read: PostgreSQL has no NUL in its texts."""
    odd = [name for name in _KEPT if "\x00" in (event.get(name) or "")]
    return f"{odd[0]}: holds a NUL character" if odd else None


def _may_say(record: Record) -> bool:
    """Whether a record is worth decoding: of auth events, in masses, only those about a credential are."""
    value = record.value
    if value is None or record.topic != AUTH_EVENTS:
        return True
    return b"credential_" in value or b"\\u" in value
