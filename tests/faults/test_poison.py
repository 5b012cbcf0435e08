"""Records that cannot be read become dead letters and harm nobody."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, NamedTuple
from uuid import uuid4

import aiokafka
import pytest
from aiokafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.detections import DETECTION_IDS
from pipeline.kafka.client import start_group_at_end
from pipeline.kafka.connection import Connection
from pipeline.kafka.partitioner import partition_of
from pipeline.kafka.time_alignment import MAX_AHEAD_MS
from pipeline.kafka.topics import create_topics, needed_topics
from schemas.decode import decode_chunk, encode, record_key
from schemas.topics import API_CALLS, DEAD_LETTERS, SESSION_REVOCATIONS, TOPICS
from tests.faults.conftest import Player
from tests.faults.group import KINDS as STAGES
from tests.faults.group import SOURCES, Group, until
from tests.faults.known import PARTITIONS
from tests.faults.outcome import Place, Wrong
from tests.faults.poison import Event, fuzzed, poisoned
from tests.faults.trial import Trial
from tests.support.header_names import spoil_headers
from tests.support.run_processors import topic_of
from tests.support.samples import UNASKED, ack, activity, attempt, auth, binding, call, context, feedback, telemetry
from tests.support.worker_process import Worker

NOW = 1_772_409_600_000
CALL = {
    "type": "api.call",
    "event_id": "e-1",
    "occurred_at": NOW,
    "session_id": "s-1",
    "principal_id": "ana",
    "principal_kind": "human",
    "operation": "GET /accounts/{id}",
    "status": 200,
}
EVENTS: dict[str, Event] = {
    topic_of(event): event
    for event in (
        auth(),
        call(),
        telemetry(rooted=False),
        context(),
        binding(),
        activity(),
        attempt(),
        feedback(),
        ack(),
    )
}
"""An event of each topic that is read."""


def test_each_of_ten_thousand_poisoned_records_is_refused_and_none_of_those_beside_them() -> None:
    chance = random.Random(1)
    values = [poisoned(CALL, chance) if index % 2 else encode(CALL) for index in range(20_000)]
    keys = [record_key(API_CALLS, CALL)] * len(values)

    refused = set()
    for start in range(0, len(values), 500):
        part = slice(start, start + 500)
        decoded = decode_chunk(API_CALLS, values[part], keys[part], now_ms=NOW)
        refused |= {start + rejected.index for rejected in decoded.rejected}
        assert len(decoded.events) + len(decoded.rejected) == 500

    assert refused == set(range(1, 20_000, 2))


def test_every_topic_that_is_read_is_poisoned() -> None:
    assert set(EVENTS) == set(SOURCES)


@pytest.mark.faults
def test_one_record_in_a_hundred_cannot_be_read(play: Player) -> None:
    async def nothing_else(one: Trial) -> None:
        await one.moment()
        await one.hurt()

    run = play(nothing_else, poison_share=0.01)
    assert (run.wrong, run.restarts) == (Wrong(), 0)


# --- a backlog ----------------------------------------------------------------------------------------------

MUTATIONS = 10_000
SHARE = 0.01
SESSIONS = 2_000
CALLS = round(MUTATIONS / SHARE * (1 - SHARE)) // SESSIONS
"""Calls of a session, all at one moment: what it reads has no time to count less."""
RECORDS = 10
SORTS = 150
"""More series of dead letters than there may be, whatever comes."""
SETTLE_SECONDS = 240.0
POLICY = f"""
name = "poison"
low_features_share = 1e-9
anomaly_weights = [0, 0, 0]
{UNASKED}[guard]
revocations_per_minute = 100000
[detections.mass_read]
weight = 20.0
[detections.mass_read.limits]
minimum = {(CALLS - 0.5) * RECORDS}
records = {(CALLS - 0.5) * RECORDS}
""" + "".join(f"[detections.{rule}]\nenabled = false\n" for rule in DETECTION_IDS if rule != "mass_read")
"""One call more or less makes the difference, and nothing else makes any."""


class Sent(NamedTuple):
    """A record to be sent."""

    topic: str
    key: bytes | None
    value: bytes | None


def _calls(name: str, at: int, count: int) -> Iterator[Sent]:
    head = (
        f'{{"type":"api.call","occurred_at":{at},"session_id":"{name}","principal_id":"of-{name}",'
        f'"principal_kind":"human","operation":"GET /accounts/{{id}}","status":200,"records":{RECORDS},'
        f'"sensitivity":"confidential","event_id":"{name}-'
    )
    for number in range(count):
        yield Sent(API_CALLS, name.encode(), f'{head}{number}"}}'.encode())


def _backlog(suffix: str, at: int) -> tuple[list[str], Iterator[Sent]]:
    """The sessions that must fall, and all records: those of a greedy and of a sparing one in turn."""
    greedy = [f"greedy-{number}{suffix}" for number in range(SESSIONS // 2)]

    def records() -> Iterator[Sent]:
        for name in greedy:
            yield from _calls(name, at, CALLS)
            yield from _calls(name.replace("greedy", "sparing"), at, CALLS - 1)

    return greedy, records()


def _mixed(records: Iterable[Sent], chance: random.Random, now_ms: int) -> Iterator[tuple[Sent, bool]]:
    """*records*, and at random places among them, the same number on each topic, what cannot be read."""
    turns = [topic for topic in EVENTS for _ in range(MUTATIONS // len(EVENTS) + 1)][:MUTATIONS]
    chance.shuffle(turns)
    for record in records:
        yield record, False
        if turns and chance.random() < SHARE * 1.1:
            topic = turns.pop()
            value = fuzzed(topic, EVENTS[topic], chance, now_ms)
            yield Sent(topic, record_key(topic, EVENTS[topic]), value), True
    assert not turns


@dataclass
class Scene:
    """A group with a worker, and what is on the topics since it began."""

    connection: Connection
    group: Group
    worker: Worker
    begins: dict[TopicPartition, int]

    async def settle(self) -> None:
        """Return when everything is done; fails the test where the worker ends instead."""

        async def settled() -> bool:
            assert self.worker.process.poll() is None, self.worker.output()[-3000:]
            return await self.group.is_settled()

        await until("everything is done", settled, SETTLE_SECONDS)

    async def output(self) -> tuple[list[Any], list[Event]]:
        """Return the records that command revocations, and the dead letters."""
        records = await self.group.since(self.begins)
        letters = [json.loads(record.value) for record in records if record.topic == DEAD_LETTERS]
        return [record for record in records if record.topic == SESSION_REVOCATIONS], letters


@asynccontextmanager
async def _scene(bootstrap: str, folder: Path) -> AsyncIterator[Scene]:
    """Give a group whose worker is yet to be started."""
    connection, app_id = Connection(bootstrap), f"poison-{uuid4().hex[:8]}"
    await create_topics(connection, needed_topics(app_id, [stage.name for stage in STAGES], PARTITIONS), 1)
    await start_group_at_end(connection, app_id, SOURCES)
    policy = folder / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    settings = {
        "SESSION_RISK_BROKER": bootstrap,
        "SESSION_RISK_APP_ID": app_id,
        "SESSION_RISK_PARTITIONS": str(PARTITIONS),
        "SESSION_RISK_POLICY_FILE": str(policy),
        "SESSION_RISK_DATA_DIR": str(folder / "data"),
    }
    group = Group(connection, app_id)
    begins = dict(await group.ends((SESSION_REVOCATIONS, DEAD_LETTERS)))
    worker = Worker(settings, folder / "worker.log")
    try:
        yield Scene(connection, group, worker, begins)
    finally:
        worker.kill()


async def _send_in_bulk(connection: Connection, records: Iterable[tuple[Sent, bool]]) -> list[Place]:
    """Send records, and return where those are that cannot be read."""
    places: list[Place] = []
    async with aiokafka.AIOKafkaProducer(
        **connection.for_aiokafka(), max_batch_size=400_000, max_request_size=1_000_000
    ) as kafka:
        lines: dict[tuple[str, int], tuple[Any, list[int]]] = {}

        async def leave(topic: str, partition: int) -> None:
            batch, spoilt = lines.pop((topic, partition))
            sent = await (await kafka.send_batch(batch, topic, partition=partition))
            places.extend((topic, partition, sent.offset + index) for index in spoilt)

        for (topic, key, value), is_poison in records:
            place = topic, partition_of(key or b"", TOPICS[topic].partitions(PARTITIONS))
            while True:
                batch, spoilt = lines.setdefault(place, (kafka.create_batch(), []))
                if batch.append(key=key, value=value, timestamp=None) is not None:
                    break
                await leave(*place)
            if is_poison:
                spoilt.append(batch.record_count() - 1)
        for place in list(lines):
            await leave(*place)
    return places


@pytest.mark.faults
def test_ten_thousand_mutations_among_a_million_records_are_dead_letters_and_nothing_else_is(
    bootstrap: str, tmp_path: Path, seed: int
) -> None:
    async def run() -> None:
        now_ms = int(time() * 1000)
        greedy, records = _backlog(f"-{seed}-{now_ms}", now_ms)
        async with _scene(bootstrap, tmp_path) as scene:
            mixed = _mixed(records, random.Random(seed), now_ms)
            places = await _send_in_bulk(scene.connection, mixed)
            await scene.settle()
            commands, letters = await scene.output()
            counted = scene.worker.series("dead_letters_total")
            assert scene.worker.end() == 0

        assert len(places) == MUTATIONS
        assert Counter(_place(letter) for letter in letters) == Counter(places)
        assert all(letter["reason"] for letter in letters)
        assert Counter(json.loads(command.value)["session_id"] for command in commands) == Counter(greedy)
        assert sum(counted.values()) == MUTATIONS
        assert len(counted) < SORTS

    asyncio.run(run())


def _place(letter: Event) -> Place:
    return letter["topic"], letter["partition"], letter["offset"]


# --- what brokers let through -------------------------------------------------------------------------------

MEBIBYTE = 2**20
FAR_MS = 32_503_680_000_000
"""The year 3000."""
TIMES = (-1, 0, 1, NOW, FAR_MS)


def _allow_anything(bootstrap: str) -> None:
    """Have the broker take large records and any time on the topic of calls."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = {"max.message.bytes": 2 * MEBIBYTE, "message.timestamp.after.max.ms": 2**63 - 1}
    entries = [
        ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, API_CALLS, incremental_configs=entries)
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


