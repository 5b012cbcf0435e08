"""The HTTP side in the process's own event loop: uvicorn, which hears no signals and ends no process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from pipeline.transmitter.api.connections import Impatient, Listener, bounded
from pipeline.transmitter.api.seldom import SELDOM
from pipeline.transmitter.settings import TransmitterSettings

DRAIN_S: Final = 5
"""Seconds that requests under way have when serving ends; polls that wait are woken before."""
BACKLOG: Final = 512
"""Connections that wait to be taken; more are made to try again by the system."""

logger = logging.getLogger(__name__)


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
        files, files // 2, most,
    )  # fmt: skip
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
    for name in ("uvicorn.error", Impatient.__module__):
        logging.getLogger(name).addFilter(SELDOM)
    config = uvicorn.Config(
        app,
        http=Impatient,
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
async def serving(one: uvicorn.Server, at: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """Serve while the block lasts; gives the task that does, which ends early only if it fails."""
    task = asyncio.create_task(one.serve(sockets=[at]), name="serving")
    try:
        yield task
    finally:
        one.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        at.close()
