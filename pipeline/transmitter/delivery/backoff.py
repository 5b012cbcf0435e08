"""How long to wait before a push is tried again."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from typing import Final

LONGEST_RETRY_AFTER_S: Final = 3600.0
"""A receiver that asks for more is asked again after this: its queue is held here meanwhile."""


def pause_ms(attempt: int, first_s: float, most_s: float, rng: Random) -> int:
    """Return the pause after the failed *attempt*, counted from 1: anything up to twice as much each time.

    Full jitter: receivers that come back are not met by everybody at once.
    """
    doubled = first_s * 2.0 ** min(attempt - 1, 64)
    return round(1000 * rng.uniform(0.0, min(most_s, doubled)))


def retry_after_ms(value: str | None, now_ms: int) -> int | None:
    """Read `Retry-After` (RFC 9110 §10.2.3), seconds or a date; `None` where it is absent or unreadable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        asked_ms = int(text[:12]) * 1000
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # a zone of a thousand years, too
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        asked_ms = round(at.timestamp() * 1000) - now_ms
    return max(0, min(asked_ms, round(LONGEST_RETRY_AFTER_S * 1000)))
