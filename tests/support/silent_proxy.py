"""A proxy on loopback before a PostgreSQL that goes silent: it takes what is said and answers nothing.

That is what a server or a pooler that hangs looks like. TCP sees nothing wrong.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread, Timer
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
LONGEST_S = 60.0
"""Who would wait for ever is told after so many seconds: a test then fails, and does not hang."""


class Proxy:
    """Passes on what is said on either side while it is not *silent*."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._there = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._listener = socket.create_server((HOST, 0))
        self._talks = Event()
        self._talks.set()
        self._open = True
        self._sockets: list[socket.socket] = []
        self._end = Timer(LONGEST_S, self.close)
        self.url = f"{parts.scheme}://{parts.netloc}{HOST}:{self._listener.getsockname()[1]}{parts.path}"
        """The address of the same database behind it."""
        Thread(target=self._accept, daemon=True).start()

    def hush(self) -> None:
        """Pass nothing on any more, on connections there are and on new ones; all end after `LONGEST_S`."""
        self._talks.clear()
        self._end = Timer(LONGEST_S, self.close)
        self._end.daemon = True
        self._end.start()

    def talk(self) -> None:
        """Pass on what was held back, and all that comes."""
        self._end.cancel()
        self._talks.set()

    def close(self) -> None:
        """End every connection."""
        self._end.cancel()
        self._open = False
        self._talks.set()
        for this_socket in [self._listener, *self._sockets]:
            with suppress(OSError):
                this_socket.shutdown(socket.SHUT_RDWR)
            this_socket.close()

    def _accept(self) -> None:
        while self._open:
            with suppress(OSError):
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                server.connect(self._there)
                self._sockets += [client, server]
                for this_socket, other in ((client, server), (server, client)):
                    Thread(target=self._pass_on, args=[this_socket, other], daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while payload := one.recv(65_536):
                self._talks.wait()
                other.sendall(payload)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(url: str) -> Iterator[Proxy]:
    """Stand before the database at *url* while the block lasts."""
    this_proxy = Proxy(url)
    try:
        yield this_proxy
    finally:
        this_proxy.close()
