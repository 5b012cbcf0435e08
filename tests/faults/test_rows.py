"""A changelog row of another version, cut or spoilt: it is brought up to date or refused, never misread."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import aiokafka
import pytest

from models.state.table import UnreadableRow
from pipeline.contexts.device.processor import device_context
from pipeline.contexts.network import network_context
from pipeline.contexts.principal.processor import principal_context
from pipeline.kafka.changelog import LOST_STATE, changelog_topic
from pipeline.kafka.client import delete_topics, start_group_at_end
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import create_topics, needed_topics
from tests.faults.fleet import Fleet, Worker
from tests.faults.group import KINDS as STAGES
from tests.faults.group import SOURCES, Group, until
from tests.faults.known import PARTITIONS, POLICY
from tests.support.run_processors import Desk, Event, Player
from tests.support.samples import activity, attempt, auth, binding, call, context, feedback, telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class Kind:
    """How a stage is made, and events after which its row says something; *bare* makes an older row of it."""

    make: Callable[[], Player]
    events: tuple[Event, ...]
    bare: Callable[[bytes], bytes]


def _unsummed(value: bytes) -> bytes:
    """A session's row as the version before wrote it: without its checksum."""
    return b"\x02" + value[1:-4]


def _json(value: bytes) -> bytes:
    """A context's row as the version before wrote it: the JSON alone."""
    return value[5:]


KINDS = {
    "session": Kind(Desk, (auth(0), call(1), feedback(2, verdict="confirmed_compromised")), _unsummed),
    "device": Kind(
        lambda: Player(device_context()),
        (telemetry(0, rooted=False), binding(1), telemetry(2, rooted=True)),
        _json,
    ),
    "principal": Kind(
        lambda: Player(principal_context()),
        (activity(0, device_id="phone-1", used=["scope:read"]), activity(9, kind="ended")),
        _json,
    ),
    "network": Kind(lambda: Player(network_context()), (attempt(0), attempt(1, action="sign_in_failed")), _json),
}


def _written(kind: str) -> tuple[Player, bytes, bytes]:
    """A stage that did something, and its row."""
    player = KINDS[kind].make()
    player.each(*KINDS[kind].events)
    key, value = max(player.rows.items(), key=lambda row: len(row[1]))
    return player, key, value


def _restored(kind: str, rows: Mapping[bytes, bytes]) -> Player:
    other = KINDS[kind].make()
    other.stage.restore(rows.items())
    other.stage.on_restored()
    return other


def _refusal(kind: str, key: bytes | None, value: bytes | None) -> str:
    stage = KINDS[kind].make().stage
    with pytest.raises(UnreadableRow) as refused:
        stage.restore([(key, value)])  # type: ignore[list-item]
    return str(refused.value)


