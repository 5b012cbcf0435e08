"""Units of time, and a parser of times as people type them: a span such as `8h`, or a moment in ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
_UNIT_MS: Final = {"s": 1_000, "m": MINUTE_MS, "h": HOUR_MS, "d": 24 * HOUR_MS}
_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")


def moment_ms(text: str, now_ms: int, *, ahead: bool) -> int:
    """Return the moment that *text* means, in ms since the epoch: a span is before *now_ms*, or after it if *ahead*.

    A moment without a zone is UTC. Raises `ValueError` with a sentence that says how to write one.

    >>> moment_ms("2h", 10_000_000, ahead=False)
    2800000
    >>> moment_ms("1970-01-01T00:00:05", 0, ahead=True)
    5000
    """
    if found := _SPAN.fullmatch(text.strip()):
        span = int(found[1]) * _UNIT_MS[found[2]]
        return now_ms + span if ahead else max(now_ms - span, 0)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time: write a span (90m, 8h, 2d) or 2026-03-02T08:00") from None
    ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if ms < 0:
        raise ValueError(f"{text!r} is before 1970")
    return ms
