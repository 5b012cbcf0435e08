"""Connections within bounds: how many there are, of whom, and how long each keeps its place without asking.

uvicorn takes in connections until no file can be opened any more, also none for pushes, and waits for the end
of a request, or for its answer to be taken, as long as the other side likes.
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

from pipeline.settings.egress import Network, read
from pipeline.settings.transmitter import TransmitterSettings

SLOW_S: Final = 30.0
"""Seconds within which a whole request has come, and an answer has been taken."""

_OURS_TO_READ: Final = (h11.IDLE, h11.SEND_BODY)
"""States of a client that has not said all yet."""

logger = logging.getLogger(__name__)


def rate_limit_key(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 of an IPv6 address (RFC 4291 §2.5.1).

    Whoever has an IPv6 address has its 2⁶⁴ neighbours, too. All that is no address is one caller.
    """
    at = read(address)
    if at is None:
        return "-"
    inside = at if isinstance(at, IPv4Address) else at.ipv4_mapped
    return str(IPv6Network((int(at) >> 64 << 64, 64)) if inside is None else inside)


class Listener(socket.socket):
    """A listening socket with so many places for connections; made by `bounded`.

    A caller may have as many connections as there are places left. So one alone gets half of them, and many
    share evenly: whoever comes next finds room. A proxy that is trusted speaks for many and may have all.
    """

    most: int
    proxies: Sequence[Network]
    held: Counter[str]

    def accept(self) -> tuple[socket.socket, Any]:
        """Take the next connection.

        Raises:
            ConnectionAbortedError: there was no place for it; it is closed. The event loop goes on.
        """
        plain, at = super().accept()
        name = rate_limit_key(str(at[0]))
        left = self.most - self.held.total()
        if left <= 0 or (self.held[name] >= left and not self._is_proxy(str(at[0]))):
            plain.close()
            logger.warning("%s has %d connections and gets no more; %d are left", name, self.held[name], left)
            raise ConnectionAbortedError(errno.ECONNABORTED, "no place for this connection")
        self.held[name] += 1
        return _Connection(plain, partial(self._ended, name)), at

    def _is_proxy(self, address: str) -> bool:
        at = read(address)
        return at is not None and any(at in network for network in self.proxies)

    def _ended(self, caller: str) -> None:
        self.held[caller] -= 1
        if self.held[caller] <= 0:
            del self.held[caller]


def bounded(plain: socket.socket, most: int, proxies: Sequence[Network] = ()) -> Listener:
    """Return what listens in place of *plain*, with places for *most* connections at a time."""
    listener = Listener(plain.family, plain.type, plain.proto, fileno=plain.detach())
    listener.most, listener.proxies, listener.held = most, proxies, Counter()
    return listener


class _Connection(socket.socket):
    """Says once that it is closed."""

    def __init__(self, plain: socket.socket, ended: Callable[[], None]) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._on_end: Callable[[], None] | None = ended

    def close(self) -> None:
        super().close()
        ended, self._on_end = self._on_end, None
        if ended is not None:
            ended()


class TimeoutH11Protocol(H11Protocol):
    """HTTP/1.1 that ends a connection whose request, or whose reader, is slower than `SLOW_S`.

    While a request is worked on, nobody is slow: a long poll waits as long as it may.
    """

    _reads: asyncio.TimerHandle | None = None
    _writes: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._reads, self._writes):
            if timer is not None:
                timer.cancel()
        self._reads = self._writes = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._writes is None:
            self._writes = self.loop.call_later(SLOW_S, self._give_up, "takes no answer")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writes is not None:
            self._writes.cancel()
            self._writes = None

    def _watch(self) -> None:
        """Wait for the rest of a request, from when the one before was answered; bytes alone gain no time."""
        comes = self.conn.their_state in _OURS_TO_READ
        if comes and self._reads is None:
            self._reads = self.loop.call_later(SLOW_S, self._give_up, "sends no whole request")
        elif not comes and self._reads is not None:
            self._reads.cancel()
            self._reads = None

    def _give_up(self, why: str) -> None:
        name = rate_limit_key(self.client[0]) if self.client else "-"
        logger.warning("a connection of %s is ended: it %s in %.0f s", name, why, SLOW_S)
        self.transport.abort()


PAUSE_S: Final = 60.0
"""Least time between two warnings that say the same, in seconds."""


class RepeatedWarningFilter(logging.Filter):
    """Lets a warning through once in `PAUSE_S`; what is more or less urgent passes. *clock* gives seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = str(record.msg)  # without what it is about: there are as many of these as places in the code
        with self._lock:
            now = self._clock()
            at, held = self._said.get(text, (now - PAUSE_S, 0))
            passes = now - at >= PAUSE_S
            self._said[text] = (now, 0) if passes else (at, held + 1)
        if passes and held:
            record.msg, record.args = f"{record.getMessage()} ({held} more like this before)", ()
        return passes


REPEATED_WARNINGS: Final = RepeatedWarningFilter()
"""The one of this process."""

DRAIN_S: Final = 5
"""Seconds that requests under way have when serving ends; polls that wait are woken before."""
BACKLOG: Final = 512
"""Connections that wait to be taken; more are made to try again by the system."""


class _Server(uvicorn.Server):
    """Leaves signals to the process around it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(settings: TransmitterSettings) -> Listener:
    """Take the address; raises `OSError` saying which setting to change where it cannot be had."""
    most = _most_connections(settings)
    host, port = settings.host, settings.port
    try:
        family, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        plain = socket.create_server(at[:2], family=family, backlog=BACKLOG)
        return bounded(plain, most, settings.proxies)
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        message = (
            f"the transmitter cannot listen on {host}:{port} ({why}); set "
            "SESSION_RISK_TRANSMITTER_HOST and SESSION_RISK_TRANSMITTER_PORT"
        )
        raise OSError(error.errno, message) from error


def _most_connections(settings: TransmitterSettings) -> int:
    """As many as the setting says, but half of the files that may be open are for pushes and the store."""
    files = getrlimit(RLIMIT_NOFILE)[0]
    most = settings.max_connections
    if files == RLIM_INFINITY or files // 2 >= most:
        return most
    logger.warning(
        "%d files may be open, so %d connections are taken at a time and not %d; raise the limit (ulimit -n) "
        "or lower SESSION_RISK_TRANSMITTER_MAX_CONNECTIONS",
        files,
        files // 2,
        most,
    )
    return files // 2


def check_certificate(settings: TransmitterSettings) -> None:
    """Return if the certificate can be shown, or if there is to be none; raises `OSError` if not."""
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
    """Return what serves *app*.

    Where a request came from is told by the connection, unless that is a proxy which is trusted. Without the
    settings below, uvicorn would believe whatever is on this machine, and an environment variable of its own.
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
    """Serve while the block lasts; gives the task that does, which ends early only if it fails."""
    task = asyncio.create_task(server.serve(sockets=[at]), name="serving")
    try:
        yield task
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        at.close()
