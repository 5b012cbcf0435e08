"""RFC 8936 from the receiver's side."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.ssf_receiver import Json, Receiver
from tests.support.ssf_records import revocation
from tests.support.ssf_transmitter import Rig, transmitter
from tests.support.waiting import until

pytestmark = pytest.mark.slow

LONG_POLL_S = 2.0
REDELIVERY_S = 1.0
MOST = 10


@pytest.fixture(scope="module")
def rig_settings() -> dict[str, Any]:
    return {"long_poll_s": LONG_POLL_S, "redelivery_s": REDELIVERY_S, "max_poll": MOST}


@pytest.fixture
def receiver(rig: Rig, request: pytest.FixtureRequest) -> Receiver:
    return rig.receiver(f"q-{abs(hash(request.node.name))}")


@pytest.fixture
def stream(receiver: Receiver) -> Iterator[Json]:
    stream = receiver.create()
    yield stream
    receiver.delete(stream["stream_id"])


def _say(rig: Rig, count: int) -> None:
    """Revocations of so many people; they are in every queue when this returns."""
    rig.say(*(revocation(principal_id=f"p-{number}") for number in range(count)))


def _sets(receiver: Receiver, stream: Json, **members: object) -> Json:
    sets: Json = receiver.poll(stream, **members).json["sets"]
    return sets


def _again(receiver: Receiver, stream: Json) -> Json:
    """What comes again, once its time has come."""
    return until("it comes again", lambda: _sets(receiver, stream), bool)


def test_Q1_an_empty_request_waits_for_something_as_long_as_the_bound_says(receiver: Receiver, stream: Json) -> None:
    began = time.monotonic()
    answer = receiver.ask("POST", stream["delivery"]["endpoint_url"], {})

    assert (answer.status, answer.json) == (200, {"sets": {}, "moreAvailable": False})
    assert time.monotonic() - began >= LONG_POLL_S * 0.9


def test_Q1_a_poll_returns_at_once_when_told_to_or_when_something_comes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), long_poll_s=100) as rig:
        receiver = rig.receiver("q1")
        stream = receiver.create()
        began = time.monotonic()
        assert _sets(receiver, stream) == {}
        later = threading.Timer(0.5, lambda: rig.say(revocation()))
        later.start()
        answer = receiver.ask("POST", stream["delivery"]["endpoint_url"], {"returnImmediately": False})
        later.join()

        assert len(answer.json["sets"]) == 1
        assert time.monotonic() - began < 50


def test_Q2_no_more_come_than_are_asked_for_and_whether_there_are_more_is_said(
    rig: Rig, receiver: Receiver, stream: Json
) -> None:
    _say(rig, 12)
    none = receiver.poll(stream, maxEvents=0).json
    assert none == {"sets": {}, "moreAvailable": True}

    seen: list[str] = []
    sizes, more = [], []
    for most in ({"maxEvents": 5}, {"maxEvents": 5}, {}):
        answer = receiver.poll(stream, ack=seen[-5:], **most).json
        seen += answer["sets"]
        sizes.append(len(answer["sets"]))
        more.append(answer["moreAvailable"])
    assert (sizes, more) == ([5, 5, 2], [True, True, False])
    assert len(set(seen)) == 12


def test_Q2_the_transmitters_own_bound_holds_where_more_are_asked_for(
    rig: Rig, receiver: Receiver, stream: Json
) -> None:
    _say(rig, MOST + 2)

    answer = receiver.poll(stream, maxEvents=1000).json

    assert (len(answer["sets"]), answer["moreAvailable"]) == (MOST, True)


def test_Q3_what_is_acknowledged_does_not_come_again_and_strange_acks_do_no_harm(
    rig: Rig, receiver: Receiver, stream: Json
) -> None:
    _say(rig, 2)
    first, second = _sets(receiver, stream)

    for acks in ([first], [first, first, "nobody-knows"], []):
        assert receiver.poll(stream, ack=acks, maxEvents=0).status == 200
    assert list(_again(receiver, stream)) == [second]
    assert _sets(receiver, stream, ack=[second]) == {}


def test_Q3_an_ack_of_somebody_else_takes_nothing_away(rig: Rig, receiver: Receiver, stream: Json) -> None:
    other = rig.receiver("q3-other")
    theirs = other.create()
    _say(rig, 1)
    (jti,) = _sets(receiver, stream)

    assert other.poll(theirs, ack=[jti]).status == 200
    assert list(_again(receiver, stream)) == [jti]
    other.delete(theirs["stream_id"])


def test_Q4_what_the_receiver_cannot_take_becomes_a_dead_letter(rig: Rig, receiver: Receiver, stream: Json) -> None:
    _say(rig, 1)
    (jti,) = _sets(receiver, stream)
    errors = {
        jti: {"err": "invalid_key", "description": "Key ID 12345 has been revoked."},
        "nobody-knows": {"err": "invalid_request"},
    }

    answer = receiver.ask(
        "POST",
        stream["delivery"]["endpoint_url"],
        {"returnImmediately": True, "setErrs": errors},
        headers={"Content-Language": "en"},
    )

    assert (answer.status, answer.json["sets"]) == (200, {})
    (dead,) = [dead_letter for dead_letter in rig.dead_letters() if dead_letter["stream_id"] == stream["stream_id"]]
    assert (dead["jti"], dead["error"]) == (jti, "invalid_key")
    assert "Key ID 12345 has been revoked." in dead["error_text"]


def test_Q5_sets_is_there_when_there_are_none(receiver: Receiver, stream: Json) -> None:
    ways: list[Json] = [{}, {"maxEvents": 0}, {"ack": []}, {"setErrs": {}}, {"maxEvents": 3, "ack": ["x"]}]
    for members in ways:
        answer = receiver.poll(stream, **members)
        assert (answer.status, answer.json) == (200, {"sets": {}, "moreAvailable": False})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        {"maxEvents": -1},
        {"maxEvents": "3"},
        {"maxEvents": 1.5},
        {"maxEvents": True},
        {"returnImmediately": "yes"},
        {"ack": "jti"},
        {"ack": [1]},
        {"setErrs": ["jti"]},
        {"setErrs": {"jti": "invalid_key"}},
        {"setErrs": {"jti": {"description": "no code"}}},
    ],
)
def test_Q6_a_poll_that_is_none_is_refused(receiver: Receiver, stream: Json, body: object) -> None:
    if isinstance(body, dict):
        body = {"returnImmediately": True, **body}

    assert receiver.ask("POST", stream["delivery"]["endpoint_url"], body).status == 400


def test_Q7_what_nobody_acknowledged_comes_again_after_a_time(rig: Rig, receiver: Receiver, stream: Json) -> None:
    _say(rig, 1)
    began = time.monotonic()
    first = _sets(receiver, stream)
    second = _again(receiver, stream)

    assert len(first) == 1
    assert second == first
    assert time.monotonic() - began >= REDELIVERY_S * 0.9
    assert _sets(receiver, stream, ack=list(first)) == {}
