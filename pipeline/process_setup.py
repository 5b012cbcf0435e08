"""How memory that is no longer used comes back, set to how this program uses it.

A chunk is thousands of short-lived tuples and dictionaries, hardly any in a circle: reference counts free
them. Searching for circles after every 700 of them, as Python does by itself, is a sixth of a worker's time.
"""

from __future__ import annotations

import gc
import logging
import signal
from typing import Final

EVERY: Final = (50_000, 20, 20)
"""Objects made and not freed before the youngest are searched; how many of these searches go by before older
ones are searched too."""


def search_seldom() -> None:
    """Search as often as this program needs, and never again what is there by now: it stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*EVERY)


FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

TELL_ALL: Final = ("aiokafka.conn", "aiokafka.producer.producer")
"""Tell requests and records at DEBUG with what they hold: the password (PLAIN), keys, names, whole values."""


class _NoServiceTalk(logging.Filter):
    """Leaves out what each of Faust's services says of its own coming and going."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO or not record.getMessage().startswith("[^")


def begin(level: str) -> None:
    """Log what is as urgent as *level*, or more."""
    handler = logging.StreamHandler()
    if level == "INFO":
        handler.addFilter(_NoServiceTalk())
    logging.basicConfig(level=level, format=FORMAT, handlers=[handler])


def hear_of_kafka() -> None:
    """From now on it is news what the client says, but for what it tells at DEBUG with all it holds."""
    logging.getLogger("aiokafka").setLevel(logging.NOTSET)
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        for name in TELL_ALL:
            logging.getLogger(name).setLevel(logging.INFO)


def end_if_told() -> None:
    """Have SIGTERM end this process in order from now on, though it cannot listen yet: nothing has begun."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
