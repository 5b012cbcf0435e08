"""One push on the wire: what is sent, what every kind of answer comes to, and what is never followed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.http_client import ForbiddenUrlError, PushClient, tls_context
from pipeline.transmitter.push_responses import PushResponse
from tests.support.push_receiver import (
    ACCEPTED,
    CUT,
    ENDLESS,
    GARBAGE,
    HANG,
    Receiver,
    Reply,
    error,
    self_signed,
)
from tests.support.security_event_tokens import unsigned
from tests.support.stores import NOW

JWT = unsigned({"jti": "j-1"})


def _settings(**members: Any) -> TransmitterSettings:
    return TransmitterSettings(**{"allow_insecure": True, "push_timeout_s": 5, **members})


async def _pushed(
    url: str,
    settings: TransmitterSettings,
    authorization: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[PushResponse, int | None]:
    outgoing = PushClient(url, settings, tls or tls_context())
    try:
        return await outgoing.push(JWT, authorization, NOW)
    finally:
        await outgoing.close()


def _push(reply: Reply, **members: Any) -> tuple[PushResponse, int | None]:
    with Receiver(lambda _: reply) as receiver:
        return asyncio.run(_pushed(receiver.url, _settings(**members)))


def test_p1_a_push_is_the_token_alone_with_the_types_of_rfc_8935() -> None:
    with Receiver() as receiver:
        asyncio.run(_pushed(receiver.url, _settings()))

    (push,) = receiver.pushes
    sent = {name.lower(): value for name, value in push.headers.items()}
    assert push.body == JWT
    assert sent == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/secevent+jwt",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-length": str(len(JWT)),
        "user-agent": "session-risk",
    }


@pytest.mark.parametrize("authorization", ["Bearer abc.def", "Basic YTpi", None])
def test_p2_the_authorization_of_the_stream_is_sent_as_it_is_or_none(authorization: str | None) -> None:
    with Receiver() as receiver:
        asyncio.run(_pushed(receiver.url, _settings(), authorization))

    assert receiver.pushes[0].headers.get("Authorization") == authorization


@pytest.mark.parametrize(
    ("reply", "verdict", "name", "status"),
    [
        (ACCEPTED, "delivered", "", 202),
        (Reply(200, body=b"thanks"), "delivered", "", 200),
        (error("invalid_request"), "dead_letter", "invalid_request", 400),
        (error("invalid_key"), "retry_once", "invalid_key", 400),
        (error("access_denied"), "retry", "access_denied", 400),
        (Reply(500), "retry", "http_500", 500),
        (GARBAGE, "retry", "bad_answer", None),
        (CUT, "retry", "cut", None),
        (Reply(200, {"Content-Encoding": "gzip"}, b"not gzip"), "delivered", "", 200),
        (Reply(400, {"Content-Encoding": "gzip"}, b"not gzip"), "retry", "http_400", 400),
    ],
)
def test_an_answer_comes_to_what_its_row_says(reply: Reply, verdict: str, name: str, status: int | None) -> None:
    answer, answered = _push(reply)

    assert (answer.verdict, answer.error, answered) == (verdict, name, status)


def test_a_receiver_that_hangs_is_given_up_in_time() -> None:
    answer, status = _push(HANG, push_timeout_s=0.1)

    assert (answer, status) == (PushResponse("retry", "timeout", "no response in time", counts="unless_down"), None)


def test_of_an_answer_without_end_no_more_is_read_than_an_error_is_long() -> None:
    answer, status = _push(ENDLESS)

    assert (answer.verdict, answer.error, status) == ("retry", "http_400", 400)


@pytest.mark.parametrize(("status", "ms"), [(429, 7000), (503, 7000), (500, 7000)])
def test_retry_after_is_heard(status: int, ms: int) -> None:
    answer, _ = _push(Reply(status, {"Retry-After": "7"}))

    assert answer.retry_after_ms == ms


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Receiver() as other:
        answer, answered = _push(Reply(status, {"Location": other.url}))

    assert (answer.verdict, answer.error, answered) == ("retry", "redirect", status)
    assert other.pushes == []


def test_cookies_are_not_sent_back() -> None:
    async def twice(url: str) -> None:
        outgoing = PushClient(url, _settings(), tls_context())
        await outgoing.push(JWT, None, NOW)
        await outgoing.push(JWT, None, NOW)
        await outgoing.close()

    with Receiver(lambda _: Reply(202, {"Set-Cookie": "a=b; Path=/"})) as receiver:
        asyncio.run(twice(receiver.url))

    assert [push.headers.get("Cookie") for push in receiver.pushes] == [None, None]


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        asyncio.run(_pushed(receiver.url, _settings()))

    assert (len(proxy.pushes), len(receiver.pushes)) == (0, 1)


def test_s10_a_name_that_turns_out_to_be_this_machine_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Receiver() as receiver:
        _resolve_to(monkeypatch, "127.0.0.1")
        answer, status = asyncio.run(_pushed(f"https://idp.example.org:{receiver.port}/", TransmitterSettings()))

    assert (answer.verdict, answer.error, status) == ("retry", "address_refused", None)
    assert receiver.pushes == []


def test_s10_a_name_with_one_good_and_one_private_address_is_not_led_to_the_private_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Receiver() as receiver:
        _resolve_to(monkeypatch, "10.0.0.1", "127.0.0.1", "::1")
        answer, _ = asyncio.run(
            _pushed(f"https://idp.example.org:{receiver.port}/", TransmitterSettings(push_timeout_s=1))
        )

    assert answer.error in {"address_refused", "unreachable"}
    assert receiver.pushes == []


def test_a_name_that_means_nothing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolve_to(monkeypatch)

    answer, _ = asyncio.run(_pushed("https://idp.example.org/", TransmitterSettings()))

    assert (answer.verdict, answer.error) == ("retry", "unreachable")


def test_a_name_server_that_hangs_is_given_up_in_time_and_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, look = Event(), socket.getaddrinfo

    def slow(host: str, *rest: Any, **others: Any) -> Any:
        if host == "idp.example.org":
            answered.wait(60)
        return look(host, *rest, **others)

    async def main(receiver: Receiver) -> tuple[tuple[PushResponse, int | None], ...]:
        settings = _settings(push_timeout_s=2)
        slowly = [_pushed("https://idp.example.org/", settings) for _ in range(50)]
        well = [_pushed(receiver.url.replace("127.0.0.1", "localhost"), settings) for _ in range(2)]
        return tuple(await asyncio.gather(*slowly, *well))

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with Receiver() as receiver:
        answers = asyncio.run(main(receiver))
        answered.set()

    assert [answer.error for answer, _ in answers] == ["timeout"] * 50 + [""] * 2


def test_an_address_that_must_not_be_pushed_to_gets_no_session() -> None:
    async def make() -> None:
        PushClient("https://10.0.0.1/", TransmitterSettings(), tls_context())

    with pytest.raises(ForbiddenUrlError):
        asyncio.run(make())


def test_a_certificate_of_no_known_authority_is_refused(tmp_path: Path) -> None:
    with Receiver(tls=self_signed(tmp_path)) as receiver:
        answer, status = asyncio.run(_pushed(receiver.url, _settings()))

    assert (answer.verdict, answer.error, status) == ("retry", "tls", None)
    assert receiver.pushes == []


def test_a_certificate_of_a_known_authority_is_taken(tmp_path: Path) -> None:
    with Receiver(tls=self_signed(tmp_path)) as receiver:
        tls = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        answer, status = asyncio.run(_pushed(receiver.url, _settings(), tls=tls))

    assert (answer.verdict, status) == ("delivered", 202)


def test_tls_of_old_is_not_spoken(tmp_path: Path) -> None:
    assert tls_context().minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls_context().verify_mode == ssl.CERT_REQUIRED
    assert tls_context().check_hostname


def test_nobody_at_the_door_is_tried_again() -> None:
    with Receiver() as receiver:
        url = receiver.url

    answer, status = asyncio.run(_pushed(url, _settings()))

    assert (answer.verdict, answer.error, status) == ("retry", "unreachable", None)


@pytest.mark.parametrize("reply", [GARBAGE, CUT, HANG, Reply(500), error("access_denied")])
def test_what_is_said_of_a_failure_never_holds_the_authorization(reply: Reply) -> None:
    with Receiver(lambda _: reply) as receiver:
        answer, _ = asyncio.run(_pushed(receiver.url, _settings(push_timeout_s=0.2), "Bearer s3cret"))

    assert "s3cret" not in repr(answer)


def _resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name be at *addresses*."""

    def found(host: str, port: int, *_: object, **__: object) -> list[Any]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        kinds = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (kind, socket.SOCK_STREAM, 6, "", (name, port) if kind == socket.AF_INET else (name, port, 0, 0))
            for kind, name in zip(kinds, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)
