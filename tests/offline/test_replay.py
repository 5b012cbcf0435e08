"""A replay: the same recording gives the same bytes, and the same revocations for any number of partitions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.kafka.partitioner import partition_of
from pipeline.offline.replay import runner
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import CHUNK, Replay, key_in, record_key
from pipeline.processing.processor import Message
from pipeline.sessions.processor import Options
from schemas import topics
from tests.detections.test_detections import ROWS
from tests.support.detection_histories import silence
from tests.support.event_streams import OddTotals
from tests.support.run_processors import Event, Player, found, of, read, recorded, replayed
from tests.support.samples import T0, auth, call, telemetry


def all_stories() -> list[Event]:
    """Every firing history of every detection, as if all happened in the same hours to different people."""
    events: list[Event] = []
    for number, row in enumerate(ROWS):
        for event in row.fires:
            events.append({**event, "tenant": f"tenant-{number}", "event_id": f"{number}-{len(events)}"})
    return events


STORIES = recorded(all_stories())


def play(records: list[InputRecord], partitions: int, *, changelog: bool = True) -> tuple[list[Message], Replay]:
    active = ActiveConfig(detector=OddTotals())
    options = Options(partitions=partitions, event_clock=True, changelog=changelog)
    replay = Replay(processor_specs(active, options), partitions)
    return list(replay.run(records)), replay


@pytest.fixture(scope="module")
def once() -> tuple[list[Message], Replay]:
    return play(STORIES, 4)


def test_the_same_recording_gives_the_same_bytes(once: tuple[list[Message], Replay]) -> None:
    messages, replay = once

    again, other = play(STORIES, 4)

    assert again == messages
    assert other.state == replay.state
    assert replay.events == len(STORIES) + sum(
        message.topic in topics.TOPICS and _internal(message) for message in messages
    )


def _internal(message: Message) -> bool:
    return topics.TOPICS[message.topic].direction == "internal"


def test_a_replay_makes_every_decision_when_its_event_happened(once: tuple[list[Message], Replay]) -> None:
    risks = of(read(once[0]), topics.SESSION_RISK)

    assert [
        (risk["occurred_at"], risk["decided_at"]) for risk in risks if risk["decided_at"] != risk["occurred_at"]
    ] == []


@pytest.mark.parametrize("partitions", [1, 8])
def test_the_number_of_partitions_changes_no_revocation(partitions: int, once: tuple[list[Message], Replay]) -> None:
    messages, _ = play(STORIES, partitions)

    ids = [
        {event["revocation_id"] for event in of(read(sent), topics.SESSION_REVOCATIONS)} for sent in (messages, once[0])
    ]
    assert ids[0] == ids[1]
    assert len(ids[0]) > 15


@pytest.mark.parametrize("partitions", [1, 2, 3, 5, 8])
def test_silence_is_noticed_also_where_nothing_else_happens(partitions: int) -> None:
    assert found(replayed(silence(300), partitions=partitions), "s-1") == {"telemetry_silent_while_idle"}


def test_without_a_changelog_no_row_is_encoded_and_the_messages_are_the_same(
    once: tuple[list[Message], Replay],
) -> None:
    messages, replay = once

    again, other = play(STORIES, 4, changelog=False)

    assert again == messages
    assert {task: rows for task, rows in other.state.items() if rows} == {}
    assert {name for (name, _), rows in replay.state.items() if rows} == {"session", "device", "principal", "network"}


@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_how_far_a_recording_is_read_ahead_changes_nothing(
    once: tuple[list[Message], Replay], ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages, replay = once
    monkeypatch.setattr(runner, "AHEAD", ahead)

    again, other = play(STORIES, 4)

    assert again == messages
    assert other.state == replay.state
    assert other.dead_letters == replay.dead_letters


def test_a_call_that_is_read_ahead_and_is_not_plain_becomes_the_same_dead_letter() -> None:
    records = [record for record in STORIES if record.topic == topics.API_CALLS][:5]
    spoilt = [*records[:2], records[2]._replace(value=b"{}"), records[3]._replace(value=b"no JSON"), records[4]]

    messages, replay = play(spoilt, 1)

    letters = [json.loads(message.value) for message in messages if message.topic == topics.DEAD_LETTERS]
    assert [letter["offset"] for letter in letters] == [2, 3]
    assert replay.events == 3 + sum(map(_internal, messages))


def test_the_state_in_the_end_is_what_a_changelog_would_hold(once: tuple[list[Message], Replay]) -> None:
    _, replay = once
    for kind in processor_specs(ActiveConfig(detector=OddTotals()), Options(partitions=4)):
        for partition in range(4):
            stage = kind.create(partition)
            stage.restore(replay.state[kind.name, partition].items())
            stage.on_restored()
            assert Player(stage).sweep(T0) == []


def test_a_recording_of_one_session_longer_than_a_chunk_is_replayed_whole() -> None:
    messages, replay = play(recorded([auth(0), *(call(1, event_id=f"c-{at}") for at in range(CHUNK * 2))]), 1)

    assert replay.dead_letters == 0
    assert replay.events == 1 + 2 * CHUNK + sum(map(_internal, messages))


def test_output_of_contexts_arrives_before_a_later_step() -> None:
    outputs = replayed(
        [
            telemetry(0, rooted=True),
            auth(1, device_id="phone-1"),
            auth(5, action="step_up_passed", device_id="phone-1"),
        ]
    )

    (revocation,) = {event["decision_id"] for event in of(outputs, topics.SESSION_REVOCATIONS)}
    assert revocation
    assert of(outputs, topics.SESSION_RISK)[0]["occurred_at"] == T0 + 1_000


# --- keys and partitions ----------------------------------------------------------------------------------


def test_a_key_lies_where_kafka_puts_it() -> None:
    # murmur2 of Kafka's own UtilsTest, made positive
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}

    for key, murmur2 in known.items():
        for partitions in (1, 4, 8, 1000):
            assert partition_of(key, partitions) == (murmur2 & 0x7FFFFFFF) % partitions
    assert partition_of(None, 8) == 0


KEYS: list[tuple[bytes, bytes | None]] = [
    (b'{"session_id":"s-1"}', b"s-1"),
    (b'{"session_id":"\xc3\xbc"}', "ü".encode()),
    (b'{"session_id":5}', None),
    (b'{"other":"x"}', None),
    (b'["session_id"]', None),
    (b"{", None),
    (b"", None),
    (b"\xff", None),
    (b'{"session_id":"\\ud800"}', None),
]


@pytest.mark.parametrize(("value", "key"), KEYS)
def test_the_key_of_a_line_is_the_member_its_topic_is_keyed_by(value: bytes, key: bytes | None) -> None:
    assert key_in(value, "session_id") == key
    assert record_key(InputRecord(topics.API_CALLS, 1, value, 0)) == key


def lines(*values: bytes) -> Iterator[InputRecord]:
    for number, value in enumerate(values, start=1):
        yield InputRecord(topics.API_CALLS, number, value, T0)


def test_a_line_that_is_no_event_is_a_dead_letter_and_the_rest_is_played() -> None:
    good = written(call(0))
    replay = Replay(processor_specs(ActiveConfig(), Options()), 4)

    outputs = read(replay.run(lines(b"{", good, b'{"session_id":"s-1"}', b"\xff\xfe")))

    assert replay.dead_letters == len(of(outputs, topics.DEAD_LETTERS)) == 3
    assert [event["kind"] for event in of(outputs, topics.PRINCIPAL_ACTIVITY)] == ["started"]


def written(event: dict[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


def test_an_empty_recording_is_no_trouble() -> None:
    assert play([], 4)[0] == []
