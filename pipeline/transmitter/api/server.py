"""HTTP server: uvicorn with bounds on the number of connections, on each caller's share and on slow clients.

uvicorn alone accepts connections until the process has no file descriptors left, also none for pushes, and
waits without limit for the end of a request or for the client to read the response. Its `limit_concurrency`
(0.54) does not replace the bounds: with a limit of 4, one address held 20 idle connections open while a request
from another address got 503, where `test_one_address_gets_half_of_the_places_and_others_still_get_in` demands a
place for it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Network
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from threading import Lock
from time import monotonic
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.settings.egress import Network, parse_address
from pipeline.settings.transmitter import TransmitterSettings

CLIENT_TIMEOUT_S: Final = 30.0
"""Seconds within which a whole request must arrive, and a response must be read."""

_REQUEST_INCOMPLETE: Final = (h11.IDLE, h11.SEND_BODY)
"""h11 states of a client that has not sent its whole request."""

logger = logging.getLogger(__name__)


def rate_limit_key(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 of an IPv6 address (RFC 4291 §2.5.1).

    The owner of an IPv6 address has its 2⁶⁴ neighbours, too. Everything that is not an address is one caller.
    """
    at = parse_address(address)
    if at is None:
        return "-"
    inside = at if isinstance(at, IPv4Address) else at.ipv4_mapped
    return str(IPv6Network((int(at) >> 64 << 64, 64)) if inside is None else inside)


class Listener(socket.socket):
    """A listening socket with a limit on connections; made by `limit_connections`.

    A caller may have as many connections as places are left. So a single caller gets half of them, many callers
    share evenly, and a new caller always finds room. A trusted proxy acts for many clients and may have all.
    """

    limit: int
    proxies: Sequence[Network]
    open_by_caller: Counter[str]

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection.

        Raises:
            ConnectionAbortedError: there was no place for it, and it is closed. The event loop continues.
        """
        plain_socket, at = super().accept()
        name = rate_limit_key(str(at[0]))
        remaining = self.limit - self.open_by_caller.total()
        if remaining <= 0 or (self.open_by_caller[name] >= remaining and not self._is_proxy(str(at[0]))):
            plain_socket.close()
            logger.warning(
                "%s has %d connections and gets no more; %d are left", name, self.open_by_caller[name], remaining
            )
            raise ConnectionAbortedError(errno.ECONNABORTED, "too many connections")
        self.open_by_caller[name] += 1
        return _Connection(plain_socket, partial(self._release, name)), at

    def _is_proxy(self, address: str) -> bool:
        at = parse_address(address)
        return at is not None and any(at in network for network in self.proxies)

    def _release(self, caller: str) -> None:
        self.open_by_caller[caller] -= 1
        if self.open_by_caller[caller] <= 0:
            del self.open_by_caller[caller]


def limit_connections(plain_socket: socket.socket, limit: int, proxies: Sequence[Network] = ()) -> Listener:
    """Return a listener that replaces *plain_socket* and has at most *limit* connections at a time."""
    listener = Listener(plain_socket.family, plain_socket.type, plain_socket.proto, fileno=plain_socket.detach())
    listener.limit, listener.proxies, listener.open_by_caller = limit, proxies, Counter()
    return listener


class _Connection(socket.socket):
    """A connection that calls back once when it is closed."""

    def __init__(self, plain_socket: socket.socket, on_close: Callable[[], None]) -> None:
        super().__init__(plain_socket.family, plain_socket.type, plain_socket.proto, fileno=plain_socket.detach())
        self._on_close: Callable[[], None] | None = on_close

    def close(self) -> None:
        super().close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


class TimeoutH11Protocol(H11Protocol):
    """HTTP/1.1 protocol that aborts a connection whose request, or whose reader, is slower than `CLIENT_TIMEOUT_S`.

    While a request is being processed no timer runs: a long poll may wait.
    """

    _request_timer: asyncio.TimerHandle | None = None
    _response_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._update_request_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_request_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_request_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._request_timer, self._response_timer):
            if timer is not None:
                timer.cancel()
        self._request_timer = self._response_timer = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._response_timer is None:
            self._response_timer = self.loop.call_later(CLIENT_TIMEOUT_S, self._abort, "does not read the response")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._response_timer is not None:
            self._response_timer.cancel()
            self._response_timer = None

    def _update_request_timer(self) -> None:
        """Start or stop the timer for the rest of a request; single bytes do not extend it."""
        incomplete = self.conn.their_state in _REQUEST_INCOMPLETE
        if incomplete and self._request_timer is None:
            self._request_timer = self.loop.call_later(CLIENT_TIMEOUT_S, self._abort, "does not complete its request")
        elif not incomplete and self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _abort(self, why: str) -> None:
        name = rate_limit_key(self.client[0]) if self.client else "-"
        logger.warning("a connection of %s is aborted: it %s in %.0f s", name, why, CLIENT_TIMEOUT_S)
        self.transport.abort()


WARNING_INTERVAL_S: Final = 60.0
"""Shortest time between two warnings of the same format, in seconds."""


class RepeatedWarningFilter(logging.Filter):
    """Log filter that passes a warning of one format once in `WARNING_INTERVAL_S` and reports how many were dropped.

    Records of other levels pass. *clock* returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._last_by_format: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = str(record.msg)  # the format without its arguments, so that the table stays as small as the code
        with self._lock:
            now = self._clock()
            at, open_by_caller = self._last_by_format.get(text, (now - WARNING_INTERVAL_S, 0))
            passes = now - at >= WARNING_INTERVAL_S
            self._last_by_format[text] = (now, 0) if passes else (at, open_by_caller + 1)
        if passes and open_by_caller:
            record.msg, record.args = f"{record.getMessage()} ({open_by_caller} more like this before)", ()
        return passes


