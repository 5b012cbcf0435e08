"""Records of topics are replayed like a recording; verdicts are sent to Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiokafka
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.offline.replay.from_kafka import read_spooled, spool_topics
from pipeline.offline.replay.recording import INPUT_TOPICS, read, write
from schemas.topics import API_CALLS, SESSION_FEEDBACK, SESSION_RISK
from tests.support.counting_processor import produce, read_all
from tests.support.run_processors import Event, record, topic_of
from tests.support.samples import T0, auth, call

SESSIONS = [f"s-{number}" for number in range(12)]
READING: dict[str, Any] = {"records": 6_000, "sensitivity": "restricted"}
EVENTS: list[Event] = [
    *(auth(at, session_id=name, event_id=f"a-{at}") for at, name in enumerate(SESSIONS)),
    *(call(700 + at, session_id=name, event_id=f"c-{at}") for at, name in enumerate(SESSIONS)),
    call(800, session_id="s-3", event_id="c-99", **READING),
]


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A broker whose input topics have `EVENTS`, spread over partitions, and two invalid records."""
    with EmbeddedBroker() as broker:
        broker.create([*INPUT_TOPICS, SESSION_RISK])
        found = Connection(broker.bootstrap, embedded=True)
        lines = [record(event, 0) for event in EVENTS]
        asyncio.run(produce(found, [(line.topic, line.key or b"", line.value or b"") for line in lines]))
        asyncio.run(_tombstone(found))
        asyncio.run(produce(found, [(API_CALLS, b"s-1", b'{"no":\n"event"}')]))
        yield found


async def _tombstone(connection: Connection) -> None:
    async with aiokafka.AIOKafkaProducer(**connection.for_aiokafka()) as producer:
        await producer.send_and_wait(API_CALLS, key=b"s-1", value=None)


@pytest.fixture
def asked(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """The same broker, as the settings name it."""
    monkeypatch.setenv("SESSION_RISK_BROKER", connection.bootstrap)
    return connection


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same events as a recording."""
    folder = tmp_path_factory.mktemp("retained") / "recording"
    with write(folder) as writer:
        for event in EVENTS:
            writer.line(topic_of(event), record(event, 0).value or b"")
        writer.line(API_CALLS, b'{"no": "event"}')
    return folder


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_everything_the_topics_hold_comes_in_order_of_event_time(
    connection: Connection, recorded: Path, tmp_path: Path
) -> None:
    count = asyncio.run(spool_topics(connection, tmp_path, 0))
    records = list(read_spooled(tmp_path))

    assert count == len(records) == len(EVENTS) + 1
    assert sorted(record.value for record in records) == sorted(record.value for record in read(recorded))
    times = [record.occurred_at for record in records if b"occurred_at" in record.value]
    assert times == sorted(times)
    assert len(list(tmp_path.iterdir())) > 1


def test_what_came_before_is_left_out(connection: Connection, tmp_path: Path) -> None:
    assert asyncio.run(spool_topics(connection, tmp_path, 2**42)) == 0
    assert list(read_spooled(tmp_path)) == []


def test_the_topics_are_decided_on_as_a_recording_of_them_is(asked: Connection, recorded: Path, tmp_path: Path) -> None:
    topics, files = tmp_path / "topics", tmp_path / "files"
    assert _run("replay", "--from-topics", "--since", "2d", "--out", topics).exit_code == 0
    assert _run("replay", recorded, "--out", files).exit_code == 0

    assert (topics / f"{SESSION_RISK}.jsonl").read_bytes() == (files / f"{SESSION_RISK}.jsonl").read_bytes()
    done = _run("diff", topics, files)
    assert done.exit_code == 0, done.output
    assert [line["session_id"] for line in _lines(topics / f"{SESSION_RISK}.jsonl")] == ["s-3"]


# --- Verdicts ---


@pytest.fixture(scope="module")
def decision(connection: Connection) -> dict[str, Any]:
    """The newest decision on session s-3 of tenant acme; there is an older one."""
    decision: dict[str, Any] = {
        "tenant": "acme",
        "session_id": "s-3",
        "decision_id": "d-2",
        "occurred_at": T0,
        "reasons": [
            {"detection": "mass_read", "contribution": 6.0},
            {"detection": "mfa_fatigue", "contribution": 0.0},
        ],
    }
    for fields in ({**decision, "decision_id": "d-1", "reasons": []}, decision):
        asyncio.run(produce(connection, [(SESSION_RISK, b"s-3", json.dumps(fields).encode())]))
    return decision


def _verdict(connection: Connection, *arguments: str) -> tuple[Result, list[dict[str, Any]]]:
    """What `feedback` answers, and what it wrote."""
    before = len(asyncio.run(read_all(connection, SESSION_FEEDBACK)))
    done = _run("feedback", *arguments, "--by", "soc-7")
    records = asyncio.run(read_all(connection, SESSION_FEEDBACK))
    assert {tuple(record.headers) for record in records} <= {(("tenant", b"acme"),)}
    records_by_time = [json.loads(record.value or b"") for record in records]
    return done, sorted(records_by_time, key=lambda item: int(item["occurred_at"]))[before:]


def test_a_verdict_on_a_decision_names_its_session_and_what_counted(
    asked: Connection, decision: dict[str, Any]
) -> None:
    done, (fields,) = _verdict(asked, "d-2", "false_positive", "--note", "agreed", "--expires", "1h")

    assert done.exit_code == 0, done.output
    assert fields.pop("expires_at") - fields.pop("occurred_at") == 3_600_000
    assert fields == {
        "tenant": "acme",
        "decision_id": "d-2",
        "session_id": "s-3",
        "verdict": "false_positive",
        "reported_by": "soc-7",
        "note": "agreed",
        "detections": ["mass_read"],
    }


def test_a_verdict_on_a_session_applies_to_its_newest_decision(asked: Connection, decision: dict[str, Any]) -> None:
    done, (fields,) = _verdict(asked, "s-3", "true_positive")

    assert done.exit_code == 0, done.output
    assert (fields["decision_id"], fields["tenant"], "detections" in fields) == ("d-2", "acme", False)
    assert done.stdout == "true_positive on session s-3, decision d-2, by soc-7\n"


def test_a_session_nothing_was_decided_on_can_be_reported_by_its_tenant(
    asked: Connection, decision: dict[str, Any]
) -> None:
    done, records = _verdict(asked, "s-7", "confirmed_compromised")
    assert (done.exit_code, records) == (1, [])
    assert "has no decision s-7" in done.stderr
    assert "give its --tenant" in done.stderr

    done, (fields,) = _verdict(asked, "s-7", "confirmed_compromised", "--tenant", "acme")
    assert done.exit_code == 0
    assert (fields["session_id"], fields["tenant"]) == ("s-7", "acme")
    assert "decision_id" not in fields


def test_a_verdict_the_contract_refuses_is_not_sent(asked: Connection, decision: dict[str, Any]) -> None:
    done, records = _verdict(asked, "s-3", "unsure", "--note", "x" * 600)

    assert (done.exit_code, records) == (2, [])
    assert "note: " in done.stderr
