"""Paths of the API below the issuer, and the published URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

WELL_KNOWN: Final = "/.well-known/ssf-configuration"

STREAM: Final = "/ssf/stream"
STATUS: Final = "/ssf/status"
VERIFY: Final = "/ssf/verify"
ADD_SUBJECT: Final = "/ssf/subjects/add"
REMOVE_SUBJECT: Final = "/ssf/subjects/remove"
POLL: Final = "/ssf/poll"
ACKS: Final = "/acks"
TOKEN: Final = "/oauth/token"  # noqa: S105  # a path
REVOKE: Final = "/oauth/revoke"
JWKS: Final = "/jwks.json"
HEALTH: Final = "/health"
DOCUMENT: Final = "/openapi.json"

OPEN: Final = (TOKEN, REVOKE, JWKS, HEALTH, DOCUMENT)
"""Paths that need no bearer token."""

AUDITED: Final = (STREAM, STATUS, VERIFY, ADD_SUBJECT, REMOVE_SUBJECT, ACKS, TOKEN, REVOKE)
"""Paths whose calls are all audited; polls are audited only if they are refused."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Maps paths to URLs of the issuer; the issuer's own path is the stem of all paths but the well-known one."""

    issuer: str

    @property
    def stem(self) -> str:
        """The issuer's path without a trailing slash: the prefix of all paths."""
        return urlsplit(self.issuer).path.rstrip("/")

    @property
    def well_known(self) -> str:
        """SSF 1.0 §7.2: the well-known path goes between host and path."""
        return f"{WELL_KNOWN}{self.stem}"

    def url(self, path: str) -> str:
        """The public URL of *path*."""
        return f"{self.issuer.rstrip('/')}{path}"

    def poll(self, stream_id: str) -> str:
        """The polling URL of a stream."""
        return self.url(f"{POLL}/{stream_id}")

    def below(self, path: str) -> str | None:
        """*path* without the stem; `None` if it is not below the stem."""
        stem = self.stem
        return path[len(stem) :] if path.startswith(f"{stem}/") else None

    def is_open(self, path: str) -> bool:
        """Whether *path* needs no token."""
        return path.startswith(WELL_KNOWN) or self.below(path) in OPEN
