"""Set-up that every process of session-risk shares: garbage collection, logging and SIGTERM during the start.

Garbage collection is set for this program: a chunk is thousands of short-lived tuples and dictionaries, and hardly
any of them is part of a reference cycle. Python by itself looks for cycles after every 700 new objects, which would
take a sixth of a worker's time.
"""

from __future__ import annotations

import gc
import logging
import signal
from typing import Final

GC_THRESHOLDS: Final = (50_000, 20, 20)
"""Thresholds of `gc.set_threshold`.

The first: how many more objects were made than freed before the youngest generation is collected. The others: after
how many collections of a generation the next older one is collected.
"""


def tune_garbage_collection() -> None:
    """Collect rarely, and never examine again the objects that exist now: they live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

LOGGERS_WITH_SECRETS: Final = ("aiokafka.conn", "aiokafka.producer.producer")
"""Loggers whose DEBUG messages contain requests and records: the password (PLAIN), keys, names and whole values."""


class _WithoutServiceLifecycle(logging.Filter):
    """Drops the messages in which each of Faust's services reports that it starts or stops."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO or not record.getMessage().startswith("[^")


def configure_logging(level: str) -> None:
    """Log messages of *level* and above to standard error."""
    handler = logging.StreamHandler()
    if level == "INFO":
        handler.addFilter(_WithoutServiceLifecycle())
    logging.basicConfig(level=level, format=FORMAT, handlers=[handler])


def log_kafka_client() -> None:
    """Log what aiokafka reports from now on, except DEBUG messages that contain secrets."""
    logging.getLogger("aiokafka").setLevel(logging.NOTSET)
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        for name in LOGGERS_WITH_SECRETS:
            logging.getLogger(name).setLevel(logging.INFO)


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process with exit code 0 until the event loop handles it; nothing has begun by then."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
