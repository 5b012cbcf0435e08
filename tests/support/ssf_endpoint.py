"""Where a receiver takes pushes: RFC 8935 §2 from the other side, with answers that a test decides on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Pushed:
    """One request as it arrived; names of headers in lower case, *at* by the monotonic clock in seconds."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def text(self) -> str:
        return self.body.decode("ascii")


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: RFC 8935 §2.2 unless told otherwise; *after* so many seconds."""

    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: float = 0.0


def refused(err: str) -> Reply:
    """RFC 8935 §2.3."""
    body = json.dumps({"err": err, "description": f"because {err}"}).encode()
    return Reply(400, {"Content-Type": "application/json", "Content-Language": "en"}, body)


Decide = Callable[[Pushed, int], Reply]
"""The answer to a request, the how manyth with this very body it is (1 first)."""


class Endpoint:
    """Everything that was pushed, in the order it came, and what is answered."""

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.pushed: list[Pushed] = []
        self.url = ""
        self.ended = threading.Event()
        self._lock = threading.Lock()

    def take(self, pushed: Pushed) -> Reply:
        """Note *pushed* and decide."""
        with self._lock:
            self.pushed.append(pushed)
            nth = sum(1 for this_pushed in self.pushed if this_pushed.body == pushed.body)
        return self.decide(pushed, nth)

    def wait(self, count: int) -> list[Pushed]:
        """Wait until *count* requests have come."""
        return until(f"{count} pushes", lambda: list(self.pushed), lambda seen: len(seen) >= count)


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the base class names it so
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = endpoint.take(Pushed("POST", self.path, headers, body, time.monotonic()))
            if reply.after:
                endpoint.ended.wait(reply.after)
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:  # who asked has given up
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            """Say nothing: the test looks at what came."""

    return Handler


@contextmanager
def listening(decide: Decide = lambda _pushed, _nth: Reply()) -> Iterator[Endpoint]:
    """An endpoint on loopback."""
    endpoint = Endpoint(decide)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(endpoint))
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/events"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
