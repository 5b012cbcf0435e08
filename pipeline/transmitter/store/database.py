"""The transmitter's store: one database, opened, read and written; tables are in `tables`.

SQLite is written with BEGIN IMMEDIATE in WAL mode and `synchronous=FULL` (sqlite.org/wal.html, "Performance
Considerations": only so is a commit durable over a power cut). PostgreSQL runs as it comes, but with
`synchronous_commit` on, and within the bounds of `answering`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, func, insert, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoRoomError

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.store import timeouts
from pipeline.transmitter.store.encryption import Sealer, SealError, load
from pipeline.transmitter.store.tables import METADATA, VERSION, versions

BUSY_S: Final = 30
"""Seconds a writer waits for another to end before it gives up."""
_WRITES: Final = "session_risk_writes"
_BROKEN: Final = {
    "not a database": "is no SQLite database",
    "malformed": "is damaged; put back its last backup",
}
"""What SQLite says of a file it cannot use (sqlite.org/rescode.html, NOTADB and CORRUPT), and what we do."""
_POOL: Final[dict[str, Any]] = {
    "pool_size": 10,
    "pool_timeout": BUSY_S,
    "hide_parameters": True,  # an error of the database must not tell tokens and hashes to the log
}


class StoreError(Exception):
    """The store cannot be used; the message says which and why, without passwords."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open store: what reads and writes it takes a connection of `read` or `begin`, in any thread."""

    engine: Engine
    sealer: Sealer
    _turn: Lock | None = field(default=None, repr=False)  # threads queue here, not in SQLite's busy loop

    @property
    def name(self) -> str:
        """Where it is, as people may read it."""
        return named(self.engine.url)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes: durable when the block ends, undone when it raises.

        Raises `StoreError` if the database does not answer, or another writer does not end in `BUSY_S`.
        """
        with self._alone(), _told(self.name), self.engine.connect() as conn:
            conn.execution_options(**{_WRITES: True})
            with conn.begin():
                yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, all of it at one moment. Raises `StoreError` as `begin` does."""
        with _told(self.name), self.engine.connect() as conn:
            if conn.dialect.name == "postgresql":
                conn.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
            yield conn

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=BUSY_S):
            raise StoreError(f"{self.name}: another thread has not ended its transaction in {BUSY_S} s")
        try:
            yield
        finally:
            self._turn.release()


def open_store(url: str, sealer: Sealer) -> Store:
    """Open the store at *url*, `sqlite:///FILE` or `postgresql+psycopg://…`, making its tables if it is new.

    Raises `StoreError` if there is none, if it is of another version, or if *url* is of neither kind.
    """
    at = address(url)
    store = Store(_engine(at), sealer, Lock() if sqlite_file(at) else None)
    try:
        with store.begin() as conn:
            advisory_lock(conn, "tables")
            _make_or_check(conn, store.name)
    except BaseException:
        store.close()
        raise
    return store


def named(url: URL) -> str:
    """*url* without its password."""
    return url.render_as_string(hide_password=True)


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite database; `None` for another kind."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def advisory_lock(conn: Connection, what: str) -> None:
    """Let only one transaction at a time be past this line for *what*; SQLite has but one writer anyway."""
    if conn.dialect.name == "postgresql":
        name = func.concat(func.current_schema(), f" session-risk transmitter {what}")
        conn.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def insert_into(conn: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say what happens on a conflict: each dialect has its own."""
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


def address(url: str) -> URL:
    """Read the address of a store; raises `StoreError` if it is none, or of a kind that is not known here."""
    try:
        at = make_url(url)
    except (ArgumentError, ValueError):  # the text itself may hold a password
        raise StoreError(
            "the store's address is none; write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
        ) from None
    if at.drivername in ("postgresql", "postgres"):
        at = at.set(drivername="postgresql+psycopg")
    if at.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(f"{named(at)}: the store is sqlite:///FILE or postgresql+psycopg://…, not this")
    if at.get_backend_name() == "sqlite" and at.database in (None, "", ":memory:"):
        raise StoreError(f"{named(at)}: a store in memory would forget what waits; write sqlite:///FILE")
    return at


def _engine(at: URL) -> Engine:
    file = sqlite_file(at)
    if file is None:
        bounds = timeouts.arguments(at)
        engine = create_engine(at, connect_args=bounds, max_overflow=20, pool_pre_ping=True, **_POOL)
        timeouts.set_up(engine, BUSY_S)
        return engine
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"{file}: the store cannot be made or written here: {error.strerror}") from None
    arguments = {"timeout": BUSY_S, "check_same_thread": False}
    engine = create_engine(at, connect_args=arguments, max_overflow=50, **_POOL)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours: Python's module would say it late, and never IMMEDIATE
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(conn: Connection) -> None:
    writes = conn.get_execution_options().get(_WRITES, False)
    conn.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_or_check(conn: Connection, name: str) -> None:
    if not inspect(conn).has_table(versions.name):
        METADATA.create_all(conn)
        conn.execute(insert(versions).values(version=VERSION))
        return
    found = conn.scalars(select(versions.c.version)).all()
    if found != [VERSION]:
        text = ", ".join(map(str, found)) or "none"
        raise StoreError(
            f"{name}: its tables are of version {text}, and this program knows version {VERSION}; "
            "run the program it belongs to, or name another store"
        )


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn "the database does not answer" into a sentence; what a statement got wrong stays a bug."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise _unusable(name, error) from error
    except NoRoomError as error:
        raise StoreError(f"{name}: too much is asked of the store at once; try again") from error
    except DBAPIError as error:
        if error.connection_invalidated:  # the server ended it, whatever name its reason has
            raise _unusable(name, error) from error
        for sign, meaning in _BROKEN.items():
            if sign in str(error.orig):
                raise StoreError(f"{name}: {meaning}") from None
        raise


def _unusable(name: str, error: DBAPIError) -> StoreError:
    why = " ".join(str(error.orig).split())
    return StoreError(f"{name}: the store cannot be used now: {why[:300]}")


def open_configured_store(settings: TransmitterSettings) -> Store:
    """Open the store that *settings* name, with its key file; both are made if missing.

    Raises `StoreError` or `SealError`, each in a sentence.
    """
    return open_store(settings.database.get_secret_value(), load(key_file_path(settings)))


def open_existing_store(settings: TransmitterSettings) -> Store:
    """As `open_configured_store`, but none is made to find nothing in it: where there is none, raises `StoreError`."""
    file = sqlite_file(address(settings.database.get_secret_value()))
    if file is not None and not file.is_file():
        raise StoreError(
            f"{file}: there is no store of a transmitter here; name it in SESSION_RISK_TRANSMITTER_DATABASE"
        )
    return open_configured_store(settings)


def key_file_path(settings: TransmitterSettings) -> Path:
    """The file of the keys that seal: as set, else beside the SQLite file.

    Raises `SealError` for PostgreSQL without such a setting: there is no place all its transmitters share;
    `StoreError` if the address of the store is none.
    """
    file = sqlite_file(address(settings.database.get_secret_value()))
    if settings.key_file is not None:
        return settings.key_file
    if file is None:
        raise SealError(
            "a store in PostgreSQL needs SESSION_RISK_TRANSMITTER_KEY_FILE: the file of keys that seal its "
            "secrets, the same for every transmitter"
        )
    return file.with_name(f"{file.name}.key")
