"""The enforcer's word on a revocation, by HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.transmitter.store import queue, revocations
from schemas.control import RevocationAck
from tests.support.stores import NOW
from tests.support.stores import token as signed
from tests.support.transmitter_api import Api

COMMAND = {
    "revocation_id": "rev-1",
    "tenant": "t-1",
    "session_id": "s-1",
    "principal_id": "ana",
    "decision_id": "d-1",
    "decided_at": NOW,
    "deadline": NOW + 60_000,
}
EXPECTED = RevocationAck(
    tenant="t-1",
    revocation_id="rev-1",
    session_id="s-1",
    outcome="revoked",
    occurred_at=NOW,
    enforcer="idp",
)


@pytest.fixture
def api(api: Api) -> Api:
    """With a stream that was told of a revocation."""
    stream = api.stream(api.token())["stream_id"]
    with api.services.store.begin() as conn:
        revocations.record(conn, [COMMAND, {**COMMAND, "revocation_id": "rev-untold"}])
        queue.put(conn, [signed("jti-1", stream, revocation_id="rev-1"), signed("jti-2", stream)], NOW)
    return api


@pytest.mark.parametrize(
    "output",
    [
        {"revocation_id": "rev-1"},
        {"jti": "jti-1"},
        {"revocation_id": "rev-1", "jti": "jti-1", "session_id": "s-1", "tenant": "t-1", "enforcer": "eve"},
    ],
    ids=str,
)
def test_a_word_on_a_revocation_goes_on_in_the_receiver_s_name(api: Api, output: dict[str, str]) -> None:
    found = api.ask("POST", "/acks", {"outcome": "revoked", **output}, token=api.token())

    assert (found.status, found.json) == (202, {"revocation_id": "rev-1"})
    assert api.acks == [EXPECTED]


def test_an_enforcer_says_when_and_what(api: Api) -> None:
    fields = {"jti": "jti-1", "outcome": "failed", "occurred_at": NOW - 5, "detail": "no such user"}

    assert api.ask("POST", "/acks", fields, token=api.token()).status == 202
    changed = {"outcome": "failed", "occurred_at": NOW - 5, "detail": "no such user"}
    assert api.acks == [EXPECTED.model_copy(update=changed)]


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ({"outcome": "revoked"}, 400),
        ({"revocation_id": "rev-1"}, 400),
        ({"revocation_id": "rev-1", "outcome": "done"}, 400),
        ({"revocation_id": "rev-1", "outcome": "revoked", "session_id": "s-2"}, 400),
        ({"revocation_id": "rev-1", "outcome": "revoked", "tenant": "t-2"}, 400),
        ({"revocation_id": "rev-1", "outcome": "revoked", "occurred_at": NOW + 300_001}, 400),
        ({"revocation_id": "rev-1", "outcome": "revoked", "occurred_at": NOW // 1000}, 400),
        ({"revocation_id": "rev-1\u0000", "outcome": "revoked"}, 400),
        ({"revocation_id": "rev-2", "outcome": "revoked"}, 404),
        ({"revocation_id": "rev-untold", "outcome": "revoked"}, 404),
        ({"jti": "jti-2", "outcome": "revoked"}, 404),
        ({"revocation_id": "rev-1", "jti": "jti-2", "outcome": "revoked"}, 404),
    ],
    ids=str,
)
def test_what_is_no_word_on_a_revocation_told_is_refused(api: Api, output: Any, status: int) -> None:
    assert api.ask("POST", "/acks", output, token=api.token()).status == status
    assert api.acks == []


def test_nobody_speaks_for_another_receiver_and_reading_is_not_enough(api: Api) -> None:
    by_key = {"revocation_id": "rev-1", "outcome": "revoked"}

    assert api.ask("POST", "/acks", by_key, token=api.token(name="other")).status == 404
    assert api.ask("POST", "/acks", by_key, token=api.token("ssf.read")).status == 403
    assert api.ask("POST", "/acks", by_key).status == 401
    assert api.acks == []


def test_while_kafka_takes_nothing_the_enforcer_is_told_to_come_again(api: Api) -> None:
    api.kafka = False

    found = api.ask("POST", "/acks", {"jti": "jti-1", "outcome": "revoked"}, token=api.token())

    assert (found.status, found.error, found.headers["retry-after"]) == (503, "temporarily_unavailable", "1")
