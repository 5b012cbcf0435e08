"""What the transmitter makes of records that are none: they are counted, and nothing stops."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.tokens.builder import DecodedRecord
from pipeline.transmitter.tokens.consumer import decode_records
from pipeline.transmitter.tokens.events import TOPICS
from schemas.decode import encode
from schemas.decoded import DEFAULT_LIMITS
from schemas.topics import AUTH_EVENTS, REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK
from tests.support.run_processors import Rec
from tests.support.transmitter_records import T0, ack, credential, decision, revocation

NOW = T0 + 10_000
KEY = b"s-1"
GOOD = {
    SESSION_REVOCATIONS: revocation(),
    SESSION_RISK: decision("device_rooted"),
    AUTH_EVENTS: credential(),
    REVOCATION_ACKS: ack(),
}
UNKNOWN = {
    SESSION_REVOCATIONS: (b'"detections":["device_rooted"]', b'"detections":"device_rooted"'),
    SESSION_RISK: (b'"level":"HIGH"', b'"level":"SEVERE"'),
    AUTH_EVENTS: (b'"principal_kind":"human"', b'"principal_kind":"human","tenant":7'),
    REVOCATION_ACKS: (b'"outcome":"revoked"', b'"outcome":"perhaps"'),
}
"""Of each topic, words as a later version of the contract may have them."""


def spoiled(topic: str) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Keys and values of records of *topic* that cannot be decoded."""
    good = encode(GOOD[topic].record)
    at = b"%d" % (T0 + 2000 if topic == REVOCATION_ACKS else T0)
    session = b'"session_id":"s-1"'
    assert session in good
    yield KEY, None
    yield KEY, good[:-1]
    yield KEY, good.replace(session, b'"session_id":"\xff"')
    yield KEY, good.replace(session, b'"session_id":"\\ud800"')
    yield b"s\x00", good.replace(session, b'"session_id":"s\\u0000"')
    yield b"s" * 129, good.replace(session, b'"session_id":"' + b"s" * 129 + b'"')
    yield KEY, good.replace(session, b'"session_id":"s-2"')
    yield None, good
    yield KEY, good.replace(at, b'"soon"')
    yield KEY, good.replace(at, b"%d" % 2**60)
    yield KEY, good.replace(b"{", b'{"more":' + b"[" * 10_000, 1)
    yield KEY, good.replace(*UNKNOWN[topic])


@pytest.fixture
def metrics() -> TransmitterMetrics:
    return TransmitterMetrics(CollectorRegistry())


@pytest.mark.parametrize("topic", TOPICS)
def test_records_that_cannot_be_read_stop_none_of_the_others(
    topic: str, metrics: TransmitterMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    bad = list(spoiled(topic))
    lying = [Rec(topic, 3, offset, T0, key, value) for offset, (key, value) in enumerate(bad)]
    good = [
        Rec(other, 3, 100, T0, KEY, encode(decoded_record.record)) for other, decoded_record in GOOD.items()
    ]  # one of each topic behind them
    assert encode(GOOD[topic].record) not in [value for key, value in bad if key == KEY]

    with caplog.at_level(logging.WARNING):
        decoded_records = decode_records([*lying, *good], DEFAULT_LIMITS, metrics, NOW)

    assert sorted(decoded_records) == sorted(GOOD.values())
    shown = metrics.registry.get_sample_value("session_risk_transmitter_refused_records_total", {"topic": topic})
    assert shown == len(bad)
    expected = [f"record {offset} of {topic}, partition 3, cannot be decoded" for offset in range(len(bad))]
    lines = sorted(caplog.messages, key=lambda name: int(name.split()[1]))
    assert [this_name.partition(": ")[0] for this_name in lines] == expected


@pytest.mark.parametrize("topic", TOPICS)
def test_members_that_are_not_known_yet_are_left_out(topic: str, metrics: TransmitterMetrics) -> None:
    value = encode({**GOOD[topic].record, "novelty": {"a": [1]}})

    assert decode_records([Rec(topic, 0, 0, T0, KEY, value)], DEFAULT_LIMITS, metrics, NOW) == [GOOD[topic]]


@pytest.mark.parametrize("topic", TOPICS)
def test_members_that_may_be_missing_are_missed_by_nobody(topic: str, metrics: TransmitterMetrics) -> None:
    given = {name: value for name, value in GOOD[topic].record.items() if value is not None}
    given = {name: value for name, value in given.items() if name not in ("principal_id", "device_id", "amr")}
    if topic == AUTH_EVENTS:
        given["principal_id"] = "ana"

    (decoded_record,) = decode_records([Rec(topic, 0, 0, T0, KEY, encode(given))], DEFAULT_LIMITS, metrics, NOW)

    absent = {name: decoded_record.record[name] for name in decoded_record.record if name not in given}
    assert decoded_record == DecodedRecord(topic, {**given, **absent})
    assert set(absent.values()) == {None}
