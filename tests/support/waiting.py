"""Waiting for what other processes do: until it holds, or until it is time to say what was seen instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 120.0
"""Seconds within which anything that is waited for has happened, on a machine that others use too."""


def until(what: str, look: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """Look until what is seen holds, and return it; else say *what* was waited for and what was seen last."""
    deadline = time.monotonic() + PATIENCE
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}; seen last: {seen!r}"
        time.sleep(0.05)
    return seen
