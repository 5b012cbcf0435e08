"""What the operator's commands share: the store that the settings name, and the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import time

from pipeline.console import moment
from pipeline.settings import load_transmitter
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.opening import existing_store_of, store_of


class NothingToDoError(LookupError):
    """What was named is not there."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def opened(*, new: bool = False) -> Iterator[Store]:
    """The store, while the block lasts. Raises `SettingsError`, `StoreError` or `SealError`.

    One that is not there is made only if it may be *new*: else nothing was to be seen in it.
    """
    store = (store_of if new else existing_store_of)(load_transmitter())
    try:
        yield store
    finally:
        store.close()


def now() -> int:
    """The wall clock, ms since the epoch."""
    return int(time() * 1000)


def when(ms: int | None) -> str | None:
    """A moment, or none, as people read it."""
    return None if ms is None else moment(ms)
