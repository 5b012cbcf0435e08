"""Connections within bounds: how many there are, how long they last, and where they say they come from."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.api import server as api_server
from pipeline.transmitter.api.server import Listener, rate_limit_key
from pipeline.transmitter.store import audit
from tests.support.ssf_transmitter import _trust
from tests.support.transmitter_api import new_api

T = TypeVar("T")
PATIENCE = 60.0
SLOW_S = 0.3
GET = b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n"
PIECE = b"x" * 65_536


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer; `/late` after a while, `/long` with more than anybody takes at once."""
    assert scope["type"] == "http"
    if scope["path"] == "/late":
        await asyncio.sleep(3 * SLOW_S)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000 if scope["path"] == "/long" else 0):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b"answered"})


@dataclass
class Served:
    """What listens, and what serves there."""

    at: Listener
    server: uvicorn.Server
    port: int

    async def open(self, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from *source*, which is an address of this machine."""
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))

    async def ask(self, path: bytes = b"/", source: str = "127.0.0.1") -> bool:
        """Ask once; return whether there was an answer."""
        reader, writer = await self.open(source)
        writer.write(GET % path)
        try:
            return b"answered" in await reader.readuntil(b"answered")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        finally:
            writer.close()


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    own = TransmitterSettings(issuer="http://here", allow_insecure=True, port=port, **settings)
    with api_server.listen(own) as at:
        server = api_server.server(app, own)
        async with api_server.serving(server, at):
            await _until(lambda: server.started)
            yield Served(at, server, port)


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # what others do rings no bell
        await asyncio.sleep(0.01)


def _run(story: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE):
            return await story()

    return asyncio.run(bounded())


async def _ended(reader: asyncio.StreamReader) -> None:
    """Return when the other side has ended the connection."""
    with suppress(ConnectionError):
        await reader.read()


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_server, "CLIENT_TIMEOUT_S", SLOW_S)


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(
    "output", [b"", b"GET / HTTP/1.1\r\nHo", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"]
)
def test_who_sends_no_whole_request_is_not_waited_for(output: bytes) -> None:
    async def story() -> None:
        async with served() as here:
            reader, writer = await here.open()
            writer.write(output)
            await _ended(reader)
            await _until(lambda: here.at.open_by_caller == {})
            writer.close()

    _run(story)


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["headers", "a body after the answer"],
)
def test_who_sends_without_end_is_ended(begin: bytes, more: bytes) -> None:
    async def story() -> None:
        async with served() as here:
            reader, writer = await here.open()
            writer.write(begin)
            with suppress(ConnectionError):
                while not reader.at_eof() and not writer.is_closing():
                    writer.write(more)
                    await writer.drain()
                    await asyncio.sleep(0.02)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1000), 0.001)
            await _until(lambda: here.at.open_by_caller == {})
            writer.close()

    _run(story)


@pytest.mark.usefixtures("_hurried")
def test_who_takes_no_answer_is_ended() -> None:
    async def story() -> None:
        async with served() as here:
            _, writer = await here.open()
            writer.write(GET % b"/long")
            await _until(lambda: bool(here.server.server_state.tasks))
            await _until(lambda: not here.server.server_state.tasks and here.at.open_by_caller == {})
            writer.close()

    _run(story)


@pytest.mark.usefixtures("_hurried")
def test_who_is_kept_waiting_is_not_slow() -> None:
    async def story() -> list[bool]:
        async with served() as here:
            reader, writer = await here.open()
            answers = []
            for _ in range(2):
                writer.write(GET % b"/late")
                answers.append(b"answered" in await reader.readuntil(b"answered"))
                await asyncio.sleep(SLOW_S / 3)
            writer.close()
            return answers

    assert _run(story) == [True, True]


def test_one_address_gets_half_of_the_places_and_others_still_get_in() -> None:
    async def story() -> None:
        async with served(max_connections=8) as here:
            opened = [await here.open() for _ in range(10)]
            ends = [asyncio.create_task(_ended(reader)) for reader, _ in opened]
            await _until(lambda: sum(end.done() for end in ends) == 6)
            assert here.at.open_by_caller == {"127.0.0.1": 4}

            assert await here.ask(source="127.0.0.1") is False
            assert await here.ask(source="127.0.0.2") is True
            for _, writer in opened:
                writer.close()
            await _until(lambda: here.at.open_by_caller == {})
            assert await here.ask(source="127.0.0.1") is True
            await asyncio.gather(*ends)

    _run(story)


def test_a_proxy_that_is_trusted_gets_all_places_and_no_more() -> None:
    async def story() -> None:
        async with served(max_connections=8, trusted_proxies="127.0.0.0/30") as here:
            opened = [await here.open() for _ in range(10)]
            ends = [asyncio.create_task(_ended(reader)) for reader, _ in opened]
            await _until(lambda: sum(end.done() for end in ends) == 2)
            assert here.at.open_by_caller == {"127.0.0.1": 8}
            for _, writer in opened:
                writer.close()
            await asyncio.gather(*ends)

    _run(story)


def test_over_tls_too_a_place_is_free_when_its_connection_has_ended(tmp_path: Path) -> None:
    trust = _trust(tmp_path)
    files = {"tls_cert_file": tmp_path / "cert.pem", "tls_key_file": tmp_path / "key.pem"}

    async def story() -> None:
        async with served(**files) as here:
            reader, writer = await here.open()
            writer.write(b"no TLS at all")
            await _ended(reader)
            writer.close()
            reader, writer = await asyncio.open_connection("localhost", here.port, ssl=trust)
            writer.write(GET % b"/")
            assert b"answered" in await reader.readuntil(b"answered")
            assert here.at.open_by_caller == {"127.0.0.1": 1}
            writer.close()
            await _until(lambda: here.at.open_by_caller == {})

    _run(story)


def test_half_of_the_files_are_for_other_things_than_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api_server, "getrlimit", lambda which: (256, resource.RLIM_INFINITY))

    async def story() -> int:
        async with served(max_connections=500) as here:
            return here.at.limit

    assert _run(story) == 128
    assert "\n".join(caplog.messages) == (
        "256 files may be open, so at most 128 connections are accepted and not 500; raise the limit "
        "(ulimit -n) or lower SESSION_RISK_TRANSMITTER_MAX_CONNECTIONS"
    )


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("unknown", "-"),
        ("x" * 10_000, "-"),
        ("", "-"),
    ],
)
def test_one_caller_is_an_address_or_the_network_it_can_choose_from(address: str, caller: str) -> None:
    assert rate_limit_key(address) == caller


@pytest.mark.parametrize(
    ("trusted", "peer", "output", "counted"),
    [
        ("", "127.0.0.1", "203.0.113.9", "127.0.0.1"),
        ("10.0.0.0/8", "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.0/8", "127.0.0.1", "203.0.113.9", "127.0.0.1"),
        ("10.0.0.0/8, ::1", "10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.0/8, ::1", "::1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first is made up
        ("10.0.0.0/8", "10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", None, "10.0.0.1"),
    ],
)
def test_only_a_trusted_proxy_says_where_a_request_came_from(
    trusted: str, peer: str, output: str | None, counted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own, which is not asked
    api = new_api(tmp_path, trusted_proxies=trusted)
    api.app = api_server.server(api.app, api.services.settings).config.loaded_app
    api.address = peer

    api.ask("GET", "/ssf/stream", headers={} if output is None else {"x-forwarded-for": output})

    with api.services.store.read() as conn:
        assert [noted.address for noted in audit.recent(conn)] == [counted]
    api.services.store.close()