def test_every_kind_of_stage_is_tried() -> None:
    assert set(KINDS) == {stage.name for stage in STAGES} == set(LOST_STATE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_the_version_before_says_what_it_said(kind: str) -> None:
    player, key, value = _written(kind)
    older = {**player.rows, key: KINDS[kind].bare(value)}
    assert older[key] != value

    then = KINDS[kind].events[-1] | {"event_id": "e-then"}
    saidses = [_restored(kind, rows).play(then) for rows in (older, player.rows)]

    assert saidses[0] == saidses[1]


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_with_a_flipped_bit_is_read(kind: str) -> None:
    _, key, value = _written(kind)
    chance = random.Random(kind)
    bits = {
        *range(8 * 16),
        *chance.sample(range(8 * len(value)), 400),
        *range(8 * len(value) - 40, 8 * len(value)),
    }

    for bit in sorted(bits):
        at = bit // 8
        spoilt = value[:at] + bytes([value[at] ^ 1 << bit % 8]) + value[at + 1 :]
        assert "\n" not in _refusal(kind, key, spoilt)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("older", [False, True], ids=["now", "before"])
def test_no_row_that_was_cut_is_read(kind: str, older: bool) -> None:
    _, key, value = _written(kind)
    value = KINDS[kind].bare(value) if older else value

    for length in {*range(40), *range(40, len(value), 17), len(value) - 1}:
        _refusal(kind, key, value[:length])


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_none_is_refused_with_the_reason(kind: str) -> None:
    player, key, value = _written(kind)
    other = KINDS[kind].make()
    stranger = key.replace(b"default", b"another")

    assert {
        "empty": "of version nothing" in _refusal(kind, key, b""),
        "of a version to come": "of version ff" in _refusal(kind, key, b"\xff" + value[1:]),
        "of another layout": _refusal(kind, key, b"\x03\0\0\0\0" + value[5:]).startswith(
            "a row that does not fit its checksum" if kind == "session" else "a row of version 03"
        ),
        "longer": bool(_refusal(kind, key, value + b"x")),
        "of another key": bool(_refusal(kind, stranger, value)),
        "without a key": "key" in _refusal(kind, None, value),
        "of a key that is none": "key" in _refusal(kind, b"default", value),
        "a tombstone of none": "key" in _refusal(kind, b"default", None),
        "noise": bool(_refusal(kind, key, random.Random(1).randbytes(len(value)))),
        "null": bool(_refusal(kind, key, b"null")),
        "JSON of somebody else": bool(_refusal(kind, key, b'{"hello": "world"}')),
    } == dict.fromkeys(_REASONS, True)
    assert player.rows != other.rows == {}


_REASONS = (
    "empty",
    "of a version to come",
    "of another layout",
    "longer",
    "of another key",
    "without a key",
    "of a key that is none",
    "a tombstone of none",
    "noise",
    "null",
    "JSON of somebody else",
)


def test_a_parent_is_read_with_its_children_of_the_version_before() -> None:
    desk = Desk()
    desk.play(auth(0))
    desk.play(context(1, source="lineage", relation="child", child_session_id="c-1"))

    older = {key: _unsummed(value) for key, value in desk.rows.items()}
    outputs = _restored("session", older).play(feedback(2, verdict="confirmed_compromised"))

    assert [message.key for message in outputs if message.body.get("relation")] == ["c-1"]


# --- with workers on Kafka ----------------------------------------------------------------------------------


@asynccontextmanager
async def _fleet(bootstrap: str, folder: Path) -> AsyncIterator[tuple[Fleet, Connection, str]]:
    """Give a fleet with topics of its own application, and no worker yet."""
    connection, app_id = Connection(bootstrap), f"rows-{uuid4().hex[:8]}"
    await create_topics(connection, needed_topics(app_id, [stage.name for stage in STAGES], PARTITIONS), 1)
    await start_group_at_end(connection, app_id, SOURCES)
    policy = folder / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    fleet = Fleet(bootstrap, app_id, policy, folder)
    try:
        yield fleet, connection, app_id
    finally:
        fleet.end_at_once()


async def _write(connection: Connection, topic: str, key: bytes, value: bytes) -> int:
    """Write a row to partition 3 of *topic*; return its offset."""
    async with aiokafka.AIOKafkaProducer(**connection.for_aiokafka()) as kafka:
        place = await kafka.send_and_wait(topic, value, key, partition=3)
        return int(place.offset)


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_ends_with_a_sentence_where_a_row_cannot_be_read_and_begins_anew_without(
    kind: str, bootstrap: str, tmp_path: Path
) -> None:
    _, key, value = _written(kind)
    spoilt = value[:50] + bytes([value[50] ^ 1]) + value[51:]

    async def run() -> None:
        async with _fleet(bootstrap, tmp_path) as (fleet, connection, app_id):
            topic = changelog_topic(app_id, kind)
            await _write(connection, topic, key, value)
            offset = await _write(connection, topic, key, spoilt)

            refused = fleet.start()
            assert await refused.ended() == 1
            assert _last(refused) == (
                f"the worker cannot go on: {topic}, partition 3, offset {offset}: a row that does not fit "
                "its checksum: it was cut or spoilt. Run the version of session-risk that wrote it. Or start "
                "with empty state: stop all workers, delete this topic, make it with `session-risk topics create`, "
                f"start them; what is lost is {LOST_STATE[kind]}"
            )

            await delete_topics(connection, [topic])
            topics = needed_topics(app_id, [stage.name for stage in STAGES], PARTITIONS)
            assert await create_topics(connection, topics, 1) == [topic]
            fleet.start()
            await until("a worker has its partitions", lambda: _joined(Group(connection, app_id)), 60)
            assert await fleet.end() == [0]

    asyncio.run(run())


async def _joined(group: Group) -> bool:
    return await group.members() == 1


# --- topics of other partition counts -----------------------------------------------------------------------


async def _uneven(connection: Connection, app_id: str, name: str, count: int) -> None:
    """Make all topics of *app_id*, the one called *name* with *count* partitions."""
    topics = needed_topics(app_id, [stage.name for stage in STAGES], PARTITIONS)
    uneven = [replace(topic, partitions=count) if topic.name == name else topic for topic in topics]
    await create_topics(connection, uneven, 1)


@pytest.mark.faults
@pytest.mark.parametrize("count", [PARTITIONS - 2, PARTITIONS + 1])
def test_a_worker_refuses_a_topic_of_another_partition_count(count: int, bootstrap: str, tmp_path: Path) -> None:
    connection, app_id = Connection(bootstrap), f"rows-{uuid4().hex[:8]}"
    name = changelog_topic(app_id, "device")
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")

    async def run() -> tuple[int, str]:
        await _uneven(connection, app_id, name, count)
        worker = Fleet(bootstrap, app_id, policy, tmp_path).start()
        return await worker.ended(), worker.output().splitlines()[-1]

    code, text = asyncio.run(run())
    assert code == 3
    assert text == (
        "session-risk: records that belong together must share a partition, and these topics have another number of "
        f"partitions: {name} has {count}, not {PARTITIONS}. If all have the same number, set SESSION_RISK_PARTITIONS "
        "to it; else delete these topics with their records, and create them with `session-risk topics create`"
    )


def _last(worker: Worker) -> str:
    """The last line that a worker said, less its time, level and place."""
    return worker.output().splitlines()[-1].partition(" CRITICAL pipeline.worker.process: ")[2]
