"""Strings of a foreign log made to fit ours: bounded, encodable, hashed where the value must not travel."""

from __future__ import annotations

import hashlib
from typing import Any


def bounded(value: Any, limit: int) -> str | None:
    """Return *value* cut to *limit* characters, or None where it is no text or empty."""
    if not isinstance(value, str) or not value:
        return None
    # JSON may carry lone surrogates, which no UTF-8 wire can.
    return value[:limit].encode("utf-8", "replace").decode("utf-8")


def name(value: Any, limit: int) -> str | None:
    """Return *value* as an id of at most *limit* characters; a longer one ends in a hash, to stay apart."""
    if not isinstance(value, str) or len(value) <= limit:
        return bounded(value, limit)
    return f"{bounded(value, limit - 17)}~{digest(value)[:16]}"


def digest(value: str) -> str:
    """Return the first 32 hex digits of the SHA-256 of *value*."""
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:32]
