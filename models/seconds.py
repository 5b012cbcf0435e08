"""Times of a row that need no milliseconds: whole seconds since 1970 in 32 bits."""

from __future__ import annotations

from typing import Final

from models.compiled import compiled

LAST: Final = 2**32 - 1
"""In the year 2106; what says it is later is taken for that."""


@compiled
def whole_seconds(at: int) -> int:
    """A time in ms as a row keeps it; 0 is never."""
    return min(max(at // 1000, 0), LAST)
