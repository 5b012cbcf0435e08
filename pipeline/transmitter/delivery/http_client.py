"""The way out: one HTTP session for each receiver, which connects only where it may and believes no answer.

Each has its own connections, and names are looked up in threads of their own: one receiver that hangs takes
nothing from the others. No redirect is followed, no proxy of the environment asked, no cookie kept, and
nothing unpacked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace
from yarl import URL

from pipeline.settings.egress import Allowed, read
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.outcomes import retry_after_ms
from pipeline.transmitter.push_responses import PushResponse, of_failure, of_status

MOST_HINTS: Final = 16
"""Interim answers (RFC 9110 §15.2) before the final one, or answers unasked: servers send one, if any."""
PIECE: Final = 16_384
"""Bytes that are taken apart at once: all else waits meanwhile."""


class Connector(aiohttp.TCPConnector):
    """Takes a connection again only if nothing came on it meanwhile.

    What a receiver says unasked would be read as its answer to the next token, which it may never have got.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        made: type[ResponseHandler] = _BoundedResponseHandler
        self._factory = partial(made, loop=self._loop)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (found := await super()._get(key, traces)) is not None:
            if found.protocol is not None and not found.protocol.should_close:
                break
            found.close()
        return found


class _BoundedResponseHandler(ResponseHandler):
    """Reads answers, and breaks off with who sends more than one asked for: they cost others their time."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(loop)
        self._hints = 0

    def data_received(self, data: bytes) -> None:
        for start in range(0, max(1, len(data)), PIECE):
            super().data_received(data[start : start + PIECE])
            if max(self._hints, len(self)) > MOST_HINTS:
                if self.transport is not None:
                    self.set_exception(HttpProcessingError(message="answers without end"))
                    self.transport.abort()
                return

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        super().feed_data(data, size)
        self._hints = self._hints + 1 if data[0].code < 200 else 0


LONGEST_URL: Final = 2048
LONGEST_ANSWER: Final = 16_384
"""Bytes of an answer that are read; an error of RFC 8935 §2.3 is a few hundred."""

NAMES_KEPT_S: Final = 30
"""How long it is remembered where a name leads. What is connected stays so while it is in use."""

HEADERS: Final = {
    "Content-Type": "application/secevent+jwt",  # RFC 8935 §2.1
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "session-risk",
}


class ForbiddenUrlError(ValueError):
    """An address on the web that is not pushed to, and why."""


class ForbiddenAddressError(OSError):
    """An address that is not connected to."""


def check_url(url: str, settings: TransmitterSettings) -> None:
    """Raise `ForbiddenUrlError`, with a sentence, where *url* may not be pushed to whatever its name means.

    What its name means is looked at each time it is connected to: names change.
    """
    parts = _read(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.allow_insecure):
        raise ForbiddenUrlError(f"the scheme must be https, not {parts.scheme or 'none'!r}")
    if parts.user is not None or parts.password is not None:
        raise ForbiddenUrlError("it must hold no user name and no password: use authorization_header")
    if parts.fragment:
        raise ForbiddenUrlError("it must have no fragment")
    host = parts.host or ""
    address = read(_spelled_out(host))
    if address is not None and not _allowed(settings).permits(address, host):
        raise ForbiddenUrlError(f"its address {address} may not be connected to")
    if _is_this_machine(host) and not settings.allow_insecure:
        raise ForbiddenUrlError(f"its host {host} is this machine")


class PushClient:
    """Pushes to the host of one URL. Make it inside an event loop; close it at the end.

    *tls* is shared by all: trusted authorities are read once.
    """

    def __init__(self, url: str, settings: TransmitterSettings, tls: ssl.SSLContext) -> None:
        check_url(url, settings)
        self.url = url
        self._to = _read(url)
        connector = Connector(
            resolver=_Resolver(),
            socket_factory=guard(_allowed(settings), self._to.host or ""),
            limit=settings.push_at_once,
            ttl_dns_cache=NAMES_KEPT_S,
            ssl=tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=settings.push_timeout_s),
            auto_decompress=False,
            trust_env=False,
        )

    async def push(self, jwt: str, authorization: str | None, now_ms: int) -> tuple[PushResponse, int | None]:
        """Push one token (RFC 8935 §2.1); return what came of it, and the status if there was an answer."""
        headers = HEADERS if authorization is None else {**HEADERS, "Authorization": authorization}
        try:
            posting = self._session.post(self._to, data=jwt.encode(), headers=headers, allow_redirects=False)
            async with posting as response:
                body = b"" if 200 <= response.status < 300 else await _head(response)
                later = retry_after_ms(response.headers.get("Retry-After"), now_ms)
                return of_status(response.status, body, later), response.status
        except Exception as error:  # noqa: BLE001 - whatever it is, the token is still here and is tried again
            return of_failure(*_named(error)), None

    async def close(self) -> None:
        """Close its connections; pushes under way fail."""
        await self._session.close()


def trusted() -> ssl.SSLContext:
    """Return what receivers must prove: TLS 1.2 or newer (RFC 9325 §3.1), an authority known here.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as everywhere with OpenSSL.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


