"""SSF 1.0 §8.1.2, §8.1.4 and §8.1.5: status, verification, and what a receiver may not reach through us."""

from __future__ import annotations

import socket

import pytest

from tests.support.ssf_endpoint import Reply, listening
from tests.support.ssf_receiver import SSF, Json, Receiver, push_to
from tests.support.ssf_records import decision, revocation
from tests.support.ssf_transmitter import Rig, transmitter
from tests.support.waiting import until

pytestmark = pytest.mark.slow

VERIFICATION = f"{SSF}verification"
UPDATED = f"{SSF}stream-updated"


def test_S7_the_status_is_what_was_set(rig: Rig) -> None:
    receiver = rig.receiver("s7")
    stream_id = receiver.create()["stream_id"]
    assert receiver.status(stream_id).json == {"stream_id": stream_id, "status": "enabled"}

    for status in ("paused", "disabled", "enabled"):
        fields = {"stream_id": stream_id, "status": status, "reason": f"we want it {status}"}
        answer = receiver.set_status(stream_id, status, reason=fields["reason"])
        assert (answer.status, answer.json) == (200, fields)
        assert receiver.status(stream_id).json == fields
    assert receiver.set_status(stream_id, "asleep").status == 400
    assert receiver.status(stream_id).json["status"] == "enabled"


def test_S7_a_paused_stream_holds_in_order_and_a_disabled_one_drops(rig: Rig) -> None:
    receiver = rig.receiver("s7-held")
    witness = receiver.create()
    with listening() as endpoint:
        stream = receiver.create(delivery=push_to(endpoint.url))
        stream_id = stream["stream_id"]
        levels = [("LOW", "MEDIUM"), ("MEDIUM", "HIGH"), ("HIGH", "LOW")]

        receiver.set_status(stream_id, "paused")
        rig.say(decision("LOW", "HIGH", session_id="s-held-then-dropped"))
        receiver.set_status(stream_id, "disabled")
        rig.say(decision("LOW", "HIGH", session_id="s-dropped"))
        receiver.collect(witness, 2)
        receiver.set_status(stream_id, "paused")
        rig.say(*(decision(old, new, session_id="s-held") for old, new in levels))
        receiver.collect(witness, 3)
        assert endpoint.pushed == []
        receiver.set_status(stream_id, "enabled")

        sets = [receiver.verified(pushed.text) for pushed in endpoint.wait(3)]
        assert [(this_set.payload["previous_level"], this_set.payload["current_level"]) for this_set in sets] == levels


def test_S8_a_change_that_the_transmitter_makes_is_announced_before_it_stops(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), hold_s=2) as rig, listening() as endpoint:
        receiver = rig.receiver("s8")
        stream_id = receiver.create(delivery=push_to(endpoint.url))["stream_id"]
        receiver.set_status(stream_id, "paused")
        rig.say(revocation())

        (announced,) = (receiver.verified(pushed.text) for pushed in endpoint.wait(1))
        status = _changed(receiver, stream_id, "paused")

        assert announced.event == UPDATED
        assert announced.claims["sub_id"] == {"format": "opaque", "id": stream_id}
        assert announced.payload == {"status": "disabled", "reason": status["reason"]}
        assert status["status"] == "disabled"
        witness = receiver.create()
        rig.say(revocation())
        receiver.collect(witness, 1)
        assert len(endpoint.pushed) == 1


def test_S8_who_polls_is_told_as_well(tmp_path_factory: pytest.TempPathFactory) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), hold_s=2) as rig:
        receiver = rig.receiver("s8")
        stream = receiver.create()
        rig.say(revocation())

        status = _changed(receiver, stream["stream_id"], "enabled")
        (set_read,) = receiver.collect(stream, 1)

        assert (status["status"], set_read.event) == ("paused", UPDATED)
        assert set_read.payload == {"status": "paused", "reason": status["reason"]}


def _changed(receiver: Receiver, stream_id: str, before: str) -> Json:
    """The status that is another than *before*, once it is."""
    found: Json = until("the change", lambda: receiver.status(stream_id).json, lambda seen: seen["status"] != before)
    return found


