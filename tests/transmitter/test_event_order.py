"""The order in which what is about one person is told, however partitions were read between each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.tokens.builder import DecodedRecord, TokenBuilder
from pipeline.transmitter.tokens.claims import lane_of
from pipeline.transmitter.tokens.consumer import EVENT_TIME_FIELDS, decode_records
from pipeline.transmitter.tokens.events import TOPICS, events_of_record
from schemas.decode import encode
from schemas.decoded import Limits
from schemas.topics import AUTH_EVENTS, SESSION_REVOCATIONS, SESSION_RISK
from tests.support.run_processors import Rec
from tests.support.transmitter_records import (
    T0,
    ack,
    credential,
    decision,
    new_store,
    queued,
    revocation,
    stream,
    token_builder,
)

SECOND = 1000
HOUR = 3_600_000
LIMITS = Limits(max_future_ms=24 * HOUR)
METRICS = TransmitterMetrics(CollectorRegistry())
PARTITIONS = 3
_runs = count(1)

Entry = tuple[str, int, int]
"""What is said: its topic, of which session, at which second."""
entries = st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 4), st.integers(0, 600)), min_size=1, max_size=12)


def output(topic: str, session: int, at: int, name: str) -> DecodedRecord:
    """A record of a session of ana, on her one phone."""
    subject = {"session_id": f"s-{session}", "principal_id": "ana"}
    if topic == SESSION_REVOCATIONS:
        return revocation(**subject, decision_id=name, revocation_id=f"r-{name}", decided_at=at, deadline=at + HOUR)
    if topic == SESSION_RISK:
        odd = at // SECOND % 2
        reason, level = ("device_rooted", "HIGH") if odd else ("token_replayed", "MEDIUM")
        return decision(reason, level=level, **subject, decision_id=name, occurred_at=at, decided_at=at)
    if topic == AUTH_EVENTS:
        return credential(**subject, event_id=name, occurred_at=at)
    return ack(session_id=subject["session_id"], revocation_id=f"r-{name}", occurred_at=at)


def lying(received: Sequence[Entry], run: str = "d") -> list[Rec]:
    """Records as Kafka has them: each session in one partition, in the order in which it was told."""
    offsets: Counter[tuple[str, int]] = Counter()
    records = []
    for number, (topic, session, second) in enumerate(received):
        place = topic, session % PARTITIONS
        record = output(topic, session, T0 + second * SECOND, f"{run}-{number}").record
        key = record["session_id"].encode()
        records.append(Rec(*place, offsets[place], T0, key, encode(record)))
        offsets[place] += 1
    return records


def interleaved(records: Sequence[Rec], turns: Sequence[int]) -> list[Rec]:
    """The same records, each partition in its order, which take turns as the permutation *turns* says."""
    waiting: dict[tuple[str, int], Iterator[Rec]] = {}
    for record in records:
        place = record.topic, record.partition
        waiting[place] = iter(
            [this_record for this_record in records if (this_record.topic, this_record.partition) == place]
        )
    return [next(waiting[records[turn].topic, records[turn].partition]) for turn in turns]


def read(records: Sequence[Rec]) -> list[DecodedRecord]:
    return decode_records(records, LIMITS, METRICS, T0 + HOUR)


def by_lane(received: Sequence[DecodedRecord]) -> dict[str, list[str]]:
    """By lane, the causes of what is told, in order."""
    lanes: dict[str, list[str]] = {}
    for decoded_record in received:
        for happening in events_of_record(*decoded_record):
            lanes.setdefault(lane_of(happening.subject), []).append(happening.cause)
    return lanes


def test_an_earlier_change_of_level_of_another_session_is_told_first_wherever_it_lies() -> None:
    later, earlier = (SESSION_RISK, 0, 60), (SESSION_RISK, 1, 30)
    revoked, factor = (SESSION_REVOCATIONS, 2, 45), (AUTH_EVENTS, 0, 15)

    decoded_records = read(lying([later, earlier, revoked, factor]))

    assert [
        (decoded_record.record[EVENT_TIME_FIELDS[decoded_record.topic]] - T0) // SECOND
        for decoded_record in decoded_records
    ] == [
        15,
        30,
        45,
        60,
    ]


def test_at_one_time_a_revocation_comes_before_the_level_that_led_to_it() -> None:
    decoded_records = read(lying([(SESSION_RISK, 0, 60), (SESSION_REVOCATIONS, 0, 60)]))

    assert [decoded_record.topic for decoded_record in decoded_records] == [SESSION_REVOCATIONS, SESSION_RISK]


def test_a_session_whose_clock_goes_back_keeps_its_order_and_holds_up_no_other() -> None:
    decoded_records = read(lying([(SESSION_RISK, 0, 500), (SESSION_RISK, 0, 20), (SESSION_RISK, 3, 40)]))

    assert [decoded_record.record["session_id"] for decoded_record in decoded_records] == [
        "s-3",
        "s-0",
        "s-0",
    ]
    assert [decoded_record.record["occurred_at"] - T0 for decoded_record in decoded_records] == [
        40_000,
        500_000,
        20_000,
    ]


@given(entries, st.data())
def test_however_partitions_are_read_between_each_other_a_lane_has_one_order(
    received: list[Entry], data: st.DataObject
) -> None:
    records = lying(received)
    turns = data.draw(st.permutations(range(len(records))))

    decoded_records, other = read(records), read(interleaved(records, turns))

    assert len(decoded_records) == len(records)
    assert other == decoded_records
    assert by_lane(other) == by_lane(decoded_records)


@given(entries)
def test_what_one_topic_says_of_one_session_keeps_its_order(received: list[Entry]) -> None:
    found = read(lying(received))

    for topic, session in {entry[:2] for entry in received}:
        mine = [entry[2] for entry in received if entry[:2] == (topic, session)]
        key = f"s-{session}"
        seen_by = [
            decoded_record.record
            for decoded_record in found
            if (decoded_record.topic, decoded_record.record["session_id"]) == (topic, key)
        ]
        assert [(fields[EVENT_TIME_FIELDS[topic]] - T0) // SECOND for fields in seen_by] == mine


@given(entries)
def test_where_no_clock_goes_back_all_is_in_the_order_of_its_times(received: list[Entry]) -> None:
    found = read(lying(sorted(received, key=lambda entry: entry[2])))

    times = [decoded_record.record[EVENT_TIME_FIELDS[decoded_record.topic]] for decoded_record in found]
    assert all(before <= after for before, after in pairwise(times))


@pytest.mark.parametrize("topic", TOPICS[:3])
def test_the_time_that_orders_is_the_time_that_is_told(topic: str) -> None:
    decoded_record = output(topic, 0, T0 + 1, "d")

    assert {happening.at for happening in events_of_record(*decoded_record)} == {
        decoded_record.record[EVENT_TIME_FIELDS[topic]]
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenBuilder]:
    folder: Path = tmp_path_factory.mktemp("store")
    store = new_store(folder, stream())
    yield token_builder(store)
    store.close()


@settings(max_examples=40)
@given(entries.map(lambda rows_read: sorted(rows_read, key=itemgetter(2))), st.data())
def test_tokens_enter_in_that_order_and_a_replay_in_any_order_and_any_batches_makes_no_new_one(
    made: TokenBuilder, received: list[Entry], data: st.DataObject
) -> None:
    """The times of a session's decisions never go back: each is the latest of its events (`models.updates.fold`)."""
    run = f"run{next(_runs)}"
    records = of_run(lying(received, run), run)
    first = read(interleaved(records, data.draw(st.permutations(range(len(records))))))
    made.build(first, T0)
    tokens = rows(made, run)
    again = interleaved(records, data.draw(st.permutations(range(len(records)))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(records)))))

    taken = [made.build(read(again[begin:end]), T0 + HOUR) for begin, end in pairwise([0, *cuts, len(records)])]

    assert [row.txn for row in tokens if row.event != "device-compliance-change"] == [
        happening.txn for decoded_record in read(records) for happening in events_of_record(*decoded_record)
    ]
    assert rows(made, run) == tokens
    assert [build_result.queued for build_result in taken] == [Counter()] * len(taken)


def of_run(records: Sequence[Rec], run: str) -> list[Rec]:
    """The same in a tenant of their own: no device or session is known there."""
    return [
        record._replace(value=(record.value or b"").replace(b'"tenant":"default"', f'"tenant":"{run}"'.encode()))
        for record in records
    ]


def rows(made: TokenBuilder, run: str) -> list[Any]:
    """The tokens of a run."""
    return [row for row in queued(made.store) if str(row.txn).startswith(f"{run}-")]