class Odd(NamedTuple):
    """A record that is strange, and how the reason of its dead letter begins; empty: it is read."""

    reason: str
    key: bytes | None
    value: bytes | None
    timestamp_ms: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def _odd(sessions: Sequence[str], last: Sequence[Sent]) -> list[Odd]:
    """The *last* call of each of *sessions*, at an odd time or with headers, and what cannot be read."""
    own, whole = sessions[0].encode(), last[0].value or b""
    large = whole[:-1] + b',"more":"' + b"x" * (MEBIBYTE - len(whole) - len(b',"more":""')) + b'"}'
    headers = [("trace", b"1"), ("\u00fc", b"\xff" * 1_000), ("trace", b""), ("no-text", b"1")]
    return [
        Odd(f"value of {MEBIBYTE} bytes, at most 65536 are read", own, large),
        Odd("empty value", own, None),
        Odd("empty value", own, b""),
        Odd("key: must be the event's session_id, got no key", None, whole),
        Odd("key: must be the event's session_id, got another of 100000 bytes", b"k" * 100_000, whole),
        Odd("key: must be the event's session_id, got another of 0 bytes", b"", whole),
        *(Odd("", sent.key, sent.value, at) for sent, at in zip(last, TIMES, strict=False)),
        Odd("", last[-1].key, last[-1].value, None, headers),
    ]


