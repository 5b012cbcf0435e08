"""Warnings that strangers cause at will: each is logged once in a while, with how many more there were."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Final

PAUSE_S: Final = 60.0
"""Least time between two warnings that say the same, in seconds."""


class Seldom(logging.Filter):
    """Lets a warning through once in `PAUSE_S`; what is more or less urgent passes. *clock* gives seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = str(record.msg)  # without what it is about: there are as many of these as places in the code
        with self._lock:
            now = self._clock()
            at, held = self._said.get(text, (now - PAUSE_S, 0))
            passes = now - at >= PAUSE_S
            self._said[text] = (now, 0) if passes else (at, held + 1)
        if passes and held:
            record.msg, record.args = f"{record.getMessage()} ({held} more like this before)", ()
        return passes


SELDOM: Final = Seldom()
"""The one of this process."""
