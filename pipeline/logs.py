"""What a long-running process says of itself, to standard error; not what libraries tell of every record."""

from __future__ import annotations

import logging
from typing import Final

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
