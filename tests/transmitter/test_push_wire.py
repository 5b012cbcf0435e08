"""Answers that no web server should give, on raw connections: none is taken for what it is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.http_client import PushClient, tls_context
from tests.support.pushes import seen
from tests.support.security_event_tokens import unsigned
from tests.support.stores import NOW
from tests.support.waiting import PATIENCE

JWT = unsigned({"jti": "j-1"})
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
BODY = b'{"err":"invalid_audience"}'
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
"""What is done on a connection, the how manyth it is (1 first)."""


@asynccontextmanager
async def served(play: Play, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A receiver that plays so on each connection; gives its port."""
    count, open_ = 0, set[asyncio.Task[Any]]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):  # who pushes has given up
                await play(reader, writer, count)
        finally:
            writer.close()

    server = await asyncio.start_server(take, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read one push, head and body; return its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    (length,) = [line.split(b":")[1] for line in lines if line.startswith(b"content-length")]
    return await reader.readexactly(int(length))


def settings(**members: Any) -> TransmitterSettings:
    return TransmitterSettings(**{"allow_insecure": True, "push_timeout_s": 2, **members})


def pushed(play: Play, times: int = 1, **members: Any) -> list[tuple[str, str, int | None]]:
    """Verdict, error and status of so many pushes one after another, each within the patience of a test."""

    async def main() -> list[tuple[str, str, int | None]]:
        async with served(play) as port:
            outgoing = PushClient(f"http://127.0.0.1:{port}/events", settings(**members), tls_context())
            try:
                came_to: list[tuple[str, str, int | None]] = []
                for _ in range(times):
                    answer, status = await asyncio.wait_for(outgoing.push(JWT, None, NOW), PATIENCE)
                    came_to.append((answer.verdict, answer.error, status))
                    await asyncio.sleep(0.2)  # what is said unasked has come
                return came_to
            finally:
                await outgoing.close()

    return asyncio.run(main())


def says(*pieces: bytes, stays: bool = True) -> Play:
    """Read a push, say *pieces*, and then nothing more; the connection stays open, or ends."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if stays:
            await asyncio.sleep(PATIENCE)

    return play


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"HTTP/1.0 202 Accepted\r\n\r\n", ("delivered", "", 202)),
        (b"HTTP/1.0 202 Accepted\r\n\r\nthanks", ("delivered", "", 202)),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\nthan", ("delivered", "", 202)),
        (b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ("retry", "bad_answer", None)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ACCEPTED, ("delivered", "", 202)),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + ACCEPTED, ("delivered", "", 202)),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            ("retry", "http_101", 101),
        ),
        (b"HTTP/1.1 202 Acc", ("retry", "cut", None)),
        (b"HTTP/1.1 202 Accepted\r\nX: y", ("retry", "cut", None)),
        (b"<html>", ("retry", "bad_answer", None)),
        (b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", ("retry", "http_999", 999)),
        (b"HTTP/1.1 202 Accepted\r\n" + b"X: y\r\n" * 1000 + b"\r\n", ("retry", "bad_answer", None)),
        (b"HTTP/1.1 202 Accepted\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", ("retry", "bad_answer", None)),
        (b"", ("retry", "cut", None)),
    ],
)
def test_an_odd_answer_that_ends_there_comes_to_what_it_says(output: bytes, expected: tuple[Any, ...]) -> None:
    assert pushed(says(output, stays=False)) == [expected]


async def _floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
    await request(reader)
    writer.write(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(10_000):
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()


def test_a_202_with_a_body_without_end_is_delivered_and_its_body_is_not_read() -> None:
    assert pushed(_floods, times=3) == [("delivered", "", 202)] * 3


def test_a_202_whose_body_never_comes_is_delivered_and_not_waited_for() -> None:
    slow = says(b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\n")

    assert pushed(slow, times=2, push_timeout_s=60) == [("delivered", "", 202)] * 2


@pytest.mark.parametrize("at_once", [1, 1000], ids=["one by one", "many at once"])
def test_who_hints_without_end_is_not_listened_to_until_the_time_is_over(at_once: int) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        while not writer.is_closing():
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * at_once)
            await writer.drain()
            await asyncio.sleep(0.001)

    assert pushed(play, push_timeout_s=10 * PATIENCE) == [("retry", "bad_answer", None)]


async def _hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nth: int) -> None:
    """Answer when the head has come, and take the body for another request, as servers do."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ACCEPTED if nth == 1 else REFUSED)
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await asyncio.sleep(PATIENCE)


def test_an_answer_before_the_body_was_read_is_of_this_token_and_what_follows_of_none() -> None:
    assert pushed(_hasty, times=2) == [("delivered", "", 202), ("dead_letter", "invalid_audience", 400)]


@pytest.mark.parametrize("after", [0.0, 0.05], ids=["together", "while idle"])
def test_a_token_is_not_delivered_by_an_answer_that_was_said_unasked(after: float) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nth: int) -> None:
        if nth == 1:
            await request(reader)
            writer.write(ACCEPTED + (b"" if after else ACCEPTED))
            await writer.drain()
            await asyncio.sleep(after)
            writer.write(ACCEPTED)
        while True:
            await request(reader)
            writer.write(REFUSED)

    assert pushed(play, times=2) == [("delivered", "", 202), ("dead_letter", "invalid_audience", 400)]


def test_who_answers_without_end_unasked_is_broken_off_with() -> None:
    broken_off_after: list[int] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        writer.write(ACCEPTED)
        number = 0
        while number < 1000 and not writer.is_closing():
            await asyncio.sleep(0.001)
            writer.write(ACCEPTED)
            number += 1
        broken_off_after.append(number)

    async def main() -> None:
        async with served(play) as port:
            outgoing = PushClient(f"http://127.0.0.1:{port}/", settings(), tls_context())
            await outgoing.push(JWT, None, NOW)
            await seen("that it was broken off", lambda: bool(broken_off_after))
            await outgoing.close()

    asyncio.run(main())
    assert 16 <= broken_off_after[0] < 1000


def test_a_late_answer_to_one_token_is_not_taken_for_that_to_the_next() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nth: int) -> None:
        await request(reader)
        if nth == 1:
            await asyncio.sleep(0.5)
            writer.write(ACCEPTED)
        else:
            writer.write(REFUSED)
        await asyncio.sleep(PATIENCE)

    assert pushed(play, times=2, push_timeout_s=0.3) == [
        ("retry", "timeout", None),
        ("dead_letter", "invalid_audience", 400),
    ]


def test_a_connection_that_was_closed_for_being_idle_is_not_used_again() -> None:
    assert pushed(says(ACCEPTED, stays=False), times=3) == [("delivered", "", 202)] * 3


def test_a_name_that_moves_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "127.0.0.1"
    arrived: list[str] = []

    def found(_host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))]

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await request(reader)
        arrived.append(writer.get_extra_info("sockname")[0])
        writer.write(ACCEPTED)
        await writer.drain()

    async def main() -> None:
        nonlocal place
        async with served(once) as port, served(once, "127.0.0.2", port):
            outgoing = PushClient(f"http://localhost:{port}/", settings(), tls_context())
            for place in ("127.0.0.1", "127.0.0.2"):  # noqa: B007 - where the name leads
                await outgoing.push(JWT, None, NOW)
                await asyncio.sleep(0.2)
            await outgoing.close()

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr("pipeline.transmitter.delivery.http_client.DNS_CACHE_S", 0.1)
    asyncio.run(main())

    assert arrived == ["127.0.0.1", "127.0.0.2"]
