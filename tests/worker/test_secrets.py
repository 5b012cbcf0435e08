"""No password and no whole token id where people, or whoever reads over their shoulder, see it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest_v0
from click.testing import CliRunner

from pipeline.assembly import processor_specs
from pipeline.cli import main
from pipeline.console import shortened
from pipeline.control.active import ActiveConfig
from pipeline.kafka.connection import Connection
from pipeline.offline.docs.settings_page import table
from pipeline.offline.replay.recording import InputRecord, write
from pipeline.offline.replay.runner import Replay
from pipeline.offline.scenarios.playback import in_order, stories
from pipeline.offline.scenarios.scenario import find_directory
from pipeline.offline.scenarios.scenario import load as load_story
from pipeline.process_setup import LOGGERS_WITH_SECRETS, configure_logging, log_kafka_client
from pipeline.sessions.processor import Options
from pipeline.settings.loading import load
from schemas.decode import encode
from schemas.topics import API_CALLS, DEAD_LETTERS, SESSION_REVOCATIONS
from tests.support.run_processors import Desk, Rec
from tests.support.samples import T0, call

PASSWORD = "open-sesame-4711"  # noqa: S105 - opens nothing
TOKEN = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"  # noqa: S105 - of nobody

# --- Passwords ---


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in table():
        monkeypatch.delenv(row.env, raising=False)
    monkeypatch.setenv("SESSION_RISK_BROKER", "127.0.0.1:1")
    monkeypatch.setenv("SESSION_RISK_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("SESSION_RISK_SASL_USERNAME", "me")
    monkeypatch.setenv("SESSION_RISK_SASL_PASSWORD", PASSWORD)


COMMANDS = (
    "settings",
    "settings --json",
    "topics list",
    "topics acls",
    "topics acls --apply",
    "topics check",
)


@pytest.mark.parametrize("line", [*COMMANDS, "worker", "explain x", "model mode observe"])
def test_no_command_says_the_password(signed_in: None, line: str) -> None:
    done = CliRunner().invoke(main, line.split())

    assert done.exit_code in (0, 3), done.output
    assert done.output
    assert PASSWORD not in done.output


def test_whoever_connects_does_not_show_the_password(signed_in: None) -> None:
    connection = Connection.of(load())

    assert PASSWORD not in f"{connection!r} {connection} {connection.kafka_principal} {connection.for_faust()}"
    assert connection.for_aiokafka()["sasl_plain_password"] == PASSWORD
    assert connection.for_librdkafka()["sasl.password"] == PASSWORD


def test_who_does_not_sign_in_sends_no_password_anywhere(monkeypatch: pytest.MonkeyPatch, signed_in: None) -> None:
    monkeypatch.setenv("SESSION_RISK_SECURITY_PROTOCOL", "SSL")
    connection = Connection.of(load())

    assert connection.for_librdkafka() == {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "SSL"}
    assert PASSWORD not in str(connection.for_aiokafka())


@pytest.fixture
def levels() -> Iterator[None]:
    """The levels of logging are afterwards what they were."""
    loggers = [logging.getLogger(name) for name in (None, "aiokafka", *LOGGERS_WITH_SECRETS)]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
def test_requests_are_never_logged_for_passwords_and_records_are_in_them(
    level: str, levels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert PASSWORD in repr(SaslAuthenticateRequest_v0(f"\0me\0{PASSWORD}".encode()))

    configure_logging(level)
    log_kafka_client()

    assert logging.getLogger("pipeline").isEnabledFor(logging.getLevelName(level))
    assert [name for name in LOGGERS_WITH_SECRETS if logging.getLogger(name).isEnabledFor(logging.DEBUG)] == []
    assert LOGGERS_WITH_SECRETS == ("aiokafka.conn", "aiokafka.producer.producer")


# --- Token ids ---


def test_a_token_id_is_told_by_its_beginning_and_a_short_one_not_at_all() -> None:
    assert [shortened(text) for text in (TOKEN, "ninechars", "eight-ch", "a")] == ["b5bb…", "nine…", "…", "…"]


def test_nothing_that_leaves_holds_a_token_id_in_any_story() -> None:
    events = in_order(event for story in stories(find_directory(), T0) for event in story.events)
    names = {str(event["token_id"]) for _, event in events if event.get("token_id")}
    tokens = {name: f"{TOKEN[:-6]}{number:06}" for number, name in enumerate(sorted(names))}
    records = [
        InputRecord(topic, line, encode(_with_token(event, tokens)), event["occurred_at"])
        for line, (topic, event) in enumerate(events, start=1)
    ]
    replay = Replay(processor_specs(ActiveConfig(), Options(1)), 1)

    messages = list(replay.run(records))

    assert len(tokens) > 10
    assert {message.topic for message in messages} >= {"session-risk", "session-revocations"}
    assert [message for message in messages if TOKEN[:-6].encode() in message.value] == []


def _with_token(event: dict[str, Any], tokens: dict[str, str]) -> dict[str, Any]:
    return {**event, "token_id": tokens[event["token_id"]]} if event.get("token_id") else event


@pytest.mark.parametrize(
    "value",
    [
        encode(call(token_id=TOKEN)).replace(b'"tenant":"default"', b'"tenant":["' + TOKEN.encode() + b'"]'),
        encode(call(token_id=TOKEN)).replace(b'"ana"', b'"' + TOKEN.encode() * 3 + b'"'),
        encode(call(token_id=TOKEN)).replace(b'"token_id":', b'"token_id":['),
        encode(call(token_id=TOKEN)).replace(b'"api.call"', b'"' + TOKEN.encode() + b'"'),
        encode(call(token_id=TOKEN)).replace(b'"human"', b'"' + TOKEN.encode() + b'"'),
        TOKEN.encode(),
        b'{"' + TOKEN.encode(),
    ],
)
def test_why_a_record_could_not_be_read_is_said_without_what_it_holds(value: bytes) -> None:
    context = Desk()

    outputs = context.take(API_CALLS, [Rec(API_CALLS, 0, 0, T0, b"s-1", value)])

    (letter,) = [sent_message.body for sent_message in outputs if sent_message.topic == DEAD_LETTERS]
    assert TOKEN not in letter["reason"]
    assert [reason for reason in context.dead if TOKEN in reason] == []
    assert [sent_message.topic for sent_message in outputs] == [DEAD_LETTERS]


def test_evidence_that_is_looked_up_shows_a_token_by_its_beginning(tmp_path: Path) -> None:
    story = load_story(find_directory() / "e-stolen-cookie.toml", T0)
    with write(tmp_path / "in") as writer:
        for topic, event in story.events:
            writer.event(topic, {**event, "token_id": TOKEN} if event.get("token_id") else event)
    _run("replay", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--partitions", "1")
    lines = (tmp_path / "out" / f"{SESSION_REVOCATIONS}.jsonl").read_text(encoding="utf-8").splitlines()
    where = [json.loads(lines[0])["decision_id"], "--in", str(tmp_path / "out")]

    shown = _run("explain", *where, "--recording", str(tmp_path / "in"))
    events = json.loads(_run("explain", *where, "--recording", str(tmp_path / "in"), "--json"))["events"]

    assert TOKEN not in shown
    assert {event["token_id"] for event in events} == {"b5bb…"}


def _run(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout
