"""Tokens of tests: signed by nobody, for receivers that ask for no signature."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from pipeline.transmitter.protocol import SignedToken

HEADER = {"typ": "secevent+jwt", "alg": "RS256", "kid": "k-1"}


def unsigned(claims: Mapping[str, Any]) -> str:
    """Return *claims* in the form of a compact JWS; its signature is none."""
    return ".".join(_encoded(json.dumps(part).encode()) for part in (HEADER, claims)) + ".c2lnbmF0dXJl"


def numbered(lane: str, number: int, stream_id: str = "s-1") -> SignedToken:
    """Return the token that comes as *number* in its *lane*, and says so."""
    jti = f"{stream_id}.{lane}.{number}"
    claims = {"jti": jti, "lane": lane, "number": number}
    return SignedToken(stream_id, jti, lane, "session-revoked", "k-1", unsigned(claims))


def _encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).decode().rstrip("=")
