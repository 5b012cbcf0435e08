"""HTTP client for pushes: one session per receiver, which connects only to permitted addresses.

Each receiver has its own connections, and names are resolved in separate threads, so that a receiver that hangs
blocks no other. The client follows no redirect, uses no proxy of the environment, stores no cookie and
decompresses nothing.
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

from pipeline.settings.egress import Allowed, parse_address
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.outcomes import retry_after_ms
from pipeline.transmitter.push_responses import PushResponse, of_failure, of_status

MAX_EXTRA_RESPONSES: Final = 16
"""Interim responses (RFC 9110 §15.2) before the final one, or unsolicited responses; servers send one, if any."""
PARSE_CHUNK_BYTES: Final = 16_384
"""Bytes parsed at once: the event loop waits meanwhile."""


class Connector(aiohttp.TCPConnector):
    """Reuses a connection only if nothing arrived on it meanwhile.

    What a receiver sends unasked would be read as its response to the next token, which it may never have got.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        handler_class: type[ResponseHandler] = _BoundedResponseHandler
        self._factory = partial(handler_class, loop=self._loop)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                break
            connection.close()
        return connection


class _BoundedResponseHandler(ResponseHandler):
    """Parses responses, and aborts a connection with too many of them: parsing them costs all others time."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim_responses = 0

    def data_received(self, data: bytes) -> None:
        for start in range(0, max(1, len(data)), PARSE_CHUNK_BYTES):
            super().data_received(data[start : start + PARSE_CHUNK_BYTES])
            if max(self._interim_responses, len(self)) > MAX_EXTRA_RESPONSES:
                if self.transport is not None:
                    self.set_exception(HttpProcessingError(message="too many responses"))
                    self.transport.abort()
                return

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        super().feed_data(data, size)
        self._interim_responses = self._interim_responses + 1 if data[0].code < 200 else 0


MAX_URL_LENGTH: Final = 2048
MAX_RESPONSE_BYTES: Final = 16_384
"""Bytes of a response that are read; an error of RFC 8935 §2.3 has a few hundred."""

DNS_CACHE_S: Final = 30
"""Seconds that a resolved name is cached. Connections in use stay open."""

HEADERS: Final = {
    "Content-Type": "application/secevent+jwt",  # RFC 8935 §2.1
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "session-risk",
}


class ForbiddenUrlError(ValueError):
    """A URL that must not be pushed to, and why."""


class ForbiddenAddressError(OSError):
    """An address that must not be connected to."""


def check_url(url: str, settings: TransmitterSettings) -> None:
    """Raise `ForbiddenUrlError`, with a sentence, if *url* must not be pushed to whatever its name resolves to.

    What its name resolves to is checked at each connection, because that can change.
    """
    parts = _parse(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.allow_insecure):
        raise ForbiddenUrlError(f"the scheme must be https, not {parts.scheme or 'none'!r}")
    if parts.user is not None or parts.password is not None:
        raise ForbiddenUrlError("it must hold no user name and no password: use authorization_header")
    if parts.fragment:
        raise ForbiddenUrlError("it must have no fragment")
    host = parts.host or ""
    address = parse_address(_numeric_address(host))
    if address is not None and not _allowed(settings).permits(address, host):
        raise ForbiddenUrlError(f"connecting to its address {address} is not permitted")
    if _is_localhost(host) and not settings.allow_insecure:
        raise ForbiddenUrlError(f"its host {host} is this machine")


class PushClient:
    """Pushes to one URL. Create it inside an event loop, and close it at the end.

    *tls* is shared by all clients, so that trusted authorities are read once.
    """

    def __init__(self, url: str, settings: TransmitterSettings, tls: ssl.SSLContext) -> None:
        check_url(url, settings)
        self.url = url
        self._target = _parse(url)
        connector = Connector(
            resolver=_Resolver(),
            socket_factory=socket_factory_for(_allowed(settings), self._target.host or ""),
            limit=settings.push_at_once,
            ttl_dns_cache=DNS_CACHE_S,
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
        """Push one token (RFC 8935 §2.1); return its result, and the HTTP status if there was a response."""
        headers = HEADERS if authorization is None else {**HEADERS, "Authorization": authorization}
        try:
            request = self._session.post(self._target, data=jwt.encode(), headers=headers, allow_redirects=False)
            async with request as response:
                body = b"" if 200 <= response.status < 300 else await _read_bounded(response)
                retry_after = retry_after_ms(response.headers.get("Retry-After"), now_ms)
                return of_status(response.status, body, retry_after), response.status
        except Exception as error:  # noqa: BLE001 - whatever it is, the token is still queued and is retried
            return of_failure(*_failure_of(error)), None

    async def close(self) -> None:
        """Close its connections; pushes in progress fail."""
        await self._session.close()


def tls_context() -> ssl.SSLContext:
    """Return the TLS settings for receivers: TLS 1.2 or newer (RFC 9325 §3.1), a trusted authority.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities, as usual with OpenSSL.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


