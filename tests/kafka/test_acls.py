"""Each role has the least rights it needs, worked out from the table of topics; they are told and granted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from pipeline.assembly import processor_specs
from pipeline.cli import main
from pipeline.control.active import ActiveConfig
from pipeline.kafka.acls import Right, rights_of
from pipeline.kafka.changelog import changelog_topic
from pipeline.kafka.topics import PROCESSOR_NAMES
from pipeline.offline.docs.generate import RUNBOOK_PARTS, with_parts
from pipeline.offline.docs.settings_page import table
from pipeline.offline.replay.decision_log import OUTPUT_TOPICS
from pipeline.offline.replay.recording import INPUT_TOPICS
from pipeline.sessions.processor import Options
from schemas.topics import MODEL_CONTROL, ROLES, TOPICS, Role, Topic

KINDS = processor_specs(ActiveConfig(), Options(1))
every_topic = pytest.mark.parametrize("topic", TOPICS.values(), ids=list(TOPICS))

# --- The table ---


@every_topic
def test_a_topic_has_somebody_who_may_write_it_and_somebody_who_may_read_it(topic: Topic) -> None:
    for roles in (topic.writers, topic.readers):
        assert roles
        assert set(roles) <= set(ROLES)
        assert len(set(roles)) == len(roles)


@every_topic
def test_only_workers_write_what_they_make_and_they_write_nothing_else(topic: Topic) -> None:
    ours = topic.direction in ("internal", "output")

    assert (topic.writers == ("worker",)) == ours
    assert ("worker" in topic.writers) == ours


@every_topic
def test_what_is_internal_concerns_only_workers(topic: Topic) -> None:
    assert topic.direction != "internal" or topic.writers == topic.readers == ("worker",)


def test_workers_read_what_their_stages_read_and_what_is_ordered() -> None:
    sources = {topic for kind in KINDS for topic in kind.sources}

    assert {topic.name for topic in TOPICS.values() if "worker" in topic.readers} == {*sources, MODEL_CONTROL}


def test_the_kinds_of_stages_that_have_changelogs_are_those_there_are() -> None:
    assert tuple(kind.name for kind in KINDS) == PROCESSOR_NAMES


def test_whoever_retrains_reads_what_a_recording_is_made_of_and_writes_nothing() -> None:
    rights = rights_of("data-engineer", "app", PROCESSOR_NAMES)

    assert {right.name for right in rights if right.resource == "topic"} >= set(INPUT_TOPICS)
    assert {right.operation for right in rights} == {"read"}


def test_every_output_has_a_reader_that_is_no_worker() -> None:
    assert [name for name in OUTPUT_TOPICS if set(TOPICS[name].readers) <= {"worker"}] == []


def test_every_role_has_a_sentence_and_something_to_do() -> None:
    assert set(ROLES) == set(get_args(Role))
    for role, text in ROLES.items():
        assert (text[0].isupper(), text[-1]) == (True, ".")
        assert rights_of(role, "app", PROCESSOR_NAMES)


# --- What follows from it ---


def test_a_producer_of_telemetry_may_write_that_and_nothing_else() -> None:
    assert rights_of("device-management", "app", PROCESSOR_NAMES) == (Right("write", "topic", "device-telemetry"),)


def test_a_transmitter_reads_what_it_tells_others_and_answers_and_writes_answers() -> None:
    assert rights_of("transmitter", "app", PROCESSOR_NAMES) == (
        Right("read", "topic", "auth-events"),
        Right("read", "topic", "session-risk"),
        Right("read", "topic", "session-revocations"),
        Right("read", "topic", "session-challenges"),
        Right("read", "topic", "revocation-acks"),
        Right("write", "topic", "revocation-acks"),
        Right("read", "group", "transmitter-", prefixed=True),
    )


def test_a_worker_has_its_changelogs_and_its_group_and_nobody_else_has() -> None:
    changelogs = {changelog_topic("app", kind) for kind in PROCESSOR_NAMES}
    own = [right for right in rights_of("worker", "app", PROCESSOR_NAMES) if right.name not in TOPICS]

    assert set(own) == {
        *(Right("read", "topic", name) for name in changelogs),
        *(Right("write", "topic", name) for name in changelogs),
        Right("read", "group", "app"),
    }
    others = {right.name for role in ROLES if role != "worker" for right in rights_of(role, "app", PROCESSOR_NAMES)}
    assert others & {*changelogs, "app"} == set()


def test_where_names_are_pseudonyms_only_those_who_act_on_commands_read_them() -> None:
    less = {role: sorted(str(right) for right in _rights(role) - _rights(role, pseudonyms=True)) for role in ROLES}

    commands = ["read topic session-challenges", "read topic session-revocations"]
    assert less == {role: commands if role == "soc" else [] for role in ROLES}


def test_a_right_is_told_in_words() -> None:
    assert str(Right("read", "topic", "api-calls")) == "read topic api-calls"
    assert str(Right("read", "group", "soc-", prefixed=True)) == "read group soc-*"


def test_the_runbook_tells_the_roles_as_they_are() -> None:
    runbook = (Path(__file__).parent.parent.parent / "deploy" / "README.md").read_text("utf-8")

    assert with_parts(runbook, RUNBOOK_PARTS) == runbook, "run `make docs`"


# --- session-risk topics acls ---


@pytest.fixture(autouse=True)
def _a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in table():
        monkeypatch.delenv(row.env, raising=False)


def test_the_rights_are_printed_without_asking_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_BROKER", "127.0.0.1:1")

    done = CliRunner().invoke(main, ["topics", "acls", "--role", "gateway", "--principal", "gateway=kong"])

    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["principal", "may", "a", "named", "pattern"],
        ["User:kong", "write", "topic", "api-calls", "literal"],
        ["User:kong", "read", "topic", "session-revocations", "literal"],
        ["User:kong", "read", "topic", "session-challenges", "literal"],
        ["User:kong", "write", "topic", "revocation-acks", "literal"],
        ["User:kong", "read", "group", "gateway-", "prefixed"],
    ]


def test_for_a_program_every_role_is_told_with_a_principal_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SESSION_RISK_APP_ID", "other")

    details = json.loads(CliRunner().invoke(main, ["topics", "acls", "--json"]).stdout)

    assert {row["role"]: row["principal"] for row in details} == {r: f"User:session-risk-{r}" for r in ROLES}
    assert len(details) == sum(len(rights_of(role, "other", PROCESSOR_NAMES)) for role in ROLES)
    assert details[0] == {
        "role": "worker",
        "principal": "User:session-risk-worker",
        "operation": "read",
        "resource": "topic",
        "name": "device-telemetry",
        "pattern": "literal",
    }


def test_where_names_leave_as_pseudonyms_analysts_are_granted_no_commands_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text(f"k1 {'x' * 32}", encoding="utf-8")
    monkeypatch.setenv("SESSION_RISK_PSEUDONYM_KEY_FILE", str(tmp_path / "keys"))

    details = json.loads(CliRunner().invoke(main, ["topics", "acls", "--json", "--role", "soc"]).stdout)

    assert [row["name"] for row in details if row["operation"] == "read" and row["resource"] == "topic"] == [
        "session-risk",
        "session-findings",
        "suppressions",
        "revocation-acks",
    ]


def test_a_role_may_be_that_of_several() -> None:
    named = ["--principal", "device-management=mdm", "--principal", "device-management=User:sdk"]

    result = CliRunner().invoke(main, ["topics", "acls", "--json", "--role", "device-management", *named])

    assert [row["principal"] for row in json.loads(result.stdout)] == ["User:mdm", "User:sdk"]


@pytest.mark.parametrize("given", ["gateway", "gateway=", "gateway=*", "king=me", "soc=me", "gateway=a b"])
def test_a_principal_that_makes_no_sense_is_refused_with_a_sentence(given: str) -> None:
    done = CliRunner().invoke(main, ["topics", "acls", "--role", "gateway", "--principal", given])

    assert done.exit_code == 2
    assert f"--principal {given}: write ROLE=NAME, where ROLE is one of gateway" in done.stderr


def test_without_a_broker_nothing_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_BROKER", "127.0.0.1:1")

    done = CliRunner().invoke(main, ["topics", "acls", "--apply"])

    assert (done.exit_code, done.stdout) == (3, "")
    assert "no broker answers at 127.0.0.1:1" in done.stderr


def _rights(role: Role, *, pseudonyms: bool = False) -> set[Right]:
    return set(rights_of(role, "app", PROCESSOR_NAMES, pseudonyms=pseudonyms))
