"""On a Kafka that tells nothing to strangers everybody does their work with the least rights, and no more.

The node is started here, by deploy/kafka/run.sh --secure, beside the one the other tests use.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline.kafka.acls import Right, _allowed, check_rights, grant, rights_of
from pipeline.kafka.client import open_writer, values_containing
from pipeline.kafka.topics import PROCESSOR_NAMES, BrokerUnreachableError, RightsMissingError, ping_broker
from pipeline.offline.replay.recording import write
from pipeline.offline.scenarios.playback import Timed, in_order, steady, stories
from pipeline.offline.scenarios.scenario import find_directory
from pipeline.processing.processor import Message
from schemas.decode import encode, record_key
from schemas.topics import (
    DEAD_LETTERS,
    DEVICE_TELEMETRY,
    ROLES,
    SESSION_CONTEXT,
    SESSION_FEEDBACK,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    TOPICS,
    Role,
)
from tests.support.secure_kafka import KAFKA, SecureKafka, secure_kafka

pytestmark = pytest.mark.kafka

APP_ID = "secured"
PARTITIONS = 2
WORKER = rights_of("worker", APP_ID, PROCESSOR_NAMES)
STORY = "a-phone-jailbroken"
CHANGELOG = "secured-session-state-changelog"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """The node with its topics, a user for each role, and the rights of each, all made by its super user."""
    with secure_kafka(tmp_path_factory.mktemp("secure")) as node:
        node.add_users(*(_user(role) for role in ROLES))
        for command in (("topics", "create"), ("topics", "acls", "--apply")):
            code, _, err = node.run("admin", *command, protocol="SSL")
            assert code == 0, err
        yield node


def _user(role: Role) -> str:
    return f"session-risk-{role}"


# --- The work goes on ---


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SSL"])
def test_a_worker_with_the_rights_of_its_role_plays_a_story_to_its_revocation(
    kafka: SecureKafka, tmp_path: Path, protocol: str
) -> None:
    suffix = f"-{uuid4().hex[:8]}"
    events = _story(suffix)
    expected = _revoked_by_replay(kafka, events, tmp_path)
    asyncio.run(_received(kafka, events, protocol))
    reader = kafka.connection(_user("transmitter"), protocol)
    with kafka.working(
        _user("worker"), tmp_path / "log", protocol, data_dir=str(tmp_path / "worker"), log_level="DEBUG"
    ) as worker:
        _until(lambda: bool(_revocations(reader, suffix)) or worker.poll() is not None, 150)
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)

    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert worker.returncode == 0, log[-2000:]
    # Nobody acknowledges it here: how often it was sent again depends on how soon the worker was ended.
    revocations = _revocations(reader, suffix)
    assert {revocation["revocation_id"] for revocation in revocations} == expected
    assert len(expected) == 1
    assert [secret for secret in (*kafka.passwords.values(), *_tokens(events)) if secret in log] == []
    assert " DEBUG " in log
    _looked_into(kafka, revocations[0]["decision_id"], protocol)


def _looked_into(kafka: SecureKafka, decision_id: str, protocol: str) -> None:
    """An analyst reads how the decision came about, and says what to think of it."""
    for command, text in (
        (("explain", decision_id), f"decision {decision_id}\n"),
        (("feedback", decision_id, "true_positive"), "true_positive on session "),
    ):
        code, out, err = kafka.run(_user("soc"), *command, protocol=protocol)
        assert (code, err) == (0, "")
        assert out.startswith(text)


def _story(suffix: str) -> list[Timed]:
    """A phone is jailbroken, a moment ago."""
    (story,) = (
        this_story
        for this_story in stories(find_directory(), int(time.time() * 1000), suffix)
        if this_story.name == STORY
    )
    begin = min(event["occurred_at"] for _, event in story.events)
    return in_order([*story.events, *steady(PARTITIONS, begin, story.play_until, suffix)])


def _tokens(events: list[Timed]) -> set[str]:
    return {event["token_id"] for _, event in events if event.get("token_id")}


def _revoked_by_replay(kafka: SecureKafka, events: list[Timed], folder: Path) -> set[str]:
    with write(folder / "in") as writer:
        for topic, event in events:
            writer.event(topic, event)
    arguments = [str(folder / "in"), "--out", str(folder / "out"), "--partitions", str(PARTITIONS)]
    code, _, err = kafka.run(_user("data-engineer"), "replay", *arguments)
    assert code == 0, err
    lines = (folder / "out" / f"{SESSION_REVOCATIONS}.jsonl").read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["revocation_id"] for line in lines}


async def _received(kafka: SecureKafka, events: list[Timed], protocol: str) -> None:
    """Let everybody who has the right to write tell their part, in the order of time."""
    for topic in dict.fromkeys(topic for topic, _ in events):
        (role,) = TOPICS[topic].writers
        async with open_writer(kafka.connection(_user(role), protocol)) as writer:
            for event in (event for name, event in events if name == topic):
                message = Message(topic, record_key(topic, event), encode(event))
                await writer.send(message, event["occurred_at"])
            await writer.flush()


def _revocations(reader: Any, suffix: str) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in asyncio.run(values_containing(reader, SESSION_REVOCATIONS, suffix))]


def _until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)


def test_an_operator_says_which_model_decides(kafka: SecureKafka) -> None:
    code, _, err = kafka.run(_user("operator"), "promote", "default")

    assert (code, err) == (0, "")


# --- Nobody may do more ---


@pytest.mark.parametrize("role", ROLES)
def test_the_brokers_allow_a_role_what_the_table_says_and_nothing_else(kafka: SecureKafka, role: Role) -> None:
    everything = {
        Right(operation, "topic", name)
        for name in (*TOPICS, *(right.name for right in WORKER if right.resource == "topic"))
        for operation in ("read", "write")
    }

    allowed = _allowed(kafka.connection(_user(role)), list(everything))

    rights = {
        Right("read" if operation.name == "READ" else "write", "topic", name)
        for (_, name), operations in allowed.items()
        for operation in operations or ()
        if operation.name in ("READ", "WRITE")
    }
    assert rights == {right for right in rights_of(role, APP_ID, PROCESSOR_NAMES) if right.resource == "topic"}
    others = {operation.name for operations in allowed.values() for operation in operations or ()}
    assert others <= {"READ", "WRITE", "DESCRIBE"}


async def _send(kafka: SecureKafka, role: Role, topic: str) -> None:
    async with open_writer(kafka.connection(_user(role))) as writer:
        await writer.send(Message(topic, b"s-1", b"{}"))
        await writer.flush()


def test_a_producer_of_telemetry_cannot_write_what_sessions_are_told(kafka: SecureKafka) -> None:
    asyncio.run(_send(kafka, "device-management", DEVICE_TELEMETRY))

    with pytest.raises(RightsMissingError) as refused:
        asyncio.run(_send(kafka, "device-management", SESSION_CONTEXT))

    assert str(refused.value) == (
        f"127.0.0.1:{kafka.port} does not let user session-risk-device-management write topic "
        "session-context; `session-risk topics acls` lists the rights of each role, and grants them"
    )


def test_what_is_refused_only_when_it_arrives_is_told_too(kafka: SecureKafka) -> None:
    with pytest.raises(RightsMissingError, match="user session-risk-operator write topic dead-letters; "):
        asyncio.run(_send(kafka, "operator", DEAD_LETTERS))  # which may be seen, to be read


def test_who_may_write_nothing_at_all_is_told_so(kafka: SecureKafka) -> None:
    with pytest.raises(RightsMissingError, match="user session-risk-data-engineer write topic any; "):
        asyncio.run(_send(kafka, "data-engineer", SESSION_FEEDBACK))


def test_who_may_not_see_a_topic_is_told_so_and_not_that_it_is_missing(kafka: SecureKafka) -> None:
    with pytest.raises(RightsMissingError, match="session-risk-gateway see topic session-risk"):
        asyncio.run(values_containing(kafka.connection(_user("gateway")), SESSION_RISK, "x"))

    code, out, err = kafka.run(_user("gateway"), "topics", "check")

    assert (code, out) == (3, "")
    assert "does not let user session-risk-gateway see topic api-" not in err
    assert "user session-risk-gateway see topic auth-events, dead-letters, device-telemetry, " in err


def test_one_who_has_two_roles_has_the_rights_of_both(kafka: SecureKafka) -> None:
    roles: tuple[Role, ...] = ("transmitter", "soc")
    both = {right for role in roles for right in rights_of(role, APP_ID, PROCESSOR_NAMES)}
    kafka.add_users("siem")
    given = [word for role in roles for word in ("--role", role, "--principal", f"{role}=siem")]

    code, _, err = kafka.run("admin", "topics", "acls", "--apply", *given, protocol="SSL")

    assert (code, err) == (0, f"granted {len(both)} rights at 127.0.0.1:{kafka.port + 2}\n")
    check_rights(kafka.connection("siem"), [right for right in both if not right.prefixed])


def test_only_a_super_user_grants_rights(kafka: SecureKafka) -> None:
    code, out, err = kafka.run(_user("operator"), "topics", "acls", "--apply")

    assert (code, out) == (3, "")
    assert err == (
        f"session-risk: 127.0.0.1:{kafka.port} does not let user session-risk-operator grant rights "
        "(alter cluster): do it as a super user of the brokers\n"
    )


# --- One right fewer ---

FEWER = (
    Right("read", "topic", "api-calls"),
    Right("read", "topic", "model-control"),
    Right("write", "topic", "session-context"),
    Right("write", "topic", "session-revocations"),
    Right("write", "topic", "dead-letters"),
    Right("read", "topic", CHANGELOG),
    Right("write", "topic", CHANGELOG),
    Right("read", "group", APP_ID),
)


@pytest.mark.parametrize("missing", FEWER, ids=str)
def test_a_worker_with_one_right_fewer_says_which_and_ends(kafka: SecureKafka, missing: Right) -> None:
    user = f"fewer-{FEWER.index(missing)}"
    kafka.add_users(user)
    rights = [right for right in WORKER if right != missing]
    assert len(rights) == len(WORKER) - 1
    grant(kafka.connection("admin", "SSL"), [(f"User:{user}", rights)])

    code, out, err = kafka.run(user, "worker")

    assert (code, out) == (3, "")
    assert err == (
        f"session-risk: 127.0.0.1:{kafka.port} does not let user {user} {missing}; "
        "`session-risk topics acls --apply` grants what is missing, by a super user of the brokers\n"
    )


@pytest.mark.parametrize(
    "taken", [Right("write", "topic", "session-revocations"), Right("read", "topic", "api-calls")], ids=str
)
def test_a_worker_whose_right_is_taken_away_ends_and_says_so(kafka: SecureKafka, tmp_path: Path, taken: Right) -> None:
    user = f"taken-{taken.name}"
    kafka.add_users(user)
    admin = kafka.connection("admin", "SSL")
    grant(admin, [(f"User:{user}", WORKER)])
    with kafka.working(user, tmp_path / "log", data_dir=str(tmp_path / "worker")) as worker:
        _play(kafka, worker)
        kafka.take_away(user, taken)
        asyncio.run(_received(kafka, _story(f"-{uuid4().hex[:8]}"), "SASL_SSL"))
        code = worker.wait(120)

    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert code == 1, log
    assert f"does not let user {user} {taken}; " in log


def _play(kafka: SecureKafka, worker: Any) -> None:
    """Wait until a story has come to its end."""
    suffix = f"-{uuid4().hex[:8]}"
    asyncio.run(_received(kafka, _story(suffix), "SASL_SSL"))
    reader = kafka.connection(_user("transmitter"))
    _until(lambda: bool(_revocations(reader, suffix)) or worker.poll() is not None, 150)
    assert worker.poll() is None


def test_a_worker_without_any_right_is_told_all_of_them(kafka: SecureKafka) -> None:
    kafka.add_users("stranger")

    code, out, err = kafka.run("stranger", "worker", protocol="SSL")

    assert (code, out) == (3, "")
    assert f"does not let the owner of {kafka.tls / 'stranger.crt'} {', '.join(map(str, WORKER))};" in err


# --- Who is not let in ---


def _refused(kafka: SecureKafka, protocol: str = "SASL_SSL", **settings: str) -> str:
    code, out, err = kafka.run(_user("worker"), "worker", protocol=protocol, **settings)
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1
    return err


def test_a_wrong_password_is_said_without_it(kafka: SecureKafka) -> None:
    text = _refused(kafka, sasl_password="not-the-password")  # noqa: S106 - that is the point

    assert "or it refuses user session-risk-worker over SASL_SSL: check the address, SESSION_RISK_SASL_*" in text
    assert "not-the-password" not in text


JOINED = "Setting newly assigned partitions"


def test_a_worker_that_logs_all_it_can_says_no_password_right_or_wrong(kafka: SecureKafka, tmp_path: Path) -> None:
    user = _user("worker")
    code, out, err = kafka.run(user, "worker", sasl_password="not-the-password", log_level="DEBUG")  # noqa: S106
    with kafka.working(user, tmp_path / "log", log_level="DEBUG", data_dir=str(tmp_path / "data")) as worker:
        log = tmp_path / "log"
        _until(lambda: JOINED in log.read_text("utf-8") or worker.poll() is not None, 60)
        worker.terminate()
        worker.wait(60)

    assert code == 3
    assert JOINED in log.read_text("utf-8")
    assert " DEBUG " in err
    assert "not-the-password" not in out + err
    assert kafka.passwords[user] not in log.read_text("utf-8")


def test_a_broker_that_a_stranger_vouches_for_is_not_talked_to(kafka: SecureKafka, tmp_path: Path) -> None:
    subprocess.run([str(KAFKA / "certificates.sh"), str(tmp_path)], check=True)

    text = _refused(kafka, tls_ca_file=str(tmp_path / "ca.crt"))

    assert f"no broker answers at 127.0.0.1:{kafka.port}, or it refuses user session-risk-worker" in text
    # The worker's own client and the one that asks for rights are two: neither is talked into it.
    connection = kafka.connection(_user("worker"), tls_ca_file=str(tmp_path / "ca.crt"))
    with pytest.raises(BrokerUnreachableError):
        asyncio.run(ping_broker(connection))
    with pytest.raises(BrokerUnreachableError):
        check_rights(connection, WORKER)


def test_without_a_certificate_nobody_gets_in_where_one_is_asked_for(kafka: SecureKafka) -> None:
    text = _refused(kafka, "SSL", tls_cert_file="", tls_key_file="")

    assert "or it refuses this client over SSL: check the address, SESSION_RISK_SASL_* and" in text