def socket_factory_for(allowed: Allowed, host: str) -> Callable[[AddressInfo], socket.socket]:
    """Return the socket factory for *host*: it refuses addresses that must not be connected to.

    It is called with the very address that is connected to next, so no second DNS lookup can come between.
    """

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, where = info
        address = parse_address(str(where[0]))
        if address is None or not allowed.permits(address, host):
            raise ForbiddenAddressError(f"{host} is at {where[0]}, to which connecting is not permitted")
        return socket.socket(family, kind, protocol)

    return make


class _Resolver(AbstractResolver):
    """The system's resolver, each lookup in a thread of its own, so that one that hangs blocks no other.

    The threads are daemons: the process may end while they hang.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        connection: asyncio.Future[Sequence[AddressInfo]] = loop.create_future()

        def look_up() -> None:
            try:
                deliver = partial(_set_result, connection, socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
            except OSError as error:
                deliver = partial(_set_result, connection, error)
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(deliver)

        Thread(target=look_up, name=f"resolver of {host}", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, where in await connection
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _set_result(connection: asyncio.Future[Sequence[AddressInfo]], outcome: Sequence[AddressInfo] | OSError) -> None:
    if connection.done():
        return
    if isinstance(outcome, OSError):
        connection.set_exception(outcome)
    else:
        connection.set_result(outcome)


def _parse(url: str) -> URL:
    """Parse *url* with yarl, as aiohttp does for the connection: two parsers could disagree."""
    if len(url) > MAX_URL_LENGTH:
        raise ForbiddenUrlError(f"it must be at most {MAX_URL_LENGTH} characters long")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ForbiddenUrlError("it must consist of ASCII characters without blanks")
    try:
        parts = URL(url)
        port = parts.port
    except ValueError as error:
        raise ForbiddenUrlError(f"it cannot be parsed: {error}") from error
    if not parts.host or port == 0:
        raise ForbiddenUrlError("it must name a host, and a valid port if any")
    return parts


def _allowed(settings: TransmitterSettings) -> Allowed:
    return Allowed.of(settings.allow_hosts, loopback=settings.allow_insecure)


def _numeric_address(host: str) -> str:
    """Return the address that resolvers read from `2130706433`, `0x7f.1` and the like; else *host* itself."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return host


def _is_localhost(host: str) -> bool:
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761 §6.3


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read the body of the response, up to `MAX_RESPONSE_BYTES`."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(4096):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            response.close()
            break
    return bytes(body[:MAX_RESPONSE_BYTES])


def _failure_of(error: Exception) -> tuple[str, str]:
    """Return the key of `push_responses.FAILURES` for *error*, and a detail that holds none of our headers."""
    if isinstance(error, TimeoutError):
        return "timeout", ""
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls", _tls_reason(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        refused = isinstance(error.os_error, ForbiddenAddressError)
        return ("address_refused" if refused else "unreachable"), str(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | OSError):
        return "cut", type(error).__name__
    if isinstance(error, aiohttp.ClientPayloadError):
        return "cut", "in the middle of the response"
    return "bad_answer", type(error).__name__


def _tls_reason(error: Exception) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or type(cause).__name__)