def guard(allowed: Allowed, host: str) -> Callable[[AddressInfo], socket.socket]:
    """Return what makes the sockets of *host*: none for an address that may not be connected to.

    It is asked with the very address that is connected to next, so no second look-up can come between.
    """

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, where = info
        address = read(str(where[0]))
        if address is None or not allowed.permits(address, host):
            raise ForbiddenAddressError(f"{host} is at {where[0]}, which may not be connected to")
        return socket.socket(family, kind, protocol)

    return make


class _Resolver(AbstractResolver):
    """The system's resolver, each look-up in a thread of its own: one that hangs keeps nobody else waiting.

    The threads are daemons: the process may end while they hang.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[AddressInfo]] = loop.create_future()

        def look() -> None:
            try:
                end = partial(_end, found, socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
            except OSError as error:
                end = partial(_end, found, error)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(end)

        Thread(target=look, name=f"resolver of {host}", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, where in await found
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _end(found: asyncio.Future[Sequence[AddressInfo]], what: Sequence[AddressInfo] | OSError) -> None:
    if found.done():
        return
    if isinstance(what, OSError):
        found.set_exception(what)
    else:
        found.set_result(what)


def _read(url: str) -> URL:
    """Read *url* as aiohttp does, which connects to what this says: two readings could differ."""
    if len(url) > LONGEST_URL:
        raise ForbiddenUrlError(f"it must be at most {LONGEST_URL} characters long")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ForbiddenUrlError("it must be written in plain characters, without blanks")
    try:
        parts = URL(url)
        port = parts.port
    except ValueError as error:
        raise ForbiddenUrlError(f"it cannot be read: {error}") from error
    if not parts.host or port == 0:
        raise ForbiddenUrlError("it must name a host, and a port that exists if any")
    return parts


def _allowed(settings: TransmitterSettings) -> Allowed:
    return Allowed.of(settings.allow_hosts, loopback=settings.allow_insecure)


def _spelled_out(host: str) -> str:
    """Return the address that resolvers read from `2130706433`, `0x7f.1` and the like; else *host* itself."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return host


def _is_this_machine(host: str) -> bool:
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761 §6.3


async def _head(response: aiohttp.ClientResponse) -> bytes:
    """Read the answer, or its beginning and no more."""
    read_so_far = bytearray()
    async for piece in response.content.iter_chunked(4096):
        read_so_far += piece
        if len(read_so_far) > LONGEST_ANSWER:
            response.close()
            break
    return bytes(read_so_far[:LONGEST_ANSWER])


def _named(error: Exception) -> tuple[str, str]:
    """Return the key of `answers.FAILURES` for *error*, and what may be said of it: never our own headers."""
    if isinstance(error, TimeoutError):
        return "timeout", ""
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls", _reason(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        refused = isinstance(error.os_error, ForbiddenAddressError)
        return ("address_refused" if refused else "unreachable"), str(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | OSError):
        return "cut", type(error).__name__
    if isinstance(error, aiohttp.ClientPayloadError):
        return "cut", "in the midst of its answer"
    return "bad_answer", type(error).__name__


def _reason(error: Exception) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or type(cause).__name__)
