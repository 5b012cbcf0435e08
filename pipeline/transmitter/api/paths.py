"""Where everything is: paths below the issuer's own, and the addresses that are published."""

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
"""Asked without a bearer token."""

AUDITED: Final = (STREAM, STATUS, VERIFY, ADD_SUBJECT, REMOVE_SUBJECT, ACKS, TOKEN, REVOKE)
"""Every call of these is noted; polls only if they are refused."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """What the issuer's URL makes of the paths; its own path is the stem of all but the well-known one."""

    issuer: str

    @property
    def stem(self) -> str:
        """The issuer's path without a slash at its end: what stands before all paths."""
        return urlsplit(self.issuer).path.rstrip("/")

    @property
    def well_known(self) -> str:
        """SSF 1.0 §7.2: the well-known path goes between host and path."""
        return f"{WELL_KNOWN}{self.stem}"

    def url(self, path: str) -> str:
        """The address of *path* as others see it."""
        return f"{self.issuer.rstrip('/')}{path}"

    def poll(self, stream_id: str) -> str:
        """Where the stream is polled."""
        return self.url(f"{POLL}/{stream_id}")

    def below(self, path: str) -> str | None:
        """*path* without the stem; nothing if it does not lie below it."""
        stem = self.stem
        return path[len(stem) :] if path.startswith(f"{stem}/") else None

    def is_open(self, path: str) -> bool:
        """Whether *path* is answered without a token."""
        return path.startswith(WELL_KNOWN) or self.below(path) in OPEN
