"""SSF 1.0 §8.1.1: streams are made, read, changed and ended."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.ssf_endpoint import Pushed, Reply, listening
from tests.support.ssf_receiver import CAEP, POLL, PUSH, SSF, Receiver, push_to
from tests.support.ssf_records import revocation
from tests.support.ssf_transmitter import Rig, transmitter
from tests.support.waiting import until

pytestmark = pytest.mark.slow

SUPPORTED = [
    f"{CAEP}session-revoked",
    f"{CAEP}risk-level-change",
    f"{CAEP}device-compliance-change",
    f"{CAEP}credential-change",
]
UNKNOWN = "https://schemas.example.com/event-type/nobody-knows"


def test_S1_a_stream_is_made_for_push_for_poll_and_without_a_word_for_poll(rig: Rig) -> None:
    receiver = rig.receiver("s1")
    with listening() as endpoint:
        pushed = receiver.create(delivery=push_to(endpoint.url), description="pushed")
        polled = receiver.create(delivery={"method": POLL})
        default = receiver.create()

    for stream in (pushed, polled, default):
        assert (stream["iss"], stream["aud"]) == (rig.issuer, receiver.aud)
        assert stream["events_supported"] == stream["events_delivered"] == SUPPORTED
        assert stream["min_verification_interval"] == 0
        assert receiver.read(stream["stream_id"]).json == stream
    assert pushed["delivery"] == push_to(endpoint.url)
    assert pushed["description"] == "pushed"
    for stream in (polled, default):
        assert stream["delivery"]["method"] == POLL
        assert stream["delivery"]["endpoint_url"].startswith(f"{rig.issuer}/")
    assert len({json["stream_id"] for json in (pushed, polled, default)}) == 3
    assert len({json["delivery"]["endpoint_url"] for json in (pushed, polled, default)}) == 3


@pytest.mark.parametrize(
    ("asked", "delivered"),
    [
        ([SUPPORTED[1], UNKNOWN, SUPPORTED[0]], [SUPPORTED[0], SUPPORTED[1]]),
        ([UNKNOWN], []),
        ([], []),
        ([f"{SSF}verification", SUPPORTED[3]], [SUPPORTED[3]]),
    ],
)
def test_S2_what_is_delivered_is_what_is_both_asked_for_and_supported(
    rig: Rig, asked: list[str], delivered: list[str]
) -> None:
    receiver = rig.receiver("s2")

    stream = receiver.create(events_requested=asked)

    assert sorted(stream["events_delivered"]) == sorted(delivered)
    assert stream["events_supported"] == SUPPORTED
    receiver.delete(stream["stream_id"])


def test_S3_what_cannot_be_made_is_refused(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> None:
    receiver = rig.receiver("s3")
    bad: dict[str, object] = {
        "broken": b'{"delivery": ',
        "no object": [],
        "no encoding": b"\xff\xfe",
        "foreign method": {"delivery": {"method": "urn:example:carrier-pigeon"}},
        "push without an address": {"delivery": {"method": PUSH}},
        "push to what is no address": {"delivery": push_to("somewhere")},
        "events that are no list": {"events_requested": SUPPORTED[0]},
    }

    answers = {name: receiver.ask("POST", receiver.streams_url, body).status for name, body in bad.items()}

    assert answers == dict.fromkeys(bad, 400)
    assert receiver.ask("GET", receiver.streams_url).json == []
    assert [receiver.ask("POST", receiver.streams_url, {}).status for _ in range(2)] == [201, 201]
    with transmitter(tmp_path_factory.mktemp("rig"), max_streams=1) as this_rig:
        single = this_rig.receiver("single")
        assert [single.ask("POST", single.streams_url, {}).status for _ in range(2)] == [201, 409]


def test_S4_streams_are_listed_and_read_and_an_unknown_one_is_not_there(rig: Rig) -> None:
    receiver = rig.receiver("s4")
    empty = receiver.ask("GET", receiver.streams_url)
    first, second = receiver.create(), receiver.create()

    listed = receiver.ask("GET", receiver.streams_url)

    assert (empty.status, empty.json) == (200, [])
    assert listed.headers["cache-control"] == "no-store"
    assert listed.json == [first, second]
    assert receiver.read(second["stream_id"]).json == second
    for answer in (
        receiver.read("unknown"),
        receiver.status("unknown"),
        receiver.delete("unknown"),
        receiver.change("PATCH", stream_id="unknown", description="x"),
        receiver.change("PUT", stream_id="unknown", delivery={"method": POLL}),
    ):
        assert answer.status == 404


def test_S5_a_deleted_stream_is_gone_and_gets_nothing_more(rig: Rig) -> None:
    receiver = rig.receiver("s5")
    polled = receiver.create()
    with listening(lambda _pushed, _nth: Reply(503)) as endpoint:
        pushed = receiver.create(delivery=push_to(endpoint.url))
        rig.say(revocation())
        endpoint.wait(1)

        gone = [receiver.delete(this_json["stream_id"]) for this_json in (polled, pushed)]
        assert [(answer.status, answer.body) for answer in gone] == [(204, b"")] * 2
        for json in (polled, pushed):
            assert receiver.read(json["stream_id"]).status == 404
            assert receiver.delete(json["stream_id"]).status == 404
        assert receiver.poll(polled).status == 404
        settled = _quiet(endpoint.pushed)
        _witness(rig, receiver)
        assert len(endpoint.pushed) == settled


def _quiet(pushed: Sequence[Pushed]) -> int:
    """How many pushes there are once the one that was under way has ended."""
    counts = [-1]

    def look() -> int:
        counts.append(len(pushed))
        return counts[-1]

    return until("no push under way", look, lambda seen: counts[-20:] == [seen] * 20)


def _witness(rig: Rig, receiver: Receiver) -> None:
    """Say something anew and wait until another stream of the same receiver has it by push."""
    with listening() as other:
        stream = receiver.create(delivery=push_to(other.url))
        rig.say(revocation())
        other.wait(1)
        receiver.delete(stream["stream_id"])


def test_S6_patch_keeps_what_it_does_not_name_and_put_does_not(rig: Rig) -> None:
    receiver = rig.receiver("s6")
    stream = receiver.create(description="first", events_requested=SUPPORTED[:1])
    fields = {"stream_id": stream["stream_id"]}

    patched = receiver.change("PATCH", **fields, description="second")
    assert (patched.status, patched.json) == (200, {**stream, "description": "second"})
    agreed = receiver.change("PATCH", **fields, iss=stream["iss"], aud=stream["aud"], description="third")
    assert (agreed.status, agreed.json["description"]) == (200, "third")

    for member, value in {
        "iss": "https://somebody.example.com",
        "aud": "https://somebody-else.example.com",
        "events_supported": [UNKNOWN],
        "events_delivered": [UNKNOWN],
        "min_verification_interval": 12_345,
    }.items():
        for method in ("PATCH", "PUT"):
            answer = receiver.change(method, **fields, delivery={"method": POLL}, **{member: value})
            assert answer.status == 400, (method, member)
    assert receiver.read(stream["stream_id"]).json == agreed.json

    same = receiver.change("PUT", **agreed.json)  # what was read may be written back
    assert (same.status, same.json) == (200, agreed.json)

    replaced = receiver.change("PUT", **fields, delivery={"method": POLL})
    assert replaced.status == 200
    assert "description" not in replaced.json
    assert replaced.json["events_delivered"] == SUPPORTED
    assert receiver.read(stream["stream_id"]).json == replaced.json


def test_S6_a_stream_goes_over_from_poll_to_push_and_back(rig: Rig) -> None:
    receiver = rig.receiver("s6-method")
    stream = receiver.create()
    rig.say(revocation())
    with listening() as endpoint:
        fields = {"stream_id": stream["stream_id"]}
        pushed = receiver.change("PATCH", **fields, delivery=push_to(endpoint.url))
        assert (pushed.status, pushed.json["delivery"]) == (200, push_to(endpoint.url))
        (first, *_) = endpoint.wait(1)
        assert receiver.verified(first.text).event == SUPPORTED[0]
        back = receiver.change("PATCH", **fields, delivery={"method": POLL})
    assert (back.status, back.json["delivery"]) == (200, stream["delivery"])
