"""Records of many topic-partitions come in chunks, in the order of event time, each in its place."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.time_alignment import MAX_BUFFERED, EventTimeAligner

LEAD = {"urgent": 60_000, "bulk": 0}.__getitem__


class Rec(NamedTuple):
    timestamp: int
    name: str = ""


def _lines(*lines: list[int]) -> dict[str, list[Rec]]:
    return {f"tp{i}": [Rec(t, f"tp{i}#{n}") for n, t in enumerate(line)] for i, line in enumerate(lines)}


def _all(aligner: EventTimeAligner[str]) -> list[tuple[str, list[Rec]]]:
    chunks = []
    while aligner:
        tp, records = aligner.next_chunk()
        chunks.append((tp, list(records)))
    return chunks


lines = st.lists(st.lists(st.integers(0, 100_000), max_size=40), max_size=6).map(lambda found: _lines(*found))


@given(lines, st.integers(1, 10), st.integers(0, 20_000))
def test_every_record_comes_out_once_in_the_order_of_its_topic_partition(
    given_lines: dict[str, list[Rec]], size: int, skew: int
) -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(size, skew)
    for tp, records in given_lines.items():
        aligner.add(tp, records)
    out: dict[str, list[Rec]] = {}
    for tp, records in _all(aligner):
        assert 1 <= len(records) <= size
        out.setdefault(tp, []).extend(records)
    assert out == {tp: records for tp, records in given_lines.items() if records}


@given(st.lists(st.lists(st.integers(0, 100_000)).map(sorted), max_size=6), st.integers(1, 10))
def test_chunks_begin_in_the_order_of_event_time_when_their_records_do(found: list[list[int]], size: int) -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(size, 0)
    for tp, records in _lines(*found).items():
        aligner.add(tp, records)
    begins = [records[0].timestamp for _, records in _all(aligner)]
    assert all(earlier <= later for earlier, later in pairwise(begins))


@given(st.lists(st.lists(st.integers(0, 100_000), min_size=1).map(sorted), min_size=2, max_size=6))
def test_no_chunk_runs_ahead_of_another_topic_partition_by_more_than_the_skew(found: list[list[int]]) -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(8, 1_000)
    waiting = _lines(*found)
    for tp, records in waiting.items():
        aligner.add(tp, records)
    for tp, chunk in _all(aligner):
        del waiting[tp][: len(chunk)]
        others = [records[0].timestamp for other, records in waiting.items() if other != tp and records]
        assert chunk[-1].timestamp <= min(others, default=chunk[-1].timestamp) + 1_000 or len(chunk) == 1


def test_a_quiet_topics_hours_are_cut_to_a_busy_topics_seconds() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(512, 5_000)
    aligner.add("busy", [Rec(second * 1_000) for second in range(10)])
    aligner.add("quiet", [Rec(minute * 60_000) for minute in range(3)])
    assert [(tp, [r.timestamp // 1000 for r in records]) for tp, records in _all(aligner)] == [
        ("busy", [0, 1, 2, 3, 4, 5]),
        ("quiet", [0]),
        ("busy", [6, 7, 8, 9]),
        ("quiet", [60, 120]),
    ]


def test_what_has_a_lead_goes_first_but_no_further_ahead_than_that() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(5, 1_000, LEAD)
    aligner.add("bulk", [Rec(second * 1_000) for second in range(8)])
    aligner.add("urgent", [Rec(second * 1_000) for second in (50, 60, 61, 64, 66)])
    assert [(tp, [r.timestamp // 1000 for r in records]) for tp, records in _all(aligner)] == [
        ("urgent", [50, 60, 61]),
        ("bulk", [0, 1, 2, 3, 4]),
        ("bulk", [5, 6, 7]),
        ("urgent", [64, 66]),
    ]


def test_what_has_a_lead_keeps_to_event_time_while_no_more_than_a_chunk_waits() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(5, 1_000, LEAD)
    aligner.add("bulk", [Rec(0), Rec(1_000), Rec(2_000)])
    aligner.add("urgent", [Rec(2_500), Rec(3_000)])
    assert [(tp, [r.timestamp for r in records]) for tp, records in _all(aligner)] == [
        ("bulk", [0, 1_000, 2_000]),
        ("urgent", [2_500, 3_000]),
    ]
    aligner.add("bulk", [Rec(4_000), Rec(4_001), Rec(4_002), Rec(4_003), Rec(4_004)])
    aligner.add("urgent", [Rec(5_000)])
    assert [tp for tp, _ in _all(aligner)] == ["urgent", "bulk"]


@given(st.lists(st.lists(st.integers(0, 100_000), min_size=1).map(sorted), min_size=3, max_size=6))
def test_a_lead_moves_a_topic_partition_by_its_length_and_changes_nothing_else(
    found: list[list[int]],
) -> None:
    lead: EventTimeAligner[str] = EventTimeAligner(1, 1_000, lambda tp: 30_000 if tp == "tp0" else 0)
    moved: EventTimeAligner[str] = EventTimeAligner(1, 1_000)
    for tp, records in _lines(*found).items():
        lead.add(tp, records)
        moved.add(tp, [Rec(r.timestamp - 30_000 * (tp == "tp0"), r.name) for r in records])
    names = [
        [(tp, [r.name for r in records]) for tp, records in _all(event_time_aligner)]
        for event_time_aligner in (lead, moved)
    ]
    assert names[0] == names[1]


def test_what_has_enough_waiting_gets_no_more_fetched() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(512, 0)
    aligner.add("full", [Rec(0)] * (MAX_BUFFERED // 2))
    aligner.add("almost", [Rec(0)] * (MAX_BUFFERED // 2 - 1))
    assert aligner.partitions_with_room({"full", "almost", "empty"} - {"empty"}) == {"almost"}


def test_a_chunk_may_be_too_early_for_whoever_has_not_come_as_far() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(512, 5_000)
    assert not aligner.ahead_of(["slow"])  # nothing would run
    aligner.add("slow", [Rec(1_000)])
    aligner.next_chunk()
    aligner.add("fast", [Rec(6_000)])
    assert not aligner.ahead_of(["fast"])
    assert not aligner.ahead_of(["slow"])
    assert aligner.ahead_of(["unheard"])
    aligner.next_chunk()
    aligner.add("fast", [Rec(6_001)])
    assert aligner.ahead_of(["slow"])
    aligner.add("slow", [Rec(9_000)])
    assert not aligner.ahead_of(["slow"])
    aligner.clear()
    aligner.add("fast", [Rec(1_000)])
    assert aligner.ahead_of(["slow"])


def test_nothing_comes_out_of_nothing() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(512, 0)
    aligner.add("tp", [])
    assert not aligner
    with pytest.raises(LookupError):
        aligner.next_chunk()


def test_what_is_cleared_is_forgotten() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(512, 0)
    aligner.add("tp", [Rec(1)])
    assert "tp" in aligner
    aligner.clear()
    assert not aligner
    assert "tp" not in aligner


def test_a_time_of_the_future_holds_nothing_up() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(512, 5_000)
    begin = 1_000
    odd = [Rec(begin), Rec(2**60, "odd"), Rec(begin + 1, "behind it")]
    aligner.add("odd", odd, begin + 60_000)
    aligner.add("other", [Rec(begin + 1_000 * at) for at in range(50)], begin + 60_000)

    first = aligner.next_chunk()

    assert first == ("odd", odd)


def test_a_time_of_the_future_at_the_beginning_comes_first_and_time_goes_on_after_it() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(1, 5_000)
    aligner.add("other", [Rec(1_000), Rec(9_000)], 10_000)
    aligner.add("odd", [Rec(2**60), Rec(2_000)], 10_000)

    turns = [(partition, chunk[0].timestamp) for partition, chunk in (aligner.next_chunk() for _ in range(4))]

    assert turns == [("odd", 2**60), ("other", 1_000), ("odd", 2_000), ("other", 9_000)]
