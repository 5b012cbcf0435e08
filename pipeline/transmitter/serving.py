"""The HTTP side in the process's own event loop: uvicorn, which hears no signals and ends no process."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from pipeline.transmitter.settings import TransmitterSettings

DRAIN_S: Final = 5
"""Seconds that requests under way have when serving ends; polls that wait are woken before."""


class _Server(uvicorn.Server):
    """Leaves signals to the process around it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(settings: TransmitterSettings) -> socket.socket:
    """Take the address; raises `OSError` saying which setting to change where it cannot be had."""
    host, port = settings.host, settings.port
    try:
        family, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(at[:2], family=family, backlog=512)
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        message = (
            f"the transmitter cannot listen on {host}:{port} ({why}); set "
            "SESSION_RISK_TRANSMITTER_HOST and SESSION_RISK_TRANSMITTER_PORT"
        )
        raise OSError(error.errno, message) from error


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


def server(app: FastAPI, settings: TransmitterSettings) -> uvicorn.Server:
    """Return what serves *app*."""
    config = uvicorn.Config(
        app,
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
