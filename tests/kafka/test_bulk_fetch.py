"""Batches are read whole: every row from an offset on, none twice; a broker that refuses is asked again."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka import changelog
from pipeline.kafka.changelog import (
    ROWS_AT_ONCE,
    ChangelogReader,
    ChangelogStuckError,
    Rows,
    fetch,
    offsets,
    unpack,
)
from pipeline.processing.processor import ChangelogRow

PLACE, OTHER = TopicPartition("state", 1), TopicPartition("state", 2)
LAST_OFFSET_DELTA = slice(23, 27)
"""Where a batch says how far its last record is from its first."""


def batch(first: int, rows: list[ChangelogRow], codec: int = 0) -> bytes:
    """A batch as brokers keep it, whose first record has the offset *first*."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 10**6)
    for at, (key, value) in enumerate(rows):
        builder.append(at, 1_000, key, value, [])
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def numbered(first: int, last: int) -> list[ChangelogRow]:
    return [(b"key-%d" % at, b"value-%d" % at) for at in range(first, last)]


# --- what is in batches -----------------------------------------------------------------------------------


@given(cuts=st.sets(st.integers(1, 59)), begin=st.integers(0, 60))
def test_all_rows_from_an_offset_on_come_in_order_however_they_were_batched(cuts: set[int], begin: int) -> None:
    edges = [0, *sorted(cuts), 60]
    batches = b"".join(batch(first, numbered(first, last)) for first, last in pairwise(edges))

    assert unpack(batches, begin, PLACE) == Rows(numbered(begin, 60), 60)
    assert offsets(batches, begin) == list(range(begin, 60))


def test_a_tombstone_and_a_compressed_batch_are_read() -> None:
    rows: list[ChangelogRow] = [(b"a", None), (b"b", b"x" * 1_000)]

    assert unpack(batch(7, rows, codec=1), 7, PLACE) == Rows(rows, 9)


def test_a_batch_that_came_in_part_is_left_for_the_next_fetch() -> None:
    whole, cut = batch(0, numbered(0, 3)), batch(3, numbered(3, 6))[:-1]

    assert unpack(whole + cut, 0, PLACE) == Rows(numbered(0, 3), 3)


def test_nothing_there_moves_no_offset() -> None:
    assert unpack(b"", 5, PLACE) == Rows([], 5)


def test_a_spoilt_batch_is_refused_with_its_place() -> None:
    spoilt = bytearray(batch(4, numbered(4, 6)))
    spoilt[-1] ^= 1

    with pytest.raises(CorruptRecordException, match=r"state\[1\] after offset 4"):
        unpack(bytes(spoilt), 4, PLACE)


# --- asking a broker --------------------------------------------------------------------------------------


class Kafka:
    """Stands in for aiokafka's consumer and the client below it: a leader, and its answer."""

    def __init__(self, leader: int | None, code: int = 0, batches: bytes = b"") -> None:
        self._client = self.cluster = self
        self.leader = leader
        self.received: tuple[Any, ...] = (1, code, 99, 99, 0, [], batches)
        self.updates = 0
        self.asked: list[Any] = []

    def leader_for_partition(self, _: TopicPartition) -> int | None:
        return self.leader

    def force_metadata_update(self) -> None:
        self.updates += 1

    async def send(self, node: int, request: Any) -> Any:
        self.asked.append((node, request.topics))
        self.topics = [("state", [self.received])]
        return self


def test_the_leader_is_asked_for_the_partition_from_the_offset_on() -> None:
    kafka = Kafka(leader=3, batches=b"batches")

    assert asyncio.run(fetch(kafka, PLACE, 17, 5)) == b"batches"
    assert kafka.asked == [(3, [("state", [(1, 17, 4 * 1024 * 1024)])])]


@pytest.mark.parametrize(
    ("leader", "code", "error", "updates"),
    [
        (None, 0, LeaderNotAvailableError, 1),
        (-1, 0, LeaderNotAvailableError, 1),
        (3, NotLeaderForPartitionError.errno, NotLeaderForPartitionError, 1),
        (3, OffsetOutOfRangeError.errno, OffsetOutOfRangeError, 0),
        (3, TopicAuthorizationFailedError.errno, TopicAuthorizationFailedError, 0),
    ],
)
def test_a_refusal_is_raised_and_a_leader_that_moved_is_looked_for(
    leader: int | None, code: int, error: type[KafkaError], updates: int
) -> None:
    kafka = Kafka(leader, code)

    with pytest.raises(error):
        asyncio.run(fetch(kafka, PLACE, 17, 5))
    assert kafka.updates == updates