REPEATED_WARNINGS: Final = RepeatedWarningFilter()
"""The filter of this process."""

DRAIN_S: Final = 5
"""Seconds that requests in progress have when the server stops; waiting polls are woken before."""
BACKLOG: Final = 512
"""Length of the listen queue; the operating system makes further clients retry."""


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process around it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(settings: TransmitterSettings) -> Listener:
    """Bind the address; raises `OSError` that names the setting to change if it cannot be bound."""
    limit = _connection_limit(settings)
    host, port = settings.host, settings.port
    try:
        family, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        plain_socket = socket.create_server(at[:2], family=family, backlog=BACKLOG)
        return limit_connections(plain_socket, limit, settings.proxies)
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        message = (
            f"the transmitter cannot listen on {host}:{port} ({why}); set "
            "SESSION_RISK_TRANSMITTER_HOST and SESSION_RISK_TRANSMITTER_PORT"
        )
        raise OSError(error.errno, message) from error


def _connection_limit(settings: TransmitterSettings) -> int:
    """The limit of the settings, but half of the file descriptors stay free for pushes and the store."""
    files = getrlimit(RLIMIT_NOFILE)[0]
    limit = settings.max_connections
    if files == RLIM_INFINITY or files // 2 >= limit:
        return limit
    logger.warning(
        "%d files may be open, so at most %d connections are accepted and not %d; raise the limit (ulimit -n) "
        "or lower SESSION_RISK_TRANSMITTER_MAX_CONNECTIONS",
        files,
        files // 2,
        limit,
    )
    return files // 2


def check_certificate(settings: TransmitterSettings) -> None:
    """Return if the certificate is usable, or none is set; raises `OSError` otherwise."""
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate is None or key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        message = (
            f"{certificate} and {key} cannot be used as certificate and key ({error.strerror or error}); set "
            "SESSION_RISK_TRANSMITTER_TLS_CERT_FILE and SESSION_RISK_TRANSMITTER_TLS_KEY_FILE"
        )
        raise OSError(error.errno, message) from error


def server(app: ASGIApp, settings: TransmitterSettings) -> uvicorn.Server:
    """Return the server of *app*.

    The client's address is that of the connection, unless that is a trusted proxy. Without the settings below,
    uvicorn would trust every process on this machine, and an environment variable of its own.
    """
    proxies = [str(network) for network in settings.proxies]
    for name in ("uvicorn.error", TimeoutH11Protocol.__module__):
        logging.getLogger(name).addFilter(REPEATED_WARNINGS)
    config = uvicorn.Config(
        app,
        http=TimeoutH11Protocol,
        ws="none",
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
    )
    config.load()
    return _Server(config)


@asynccontextmanager
async def serving(server: uvicorn.Server, at: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """Serve while the block lasts; yields the server task, which ends early only if it fails."""
    task = asyncio.create_task(server.serve(sockets=[at]), name="serving")
    try:
        yield task
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        at.close()
