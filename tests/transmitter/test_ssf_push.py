"""RFC 8935 from the receiver's side: what is sent, and what each answer leads to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.ssf_endpoint import Endpoint, Pushed, Reply, listening, refused
from tests.support.ssf_receiver import Json, Receiver, push_to
from tests.support.ssf_records import revocation
from tests.support.ssf_transmitter import Rig, transmitter
from tests.support.waiting import until

pytestmark = pytest.mark.slow

ATTEMPTS = 3
LONG_S = 1000.0


@pytest.fixture(scope="module")
def rig_settings() -> dict[str, Any]:
    return {"push_attempts": ATTEMPTS, "push_backoff_s": 0.05, "push_backoff_max_s": 0.2}


def _stream(receiver: Receiver, endpoint: Endpoint, **members: str) -> Json:
    return receiver.create(delivery=push_to(endpoint.url, **members))


def _texts(endpoint: Endpoint) -> list[str]:
    return [pushed.text for pushed in endpoint.pushed]


def _dead(rig: Rig, stream: Json) -> list[Json]:
    return [dead_letter for dead_letter in rig.dead_letters() if dead_letter["stream_id"] == stream["stream_id"]]


def _delivered(rig: Rig, receiver: Receiver, endpoint: Endpoint) -> Pushed:
    """Say one more thing of the same person; when it has come, what was before it is done with."""
    before = set(_texts(endpoint))
    rig.say(revocation())
    return until(
        "the next token",
        lambda: [pushed for pushed in endpoint.pushed if pushed.text not in before],
        bool,
    )[0]


def test_P1_a_push_is_a_post_of_one_token_with_its_type(rig: Rig) -> None:
    receiver = rig.receiver("p1")
    with listening() as endpoint:
        _stream(receiver, endpoint)
        rig.say(revocation(), revocation())
        pushed = endpoint.wait(2)

    for this_pushed in pushed:
        assert (this_pushed.method, this_pushed.path) == ("POST", "/events")
        assert this_pushed.headers["content-type"] == "application/secevent+jwt"
        assert this_pushed.headers["accept"] == "application/json"
        assert this_pushed.text.count(".") == 2
        receiver.verified(this_pushed.text)


def test_P2_the_authorization_header_is_sent_as_it_is_or_not_at_all(rig: Rig) -> None:
    receiver = rig.receiver("p2")
    header = "Custom  scheme, with=spaces"
    with listening() as with_one, listening() as without:
        stream = _stream(receiver, with_one, authorization_header=header)
        _stream(receiver, without)
        rig.say(revocation())
        assert with_one.wait(1)[0].headers["authorization"] == header
        assert "authorization" not in without.wait(1)[0].headers

        delivery = push_to(with_one.url)
        receiver.change("PUT", stream_id=stream["stream_id"], delivery=delivery)
        rig.say(revocation())
        assert "authorization" not in with_one.wait(2)[1].headers


@pytest.mark.parametrize("status", [202, 200, 204])
def test_P3_an_answer_of_success_is_the_end_of_it(rig: Rig, status: int) -> None:
    receiver = rig.receiver("p3")
    with listening(lambda _pushed, _nth: Reply(status)) as endpoint:
        stream = _stream(receiver, endpoint)
        rig.say(revocation())
        endpoint.wait(1)
        _delivered(rig, receiver, endpoint)

        assert len(set(_texts(endpoint))) == len(_texts(endpoint)) == 2
        assert _dead(rig, stream) == []
        receiver.delete(stream["stream_id"])


@pytest.mark.parametrize(
    ("err", "attempts"),
    [
        ("invalid_request", 1),
        ("invalid_issuer", 1),
        ("invalid_audience", 1),
        ("invalid_state", 1),
        ("invalid_key", 2),
        ("authentication_failed", ATTEMPTS),
        ("access_denied", ATTEMPTS),
        ("something_new", ATTEMPTS),  # the registry is open (RFC 8935 §2.4)
    ],
)
def test_P4_each_code_leads_to_its_number_of_attempts_and_then_to_the_dead_letters(
    rig: Rig, err: str, attempts: int
) -> None:
    receiver = rig.receiver("p4")
    with listening(lambda _pushed, _nth: refused(err)) as endpoint:
        stream = _stream(receiver, endpoint)
        rig.say(revocation())
        (dead,) = until("a dead letter", lambda: _dead(rig, stream), bool)
        receiver.delete(stream["stream_id"])

    assert len(endpoint.pushed) == attempts
    assert len(set(_texts(endpoint))) == 1
    assert (dead["error"], dead["attempts"]) == ("unknown_code" if err == "something_new" else err, attempts)
    assert f"because {err}" in dead["error_text"]


def _later(seconds: float) -> str:
    """RFC 9110 §5.6.7: a moment so many seconds away."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_P5_a_passing_failure_is_tried_again_until_it_has_passed(rig: Rig, status: int) -> None:
    receiver = rig.receiver("p5")
    with listening(lambda _pushed, nth: Reply(status if nth < ATTEMPTS else 202)) as endpoint:
        stream = _stream(receiver, endpoint)
        rig.say(revocation())
        endpoint.wait(ATTEMPTS)
        _delivered(rig, receiver, endpoint)

        assert len(set(_texts(endpoint)[:ATTEMPTS])) == 1
        assert _dead(rig, stream) == []
        receiver.delete(stream["stream_id"])


