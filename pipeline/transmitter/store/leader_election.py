"""Leader election among the transmitters that share a store: one leads, the others stand by.

Leadership is a lock that ends with its holder: on a file beside the SQLite file (flock), or of a PostgreSQL
session (advisory lock). Two leaders for a moment would push a token twice, with the same `jti`, which receivers
must tolerate (RFC 8935 §2): the lock avoids noise and is not needed for correctness.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from pipeline.transmitter.store.database import Store, StoreError, sqlite_file
from pipeline.transmitter.store.timeouts import TimeoutConnection

CONFIRM_S: Final = 10.0
"""Seconds within which PostgreSQL must confirm the leadership; otherwise it is lost. The leader gives up before
the server considers it gone (`timeouts.LOST_S`) and grants the lock to another.
"""


class Leadership(Protocol):
    """Whether this process leads: its truth value at first, and `is_held` to ask again."""

    def __bool__(self) -> bool: ...

    def is_held(self) -> bool:
        """Ask the store whether this process still leads; without a response within `CONFIRM_S` it does not."""


class _FixedLeadership:
    """A leadership that nobody can take away while the process lives, or none."""

    def __init__(self, *, leads: bool) -> None:
        self._leads = leads

    def __bool__(self) -> bool:
        return self._leads

    def is_held(self) -> bool:
        return self._leads


class _SessionLeadership:
    """A leadership that ends with a PostgreSQL session, also if the server ends it."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._leads = True

    def __bool__(self) -> bool:
        return self._leads

    def is_held(self) -> bool:
        if self._leads:
            try:
                self._conn.execute(select(1)).close()
            except SQLAlchemyError:
                self._leads = False
        return self._leads


@contextmanager
def lead(store: Store) -> Iterator[Leadership]:
    """Try to lead while the block lasts: yields true if this process leads, false if another does.

    It does not wait. Raises `StoreError` if the store cannot be asked.
    """
    file = sqlite_file(store.engine.url)
    with _lock_session(store) if file is None else _lock_file(file) as leadership:
        yield leadership


@contextmanager
def _lock_file(file: Path) -> Iterator[Leadership]:
    path = file.with_name(f"{file.name}.lead")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: the lock file of the leader cannot be used: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _FixedLeadership(leads=False)
        else:
            yield _FixedLeadership(leads=True)
    finally:
        os.close(handle)


@contextmanager
def _lock_session(store: Store) -> Iterator[Leadership]:
    try:
        conn = store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as error:
        raise _cannot_ask(store, error) from error
    try:
        yield _request_lock(store, conn)
    finally:
        if not conn.invalidated:  # else the session is gone, and the lock with it
            with suppress(SQLAlchemyError):  # closing the session releases the lock too, but some moments later
                conn.execute(select(func.pg_advisory_unlock_all())).close()
        conn.invalidate()  # the session has its own settings, so it must not return to the pool
        conn.close()


def _request_lock(store: Store, conn: Connection) -> Leadership:
    """Request the lock in a session that lasts until this process ends it, or is gone."""
    driver_connection = conn.connection.driver_connection
    if isinstance(driver_connection, TimeoutConnection):
        driver_connection.response_timeout_s = CONFIRM_S
    name = func.concat(func.current_schema(), " session-risk transmitter leads")
    try:
        conn.execute(text("SET idle_session_timeout = 0"))
        granted = conn.scalar(select(func.pg_try_advisory_lock(func.hashtextextended(name, 0))))
    except SQLAlchemyError as error:
        raise _cannot_ask(store, error) from error
    return _SessionLeadership(conn) if granted else _FixedLeadership(leads=False)


def _cannot_ask(store: Store, error: SQLAlchemyError) -> StoreError:
    return StoreError(f"{store.name}: cannot be asked who leads: {error}")
