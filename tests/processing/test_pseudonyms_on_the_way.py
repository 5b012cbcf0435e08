"""Through all stages no name leaves to those who read, and who enforces still knows whom to stop."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import Replay
from pipeline.offline.scenarios.playback import in_order, stories
from pipeline.offline.scenarios.scenario import find_directory
from pipeline.processing.processor import Message
from pipeline.processing.pseudonyms import Pseudonyms, with_pseudonyms
from pipeline.sessions.processor import Options
from schemas.decode import encode
from schemas.naming import KEYED_TOPICS
from schemas.topics import (
    AUTH_EVENTS,
    DEAD_LETTERS,
    SESSION_FEEDBACK,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    SUPPRESSIONS,
)
from tests.support.pseudonym_keys import ONE, TWO
from tests.support.samples import T0, auth, feedback

PSEUDONYM = re.compile(rb"p:k1:[A-Za-z0-9_-]{22}")


@pytest.fixture(scope="module")
def received() -> list[InputRecord]:
    """All stories, with names that can be told from any other text; a verdict; what cannot be read."""
    events = in_order(event for story in stories(find_directory(), T0) for event in story.events)
    marked = [(topic, {**event, **_marked(event)}) for topic, event in events]
    last = marked[-1][1]["occurred_at"]
    session = next(event for topic, event in marked if topic == AUTH_EVENTS)
    at = session["occurred_at"] + 60_000
    verdict = {
        **feedback(session_id=session["session_id"], reported_by="MARK-owner", detections=["mass_read"]),
        "tenant": session.get("tenant"),
        "occurred_at": at,
        "expires_at": at + 1_000,
    }
    dead = {**auth(principal_id="MARK-dead"), "action": 7, "session_id": 7, "occurred_at": last}
    marked += [(SESSION_FEEDBACK, verdict), (AUTH_EVENTS, dead)]
    return [
        InputRecord(topic, line, encode(event), event["occurred_at"])
        for line, (topic, event) in enumerate(in_order(marked), start=1)
    ]


def _marked(event: dict[str, Any]) -> dict[str, str]:
    names = ("principal_id", "device_id")
    return {name: f"MARK-{name}-{event[name]}" for name in names if event.get(name)}


def _output(received: list[InputRecord], pseudonyms: Pseudonyms | None) -> list[Message]:
    kinds = with_pseudonyms(processor_specs(ActiveConfig(), Options(1, event_clock=True)), pseudonyms)
    return list(Replay(kinds, 1).run(received))


@pytest.fixture(scope="module")
def output(received: list[InputRecord]) -> list[Message]:
    return _output(received, ONE)


def test_no_name_leaves_to_those_who_read_and_commands_name_whom_to_stop(
    received: list[InputRecord], output: list[Message]
) -> None:
    addresses = {json.loads(record.value).get("ip") for record in received} - {None}
    left = [message for message in output if message.topic in KEYED_TOPICS]

    assert {message.topic for message in left} >= {SESSION_RISK, SESSION_FINDINGS, SUPPRESSIONS, DEAD_LETTERS}
    assert [message for message in left if b"MARK" in message.value + (message.key or b"")] == []
    assert [message for message in left for ip in addresses if b'"' + ip.encode() + b'"' in message.value] == []
    assert all(PSEUDONYM.search(message.value) for message in left if message.topic in (SESSION_RISK, SESSION_FINDINGS))
    commands = [json.loads(message.value) for message in output if message.topic == SESSION_REVOCATIONS]
    assert commands
    assert {command["principal_id"].startswith("MARK-principal_id-") for command in commands} == {True}


def test_the_same_key_gives_the_same_bytes_and_another_changes_nothing_but_pseudonyms(
    received: list[InputRecord], output: list[Message]
) -> None:
    other = _output(received, TWO)

    assert _output(received, ONE) == output
    assert other != output
    assert [_unnamed(message) for message in other] == [_unnamed(message) for message in output]


def test_what_is_decided_does_not_depend_on_pseudonyms(received: list[InputRecord], output: list[Message]) -> None:
    plain = _output(received, None)

    assert [(message.topic, _unnamed(ONE.pseudonymize(message))) for message in plain] == [
        (message.topic, _unnamed(message)) for message in output
    ]
    assert [message for message in output if message.topic not in KEYED_TOPICS] == [
        message for message in plain if message.topic not in KEYED_TOPICS
    ]


def _unnamed(message: Message) -> bytes:
    return re.sub(rb"p:k[12]:[A-Za-z0-9_-]{22}", b"somebody", message.value)