def test_P5_a_lasting_failure_ends_in_the_dead_letters_and_can_be_sent_again(rig: Rig) -> None:
    receiver = rig.receiver("p5-dead")
    with listening(lambda _pushed, _nth: Reply(500)) as endpoint:
        stream = _stream(receiver, endpoint)
        rig.say(revocation())
        (dead,) = until("a dead letter", lambda: _dead(rig, stream), bool)
        assert len(endpoint.pushed) == dead["attempts"] == ATTEMPTS
        assert rig.measured("deliveries_total", method="push", outcome="dead") >= 1
        assert rig.measured("dead_letters_total", error="http_500") >= 1

        endpoint.decide = lambda _pushed, _nth: Reply()
        assert rig.command("dead-letters", "retry", "--stream", stream["stream_id"]).returncode == 0
        pushed = endpoint.wait(ATTEMPTS + 1)
        assert len({this_pushed.text for this_pushed in pushed}) == 1
        until("no dead letter", lambda: _dead(rig, stream), lambda seen: not seen)


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (503, "date"), (500, "seconds")])
def test_P5_a_receiver_that_names_a_time_is_not_asked_before(rig: Rig, status: int, form: str) -> None:
    receiver = rig.receiver("p5-after")
    after = 3

    def decide(_pushed: Pushed, nth: int) -> Reply:
        when = f"{after}" if form == "seconds" else _later(after)
        return Reply(status, {"Retry-After": when}) if nth == 1 else Reply()

    with listening(decide) as endpoint:
        stream = _stream(receiver, endpoint)
        rig.say(revocation())
        first, second = endpoint.wait(2)[:2]
        receiver.delete(stream["stream_id"])

    assert second.text == first.text
    assert second.at - first.at >= after - 1.1  # a date has whole seconds


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_P5_a_receiver_that_is_away_for_longer_than_the_attempts_gets_it_when_it_is_back(rig: Rig, status: int) -> None:
    receiver = rig.receiver("p5-away")
    with listening(lambda _pushed, nth: Reply(status if nth <= 3 * ATTEMPTS else 202)) as endpoint:
        stream = _stream(receiver, endpoint)
        rig.say(revocation())
        endpoint.wait(3 * ATTEMPTS + 1)
        _delivered(rig, receiver, endpoint)

        assert len(set(_texts(endpoint)[: 3 * ATTEMPTS + 1])) == 1
        assert _dead(rig, stream) == []
        receiver.delete(stream["stream_id"])


def test_P5_what_nobody_takes_is_given_up_in_the_end_and_counted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        transmitter(tmp_path_factory.mktemp("rig"), hold_s=2, push_backoff_s=0.05) as rig,
        listening(lambda _pushed, _nth: Reply(503)) as endpoint,
    ):
        stream = _stream(rig.receiver("p5-gone"), endpoint)
        rig.say(revocation())
        until("who is down", lambda: rig.measured("down_seconds"), bool)
        dead = until(
            "the revocation among the dead letters",
            lambda: {json["event"]: json for json in _dead(rig, stream)},
            lambda seen: "session-revoked" in seen,
        )["session-revoked"]

        assert dead["error"] in {"hold_limit", "stream_disabled"}
        until("that it is counted", lambda: rig.measured("dead_letters_total", error=dead["error"]), bool)


def test_P5_a_receiver_that_does_not_answer_in_time_is_tried_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("rig")
    with transmitter(folder, push_timeout_s=0.5, push_backoff_s=0.05, push_attempts=8) as rig:
        receiver = rig.receiver("p5-hangs")
        with listening(lambda _pushed, nth: Reply(after=LONG_S if nth == 1 else 0)) as endpoint:
            _stream(receiver, endpoint)
            rig.say(revocation())
            first, second = endpoint.wait(2)[:2]
    assert second.text == first.text


def test_P6_killed_between_the_answer_and_its_note_the_same_token_goes_out_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig")) as rig:
        receiver = rig.receiver("p6")

        event = threading.Event()

        def decide(_pushed: Pushed, nth: int) -> Reply:
            if nth == 1 and event.wait(LONG_S):
                rig.kill()  # it has arrived; the answer finds nobody
                event.clear()
            return Reply()

        with listening(decide) as endpoint:
            _stream(receiver, endpoint)
            rig.say(revocation())
            event.set()
            endpoint.wait(1)
            until("its end", event.is_set, lambda seen: not seen)
            rig.start()
            first, second = endpoint.wait(2)[:2]
            assert second.text == first.text
            third = _delivered(rig, receiver, endpoint)
            assert len(endpoint.pushed) == 3
            assert receiver.verified(third.text).claims["jti"] != receiver.verified(first.text).claims["jti"]


def test_P7_a_receiver_that_hangs_delays_nobody_else(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rig")
    with (
        transmitter(folder, push_timeout_s=300, push_at_once=2) as rig,
        listening(lambda _pushed, _nth: Reply(after=LONG_S)) as hanging,
        listening() as well,
    ):
        _stream(rig.receiver("p7-hangs"), hanging)
        _stream(rig.receiver("p7-well"), well)
        rig.say(*(revocation(principal_id=f"p-{number}") for number in range(50)))

        assert len({pushed.text for pushed in well.wait(50)}) == 50
        assert len(hanging.wait(2)) == 2