# --- reading whole places ---------------------------------------------------------------------------------


class Reader(ChangelogReader):
    """A reader whose consumer is itself: every place begins at *begins*."""

    def __init__(self, begins: int) -> None:
        self._kafka = self
        self._fetch_wait_ms = 1
        self._warned = set()
        self._begins = begins

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self._begins)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[TopicPartition, Any]:
    """What brokers answer one after the other, by place."""
    by_key: dict[TopicPartition, Any] = {}

    async def answer(_: Any, place: TopicPartition, __: int, ___: int) -> bytes:
        kafka_error: bytes | KafkaError = next(by_key[place])
        if isinstance(kafka_error, KafkaError):
            raise kafka_error
        return kafka_error

    monkeypatch.setattr(changelog, "fetch", answer)
    monkeypatch.setattr(changelog, "RETRY_SECONDS", 0.0)
    return by_key


def read(begins: int, **ends: int) -> dict[str, list[ChangelogRow]]:
    """What is restored, by place."""

    async def story() -> dict[str, list[ChangelogRow]]:
        places = {"one": PLACE, "other": OTHER}
        rows: dict[str, list[ChangelogRow]] = {name: [] for name in ends}
        wanted = {places[name]: rows[name].extend for name in ends}
        await Reader(begins).read(wanted, {places[name]: end for name, end in ends.items()})
        return rows

    return asyncio.run(story())


def test_several_places_are_read_to_their_ends(answers: dict[TopicPartition, Any]) -> None:
    many = ROWS_AT_ONCE + 5
    answers[PLACE] = iter([batch(0, numbered(0, many)), batch(many, numbered(many, many + 2))])
    answers[OTHER] = iter([batch(0, numbered(0, 4))])

    assert read(0, one=many + 2, other=4) == {"one": numbered(0, many + 2), "other": numbered(0, 4)}


def test_a_broker_that_is_away_for_a_moment_is_asked_again_and_that_is_said_once(
    answers: dict[TopicPartition, Any], caplog: pytest.LogCaptureFixture
) -> None:
    away = NotLeaderForPartitionError()
    answers[PLACE] = iter([away, away, b"", batch(0, numbered(0, 4))])

    assert read(0, one=4) == {"one": numbered(0, 4)}
    lines = [record.getMessage() for record in caplog.records if record.name == changelog.__name__]
    assert lines == [f"state[1] cannot be read just now: {away!r}"]


def test_where_the_oldest_rows_were_deleted_meanwhile_it_goes_on_from_the_oldest_left(
    answers: dict[TopicPartition, Any],
) -> None:
    answers[PLACE] = iter([OffsetOutOfRangeError(), batch(2, numbered(2, 4))])

    assert read(2, one=4) == {"one": numbered(2, 4)}


def test_what_compaction_took_away_at_the_end_is_not_waited_for(answers: dict[TopicPartition, Any]) -> None:
    compacted = bytearray(batch(0, numbered(0, 2)))
    compacted[LAST_OFFSET_DELTA] = (9).to_bytes(4, "big")
    answers[PLACE] = iter([_signed(compacted)])

    assert read(0, one=10) == {"one": numbered(0, 2)}


def test_what_asking_again_cannot_change_ends_the_reading(answers: dict[TopicPartition, Any]) -> None:
    answers[PLACE] = iter([TopicAuthorizationFailedError("state")])

    with pytest.raises(TopicAuthorizationFailedError):
        read(0, one=4)


def test_no_progress_for_long_is_said_with_the_place(
    answers: dict[TopicPartition, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelog, "STUCK_SECONDS", 0.0)
    answers[PLACE] = iter([b""])

    with pytest.raises(ChangelogStuckError, match=r"no changelog record came for 0 s: state\[1\] ends at 4"):
        read(0, one=4)


def _signed(spoilt: bytearray) -> bytes:
    """The batch with the checksum (CRC-32C over all after it) of what it holds now."""
    spoilt[17:21] = calc_crc32c(bytes(spoilt[21:])).to_bytes(4, "big")
    return bytes(spoilt)
