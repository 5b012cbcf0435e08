"""The intake on Apache Kafka: killed again and again, late to begin, without its topics."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import create_topics, needed_topics
from pipeline.transmitter import leader
from pipeline.transmitter.protocol import CAEP
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.encryption import load
from pipeline.transmitter.tokens.builder import DecodedRecord
from pipeline.transmitter.tokens.events import TOPICS
from tests.support.transmitter_on_kafka import fail_once, listening, now_ms, tell
from tests.support.transmitter_records import new_store, queued, revocation, stream, token_builder
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

HERE = Path(__file__).parent.parent
PARTITIONS = 8
SESSIONS, ROUNDS, KILLS = 50, 40, 6
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def connection() -> Connection:
    found = Connection(os.environ["SESSION_RISK_BROKER"])
    needed = [needed_topic for needed_topic in needed_topics("t", [], PARTITIONS) if needed_topic.name in TOPICS]
    asyncio.run(create_topics(found, needed, 1))
    return found


class Intakes:
    """Intakes as processes, one at a time, and the store they share."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self.group = f"transmitter-{uuid4().hex[:8]}"
        self.arguments = [
            connection.bootstrap,
            self.group,
            f"sqlite:///{folder / 'store.db'}",
            str(folder / "keys"),
        ]
        self.store = open_store(self.arguments[2], load(folder / "keys"))
        with self.store.begin() as conn:
            streams.add(conn, self.store.sealer, stream(events_requested=(f"{CAEP}session-revoked",)))
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.running = subprocess.Popen(
            [sys.executable, str(HERE / "support" / "transmitter_on_kafka.py"), *self.arguments],
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )

    def kill(self) -> None:
        assert self.running is not None
        assert self.running.poll() is None, "it ended by itself"
        self.running.send_signal(signal.SIGKILL)
        self.running.wait(30)


@pytest.fixture
def intakes(connection: Connection, tmp_path: Path) -> Iterator[Intakes]:
    found = Intakes(connection, tmp_path)
    yield found
    if found.running is not None and found.running.poll() is None:
        found.kill()
    found.store.close()


def received(run: str) -> list[DecodedRecord]:
    """Commands of many sessions, each of several decisions, round after round."""
    return [
        revocation(
            session_id=f"{run}-{session}",
            principal_id=f"{run}-p{session}",
            decision_id=f"{run}-{number}-{session}",
            revocation_id=f"{run}-r-{number}-{session}",
            decided_at=now_ms(),
            deadline=now_ms() + 600_000,
        )
        for number in range(ROUNDS)
        for session in range(SESSIONS)
    ]


def later() -> int:
    """An hour from now: by this clock, whatever there is is too old for a group that never read."""
    return now_ms() + HOUR_MS


def of(run: str, store: Store) -> list[Any]:
    """The tokens of a run: the broker is shared with other tests."""
    return [row for row in queued(store) if row.txn.startswith(f"{run}-")]


def test_an_intake_killed_again_and_again_loses_and_doubles_nothing_and_keeps_the_order_of_each_subject(
    connection: Connection, intakes: Intakes
) -> None:
    run, chance = uuid4().hex[:8], random.Random(6)  # noqa: S311 - when to kill
    decoded_records = received(run)
    asyncio.run(tell(connection, *decoded_records))

    for kill in range(KILLS):
        before = len(of(run, intakes.store))
        intakes.start()
        until(
            f"more tokens after {kill} kills",
            lambda: len(of(run, intakes.store)),
            before.__lt__,
        )
        time.sleep(chance.uniform(0, 0.1))
        intakes.kill()
    intakes.start()
    rows = until("every token", lambda: of(run, intakes.store), lambda seen: len(seen) >= len(decoded_records))

    assert sorted(row.txn for row in rows) == sorted(
        decoded_record.record["decision_id"] for decoded_record in decoded_records
    )
    for session in range(SESSIONS):
        mine = [row.txn for row in rows if row.txn.endswith(f"-{session}")]
        assert mine == [f"{run}-{number}-{session}" for number in range(ROUNDS)]
        assert len({row.lane for row in rows if row.txn.endswith(f"-{session}")}) == 1


def test_a_group_that_never_read_begins_a_few_minutes_back_and_keeps_its_place_from_then_on(
    connection: Connection, tmp_path: Path
) -> None:
    run, group = uuid4().hex[:8], f"transmitter-{uuid4().hex[:8]}"
    old, late, last = (
        revocation(decision_id=f"{run}-{name}", revocation_id=f"{run}-{name}") for name in ("old", "late", "last")
    )
    made = token_builder(new_store(tmp_path, stream()))

    async def story() -> None:
        await tell(connection, old)
        async with listening(connection, made, group, clock=later):
            pass  # an hour later: whatever there is, is old
        await tell(connection, late)
        async with listening(connection, made, group) as this_listening:
            await this_listening.until(lambda: len(of(run, made.store)) == 1, "what came since")
            await tell(connection, last)
            await this_listening.until(lambda: len(of(run, made.store)) == 2, "what comes now")

    asyncio.run(story())

    assert [row.txn for row in of(run, made.store)] == [f"{run}-late", f"{run}-last"]
    made.store.close()


@pytest.mark.parametrize("asked", ["offsets_for_times", "committed", "commit", "getmany", "position"])
def test_brokers_that_fail_once_are_read_anew_and_nothing_of_what_they_gave_is_lost(
    connection: Connection,
    tmp_path: Path,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(leader, "RETRY_S", 0.05)
    failed = fail_once(monkeypatch, asked)
    run, made = uuid4().hex[:8], token_builder(new_store(tmp_path, stream()))

    async def story() -> None:
        async with listening(connection, made, f"transmitter-{run}", clock=later) as this_listening:
            await tell(connection, revocation(decision_id=f"{run}-d", revocation_id=f"{run}-r"))
            await this_listening.until(lambda: len(of(run, made.store)) == 1 and bool(failed), "the token")

    asyncio.run(story())
    assert "reading Kafka is suspended: " in caplog.text
    made.store.close()
