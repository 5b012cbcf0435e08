"""A worker that logs all it can, from start to end: what is marked as secret is looked for everywhere.

On the embedded broker, as `session-risk worker` starts it, with what can be read and what cannot.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from time import time

import pytest

from pipeline.kafka.changelog import changelog_topic
from pipeline.kafka.connection import Connection
from pipeline.kafka.topics import PROCESSOR_NAMES
from schemas.decode import encode
from schemas.naming import KEYED_TOPICS
from schemas.topics import (
    API_CALLS,
    DEAD_LETTERS,
    DEVICE_TELEMETRY,
    SESSION_CHALLENGES,
    SESSION_FEATURES,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    TOPICS,
)
from tests.support.counting_processor import produce, read_all
from tests.support.run_processors import Event, record
from tests.support.samples import T0, ack, auth, call, feedback, telemetry
from tests.support.waiting import until
from tests.support.worker_process import Worker

pytestmark = pytest.mark.slow

PASSWORD = "MARK-password-4711"  # noqa: S105 - opens nothing
KEY = "MARK-key-of-pseudonyms-that-is-nobodys"
TOKEN = "MARK-token-b5bb9d8014a0f9b1d61e21e796d78dccdf1352f2"  # noqa: S105 - of nobody
THUMBPRINT = "MARK-thumbprint-0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
PERSON, DEVICE, ADDRESS, ANALYST = "MARK-person", "MARK-device", "203.0.113.77", "MARK-analyst"

NOWHERE = (PASSWORD, KEY, TOKEN, THUMBPRINT)
"""What nobody is told, on whatever topic."""
NAMES = (PERSON, DEVICE, ADDRESS, ANALYST)
"""Who stands in commands, and in what workers tell each other, and is nobody's business elsewhere."""


@dataclass(frozen=True)
class Seen:
    """What a worker showed of itself: all of its log, its metrics, the records on each topic."""

    log: str
    metrics: str
    topics: dict[str, list[bytes]]


def _story(at: float) -> list[Event]:
    """A sign-in, restricted records read with a stolen token, a jailbroken phone, verdicts and answers."""
    subject = {
        "tenant": "acme",
        "principal_id": PERSON,
        "device_id": DEVICE,
        "ip": ADDRESS,
        "asn": 64_500,
        "token_id": TOKEN,
        "key_thumbprint": THUMBPRINT,
        "user_agent": "Firefox/141.0",
    }
    stolen = {**subject, "ip": "198.51.100.9", "asn": 64_666, "user_agent": "curl/8.0"}
    return [
        auth(at, **subject),
        call(at + 1, **subject, records=6_000, sensitivity="restricted"),
        call(at + 2, **stolen),
        telemetry(at + 3, tenant="acme", device_id=DEVICE, ip=ADDRESS, rooted=True, sim_id="MARK-sim"),
        feedback(at + 4, tenant="acme", reported_by=ANALYST, detections=["mass_read"]),
        ack(at + 5, tenant="acme", revocation_id="MARK-none"),
    ]


def _poison(event: Event) -> list[tuple[str, bytes, bytes]]:
    """*event* in every way that cannot be read, with its secrets where none belongs."""
    value = encode(event)
    wrong = [
        value.replace(b'"tenant":"acme"', b'"tenant":["' + TOKEN.encode() + b'"]'),
        value.replace(b'"human"', b'"' + TOKEN.encode() + b'"'),
        value.replace(b'"api.call"', b'"' + PASSWORD.encode() + b'"'),
        value[:-20],
        TOKEN.encode(),
        b"",
    ]
    return [
        *((API_CALLS, b"s-1", payload) for payload in wrong),
        (API_CALLS, TOKEN.encode(), value),
        (DEVICE_TELEMETRY, PERSON.encode(), encode({"type": "device.telemetry", "device_id": DEVICE})),
    ]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("marked")
    (folder / "keys").write_text(f"k1 {KEY}\n", encoding="utf-8")
    settings = {
        "embedded": "true",
        "log_level": "DEBUG",
        "sasl_username": "me",
        "sasl_password": PASSWORD,
        "pseudonym_key_file": str(folder / "keys"),
        "data_dir": str(folder / "data"),
        "app_id": "marked",
    }
    worker = Worker({f"SESSION_RISK_{name.upper()}": value for name, value in settings.items()}, folder / "log")
    try:
        until("partitions", worker.partitions, bool)
        (bootstrap,) = re.findall(r"an embedded broker listens on (\S+),", worker.output())
        connection = Connection(bootstrap, embedded=True)
        story, at = _story(time() - T0 / 1000 - 60), 0
        recs = [record(event, at) for event in story]
        sent = [(rec.topic, rec.key or b"", rec.value or b"") for rec in recs]
        asyncio.run(produce(connection, sent + _poison(story[1])))
        until("dead letters", lambda: sum(worker.series("dead_letters_total").values()), lambda dead: dead >= 9)
        until("a revocation", lambda: worker.series("revocations_total").get(("sent",), 0), bool)
        worker.turn()
        names = [*TOPICS, *(changelog_topic("marked", kind) for kind in PROCESSOR_NAMES)]
        topics = {name: asyncio.run(_values(connection, name)) for name in names}
        metrics = worker.page()
        assert worker.end() == 0
        yield Seen(worker.output(), metrics, topics)
    finally:
        worker.kill()


async def _values(connection: Connection, topic: str) -> list[bytes]:
    return [
        (this_record.key or b"") + b" " + (this_record.value or b"")
        for this_record in await read_all(connection, topic)
    ]


def test_the_worker_did_all_that_it_can_tell_of(seen: Seen) -> None:
    lines = {name for name, values in seen.topics.items() if values}

    assert lines >= {
        SESSION_RISK,
        SESSION_FINDINGS,
        SESSION_REVOCATIONS,
        SESSION_FEATURES,
        DEAD_LETTERS,
    }
    assert re.search(r"^\S+ \S+ DEBUG ", seen.log, re.MULTILINE)


@pytest.mark.parametrize("secret", [*NOWHERE, *NAMES], ids=str)
def test_neither_log_nor_metrics_tell_what_is_marked(seen: Seen, secret: str) -> None:
    assert [line for line in seen.log.splitlines() if secret in line] == []
    assert [line for line in seen.metrics.splitlines() if secret in line] == []


@pytest.mark.parametrize("secret", NOWHERE, ids=str)
def test_no_topic_but_the_inputs_tells_a_secret_not_even_a_changelog(seen: Seen, secret: str) -> None:
    inputs = {name for name, topic in TOPICS.items() if topic.direction == "input"}
    ours = {name: b"".join(values) for name, values in seen.topics.items() if name not in inputs}

    assert len(ours) == len(TOPICS) - len(inputs) + len(PROCESSOR_NAMES)
    assert [name for name, values in ours.items() if secret.encode() in values] == []


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_names_stand_in_commands_and_between_workers_only(seen: Seen, name: str) -> None:
    assert [topic for topic in KEYED_TOPICS if name.encode() in b"".join(seen.topics[topic])] == []


def test_a_command_names_whom_to_stop(seen: Seen) -> None:
    commands = [*seen.topics[SESSION_REVOCATIONS], *seen.topics[SESSION_CHALLENGES]]

    assert {PERSON.encode() in command and DEVICE.encode() in command for command in commands} == {True}
