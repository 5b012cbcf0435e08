"""On a Kafka that tells nothing to strangers a transmitter works with the rights of its role, and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline.kafka.acls import Right, rights_of
from pipeline.kafka.client import read_retained
from pipeline.transmitter.startup import rights
from schemas.topics import REVOCATION_ACKS
from tests.support.secure_kafka import SecureKafka, secure_kafka
from tests.support.ssf_records import revocation
from tests.support.transmitters import OnKafka, handed_out, send

pytestmark = pytest.mark.kafka

TRANSMITTER, WORKER, SOC = (f"session-risk-{role}" for role in ("transmitter", "worker", "soc"))


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """The node with its topics, and the users and rights of three roles, made by its super user."""
    with secure_kafka(tmp_path_factory.mktemp("secure")) as node:
        node.add_users(TRANSMITTER, WORKER, SOC)
        for command in (("topics", "create"), ("topics", "acls", "--apply")):
            code, _, err = node.run("admin", *command, protocol="SSL")
            assert code == 0, err
        yield node


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SSL"])
def test_with_the_rights_of_its_role_it_reads_delivers_and_passes_answers_on(
    kafka: SecureKafka, tmp_path: Path, protocol: str
) -> None:
    session = f"s-{uuid4().hex}"
    command = revocation(session_id=session, decision_id=f"d-{session}")
    on_kafka = OnKafka(tmp_path, kafka=kafka.settings(TRANSMITTER, protocol), log_level="DEBUG")
    on_kafka.start()
    try:
        receiver = on_kafka.receiver("gateway")
        stream = receiver.create()
        asyncio.run(send(kafka.connection(WORKER, protocol), [command]))
        (text,) = handed_out(receiver, stream, f"d-{session}", 1)
        jti = receiver.verified(text).claims["jti"]
        taken = receiver.ask("POST", f"{on_kafka.issuer}/acks", {"jti": jti, "outcome": "revoked"})
        (ack,) = asyncio.run(_acks(kafka, protocol, session))
    except BaseException:
        on_kafka.kill()
        raise
    on_kafka.stop()

    assert taken.status == 202
    assert (ack["outcome"], ack["enforcer"]) == ("revoked", "gateway")
    assert " DEBUG " in on_kafka.log()
    secrets = [*kafka.passwords.values(), receiver.secret, receiver.token()]
    assert [secret for secret in secrets if secret in on_kafka.log()] == []


async def _acks(kafka: SecureKafka, protocol: str, session: str) -> list[dict[str, Any]]:
    found = [record async for record in read_retained(kafka.connection(SOC, protocol), [REVOCATION_ACKS])]
    return [json.loads(record.value or b"") for record in found if record.key == session.encode()]


def test_without_these_rights_it_says_which_are_missing_and_ends(kafka: SecureKafka) -> None:
    granted = {*rights_of("soc", "secured", ())}
    missing = [right for right in rights("transmitter-session-risk") if right not in granted]
    code, out, err = kafka.run(SOC, "transmitter")

    assert (code, out) == (3, "")
    assert f"does not let user {SOC} {', '.join(map(str, missing))};" in err
    assert Right("read", "topic", "auth-events") in missing
