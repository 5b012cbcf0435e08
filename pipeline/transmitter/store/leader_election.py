"""Which of the transmitters on one store works: one leads, the others stand by.

Leadership is a lock that ends with its holder: of the file beside the SQLite file (flock), or of a session
of PostgreSQL (advisory lock). Two that lead for a moment would push a token twice, under one `jti`, which
receivers must bear (RFC 8935 §2): it is for quiet, not for correctness.
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

HELD_S: Final = 10.0
"""Seconds within which PostgreSQL says that the lead is held, or it is lost: what leads gives up before the
server believes that it is gone (`answering.LOST_S`) and lets another lead."""


class Leadership(Protocol):
    """Whether this process leads: true or false at first, and `held` asks anew."""

    def __bool__(self) -> bool: ...

    def held(self) -> bool:
        """Ask the store whether the lead is still this process's; without an answer in `HELD_S` it is not."""


class _Fixed:
    """A lead that nobody can take away while the process lives, or none."""

    def __init__(self, *, leads: bool) -> None:
        self._leads = leads

    def __bool__(self) -> bool:
        return self._leads

    def held(self) -> bool:
        return self._leads


class _OfSession:
    """A lead that ends with a session of PostgreSQL, also if the server ends it."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._leads = True

    def __bool__(self) -> bool:
        return self._leads

    def held(self) -> bool:
        if self._leads:
            try:
                self._conn.execute(select(1)).close()
            except SQLAlchemyError:
                self._leads = False
        return self._leads


@contextmanager
def lead(store: Store) -> Iterator[Leadership]:
    """Try to lead while the block lasts: what it yields is true if this process leads, false if another does.

    It never waits. Raises `StoreError` if the store cannot be asked.
    """
    file = sqlite_file(store.engine.url)
    with _by_session(store) if file is None else _by_file(file) as leadership:
        yield leadership


@contextmanager
def _by_file(file: Path) -> Iterator[Leadership]:
    path = file.with_name(f"{file.name}.lead")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: the file that says who leads cannot be used: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _Fixed(leads=False)
        else:
            yield _Fixed(leads=True)
    finally:
        os.close(handle)


@contextmanager
def _by_session(store: Store) -> Iterator[Leadership]:
    try:
        conn = store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as error:
        raise _unasked(store, error) from error
    try:
        yield _asked(store, conn)
    finally:
        if not conn.invalidated:  # else the session is gone, and the lead with it
            with suppress(SQLAlchemyError):  # a session that ends lets go too, but some moments later
                conn.execute(select(func.pg_advisory_unlock_all())).close()
        conn.invalidate()  # what was set for this session must not go back into the pool
        conn.close()


def _asked(store: Store, conn: Connection) -> Leadership:
    """Ask for the lead in a session that lasts until this process ends it, or is gone for good."""
    answered = conn.connection.driver_connection
    if isinstance(answered, TimeoutConnection):
        answered.response_timeout_s = HELD_S
    name = func.concat(func.current_schema(), " session-risk transmitter leads")
    try:
        conn.execute(text("SET idle_session_timeout = 0"))
        got = conn.scalar(select(func.pg_try_advisory_lock(func.hashtextextended(name, 0))))
    except SQLAlchemyError as error:
        raise _unasked(store, error) from error
    return _OfSession(conn) if got else _Fixed(leads=False)


def _unasked(store: Store, error: SQLAlchemyError) -> StoreError:
    return StoreError(f"{store.name}: cannot be asked who leads: {error}")