def test_S9_a_verification_comes_back_with_its_state(rig: Rig) -> None:
    receiver = rig.receiver("s9")
    polled = receiver.create()
    with listening() as endpoint:
        pushed = receiver.create(delivery=push_to(endpoint.url), events_requested=[])
        states = {polled["stream_id"]: {"state": "VGhpcyBpcyBhbiBleGFtcGxl"}, pushed["stream_id"]: {}}
        for stream_id, members in states.items():
            answer = receiver.ask_verification(stream_id, **members)
            assert (answer.status, answer.body) == (204, b"")
        sets = [*receiver.collect(polled, 1), receiver.verified(endpoint.wait(1)[0].text)]

    for stream, this_set in zip((polled, pushed), sets, strict=True):
        assert this_set.event == VERIFICATION
        assert this_set.claims["sub_id"] == {"format": "opaque", "id": stream["stream_id"]}
        assert this_set.payload == states[stream["stream_id"]]
    assert receiver.ask_verification("unknown").status == 404
    for status in ("paused", "disabled"):
        receiver.set_status(polled["stream_id"], status)
        assert receiver.ask_verification(polled["stream_id"]).status == 400


def test_S9_verifications_faster_than_the_interval_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), min_verification_s=600) as rig:
        receiver = rig.receiver("s9-fast")
        stream = receiver.create()
        other = receiver.create()
        assert stream["min_verification_interval"] == 600

        asked = [receiver.ask_verification(stream["stream_id"], state=f"{nth}").status for nth in range(2)]

        assert asked == [204, 429]
        assert receiver.ask_verification(other["stream_id"]).status == 204
        (this_set,) = receiver.collect(stream, 1)
        assert this_set.payload == {"state": "0"}


REBOUND = "https://rebound.example.com:{port}/"
INSIDE = (
    REBOUND,
    "https://127.0.0.1:{port}/",
    "https://localhost:{port}/",
    "https://[::1]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "https://2130706433:{port}/",
    "https://0.0.0.0:{port}/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00::1]/",
    "https://[fe80::1]/",
    "https://[64:ff9b::a00:1]/",
    "http://receiver.example.com/",
    "ftp://receiver.example.com/",
    "file:///etc/passwd",
    "https://user:secret@receiver.example.com/",
)


def test_S10_nothing_inside_is_reached_however_it_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    rig_of = transmitter(tmp_path_factory.mktemp("rig"), allow_insecure=False, push_attempts=1)
    with rig_of as rig, socket.create_server(("127.0.0.1", 0)) as inside:
        receiver = rig.receiver("s10")
        port = inside.getsockname()[1]
        accepted = []
        for pattern in INSIDE:
            body = {"delivery": push_to(pattern.format(port=port))}
            answer = receiver.ask("POST", receiver.streams_url, body)
            accepted += [pattern] if answer.status != 400 else []
        assert accepted == [REBOUND]  # where a name leads is looked at each time it is connected to
        rig.say(revocation())
        (dead,) = until("the dead letter", rig.dead_letters, bool)
        assert dead["error"] == "address_refused"

        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_S10_a_redirect_is_not_followed(rig: Rig, status: int) -> None:
    receiver = rig.receiver("s10-redirect")
    with listening() as target:
        moved = Reply(status, {"Location": target.url})
        with listening(lambda _pushed, nth: moved if nth == 1 else Reply()) as endpoint:
            stream = receiver.create(delivery=push_to(endpoint.url))
            receiver.ask_verification(stream["stream_id"])
            receiver.ask_verification(stream["stream_id"], state="later")
            _, again, later = (receiver.verified(pushed.text) for pushed in endpoint.wait(3)[:3])
            assert (again.payload, later.payload) == ({}, {"state": "later"})
        assert target.pushed == []
        receiver.delete(stream["stream_id"])


def test_S11_the_authorization_header_is_sealed_in_the_store_and_in_no_log(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    secret = "Bearer marked-2c1f5e7a90"  # noqa: S105  # it is looked for, nobody's
    with transmitter(tmp_path_factory.mktemp("rig"), log_level="DEBUG") as rig:
        receiver = rig.receiver("s11")
        with listening(lambda _pushed, nth: Reply(500 if nth == 1 else 202)) as endpoint:
            stream = receiver.create(delivery=push_to(endpoint.url, authorization_header=secret))
            receiver.change("PATCH", stream_id=stream["stream_id"], description="changed")
            receiver.ask_verification(stream["stream_id"])
            pushed = endpoint.wait(2)
        assert [this_pushed.headers["authorization"] for this_pushed in pushed] == [secret] * 2
        stored = b"".join(path.read_bytes() for path in rig.files())
        text = rig.log() + rig.command("audit", "--json").stdout + rig.metrics()

    assert stream["stream_id"].encode() in stored
    assert b"marked-2c1f5e7a90" not in stored
    assert stream["stream_id"] in text
    assert "marked-2c1f5e7a90" not in text
