"""One HTTP request, one answer: nothing is followed, and no header is added that was not asked for."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which says that it is JSON."""
        assert self.headers.get("content-type", "").split(";")[0] == "application/json", self
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Wire:
    """Speaks to whom *trust* vouches for; times in seconds."""

    trust: ssl.SSLContext
    patience: float = 60.0

    def call(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Ask *url* once."""
        to = urlsplit(url)
        host, path = to.hostname or "", (to.path or "/") + (f"?{to.query}" if to.query else "")
        connection = (
            HTTPSConnection(host, to.port, timeout=self.patience, context=self.trust)
            if to.scheme == "https"
            else HTTPConnection(host, to.port, timeout=self.patience)
        )
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            return self.answered(connection)
        finally:
            connection.close()

    def answered(self, connection: HTTPConnection) -> Answer:
        """Wait for the answer."""
        answer = connection.getresponse()
        kept = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, kept, answer.read())