@pytest.mark.faults
def test_a_large_record_one_without_value_or_key_and_one_of_any_time_or_header_stop_nothing(
    bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_headers(monkeypatch)

    async def run() -> None:
        now_ms = int(time() * 1000)
        sessions = [f"greedy-{number}-{now_ms}" for number in range(len(TIMES) + 1)]
        lives = [list(_calls(name, now_ms, CALLS)) for name in sessions]
        async with _scene(bootstrap, tmp_path) as scene:
            await asyncio.to_thread(_allow_anything, bootstrap)
            await _send_in_bulk(scene.connection, ((sent, False) for life in lives for sent in life[:-1]))
            await scene.settle()
            assert await scene.output() == ([], [])

            odd = _odd(sessions, [life[-1] for life in lives])
            expected = await _send_odd(scene.connection, odd)
            await scene.settle()
            commands, letters = await scene.output()
            assert scene.worker.end() == 0

        assert {_place(letter): letter["reason"] for letter in letters} == expected
        assert len(letters) == len(expected)
        assert sorted(json.loads(command.value)["session_id"] for command in commands) == sessions
        assert [
            command.timestamp for command in commands if not NOW <= command.timestamp <= now_ms + MAX_AHEAD_MS
        ] == []

    asyncio.run(run())


async def _send_odd(connection: Connection, odd: Sequence[Odd]) -> dict[Place, str]:
    """Send records one after the other; return the places of those that cannot be read, with the reason."""
    reasons: dict[Place, str] = {}
    async with aiokafka.AIOKafkaProducer(**connection.for_aiokafka(), max_request_size=2 * MEBIBYTE) as kafka:
        for reason, key, value, timestamp_ms, headers in odd:
            sent = await kafka.send_and_wait(API_CALLS, value, key, None, timestamp_ms, headers=list(headers) or None)
            if reason:
                reasons[sent.topic, sent.partition, sent.offset] = reason
    return reasons
