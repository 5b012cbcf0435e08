"""A worker on Apache Kafka with tenancy and pseudonyms on: whom it believes, and whom it names to whom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from pipeline.kafka.client import open_writer, read_retained
from pipeline.offline.scenarios.playback import Timed
from pipeline.processing.processor import Message
from pipeline.processing.pseudonyms import read_keys
from schemas.decode import encode, record_key
from schemas.topics import (
    API_CALLS,
    AUTH_EVENTS,
    DEAD_LETTERS,
    SESSION_FEEDBACK,
    SESSION_REVOCATIONS,
    SESSION_RISK,
)
from tests.support.model_workers import Fleet, ended_in_order, now
from tests.support.samples import T0, auth, call, feedback

pytestmark = pytest.mark.kafka

SECRET = "a-secret-of-the-tests-that-stands-nowhere"  # noqa: S105 - keeps nothing


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker with tenancy on, which speaks of people by pseudonyms and logs all it can."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "keys").write_text(f"k1 {SECRET}\n", encoding="utf-8")
    keys = str(folder / "keys")
    fleet = Fleet(folder, 'mode = "enforce"', tenancy="true", pseudonym_key_file=keys, log_level="DEBUG")
    fleet.begin()
    yield from ended_in_order(fleet)


Sent = tuple[Timed, tuple[str, ...]]
"""An event, and the tenants that its headers name."""


async def _send(fleet: Fleet, sent: list[Sent]) -> None:
    async with open_writer(fleet.connection) as writer:
        for (topic, event), tenants in sent:
            message = Message(topic, record_key(topic, event), encode(event))
            await writer.send(message, tenants=[tenant.encode() for tenant in tenants])
        await writer.flush()


async def _dead(fleet: Fleet) -> list[dict[str, Any]]:
    letters = [
        json.loads(record.value or b"") async for record in read_retained(fleet.connection, [DEAD_LETTERS], fleet.begun)
    ]
    return sorted(letters, key=lambda fields: (fields["topic"], fields["partition"], fields["offset"]))


def test_a_stranger_ends_nobodys_session_and_the_owners_word_ends_it_under_a_pseudonym(fleet: Fleet) -> None:
    session, person = f"s-{uuid4().hex}", f"person-{uuid4().hex}"
    at = (now() - T0) / 1000
    subject = {"tenant": "acme", "session_id": session, "principal_id": person}
    verdict = {"tenant": "acme", "session_id": session, "verdict": "confirmed_compromised"}
    forged: list[Sent] = [
        ((SESSION_FEEDBACK, feedback(at, **verdict)), ("globex",)),
        ((API_CALLS, call(at, **subject)), ()),
        ((API_CALLS, call(at, **subject)), ("acme", "globex")),
    ]
    asyncio.run(_send(fleet, [((AUTH_EVENTS, auth(at, **subject)), ("acme",)), *forged]))
    fleet.settle()

    assert sorted((fields["topic"], fields["reason"]) for fields in asyncio.run(_dead(fleet))) == [
        (API_CALLS, "tenant: no record header 'tenant'; the gateway before the topic must set exactly one"),
        (
            API_CALLS,
            "tenant: several record headers 'tenant'; the gateway before the topic must set exactly one",
        ),
        (SESSION_FEEDBACK, "tenant: the event says 'acme', its record header 'tenant' says 'globex'"),
    ]
    assert fleet.received(session, SESSION_REVOCATIONS) == []
    (worker,) = fleet.workers
    assert worker.series("dead_letters_total") == {("tenant",): 3.0}

    asyncio.run(_send(fleet, [((SESSION_FEEDBACK, feedback(at, **verdict)), ("acme",))]))
    fleet.settle()

    (command,) = fleet.received(session, SESSION_REVOCATIONS)
    (decision,) = fleet.received(session, SESSION_RISK)
    pseudonyms = read_keys(fleet.folder / "keys")
    assert command["principal_id"] == person
    assert decision["principal_id"] == pseudonyms.of("principal_id", "acme", person)
    for hidden in (SECRET, person):
        by_key = {
            "log": worker.output(),
            "metrics": worker.page(),
            "dead letters": str(asyncio.run(_dead(fleet))),
        }
        assert [where for where, text in by_key.items() if hidden in text] == []
