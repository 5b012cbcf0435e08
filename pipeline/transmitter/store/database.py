"""Database access of the transmitter: opens the store, and gives reading and writing transactions.

SQLite is written with BEGIN IMMEDIATE in WAL mode and `synchronous=FULL` (sqlite.org/wal.html, "Performance
Considerations": only then does a commit survive a power cut). PostgreSQL uses its defaults, but with
`synchronous_commit` on, and within the bounds of `timeouts`.
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
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.store import timeouts
from pipeline.transmitter.store.encryption import Sealer, SealError, load
from pipeline.transmitter.store.tables import METADATA, VERSION, versions

BUSY_S: Final = 30
"""Seconds that a writer waits for another writer before it gives up."""
_WRITES: Final = "session_risk_writes"
_FILE_ERRORS: Final = {
    "not a database": "is not an SQLite database",
    "malformed": "is damaged; restore its last backup",
}
"""SQLite's messages for a file it cannot use (sqlite.org/rescode.html, NOTADB and CORRUPT), and our explanations."""
_POOL: Final[dict[str, Any]] = {
    "pool_size": 10,
    "pool_timeout": BUSY_S,
    "hide_parameters": True,  # tokens and hashes must not get into the log with an error
}


class StoreError(Exception):
    """The store cannot be used; the message says which and why, without passwords."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open store: all reads and writes use a connection from `read` or `begin`, in any thread."""

    engine: Engine
    sealer: Sealer
    _write_lock: Lock | None = field(default=None, repr=False)  # threads queue here instead of in SQLite's busy loop

    @property
    def name(self) -> str:
        """Its URL without the password, for messages."""
        return url_without_password(self.engine.url)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A writing transaction: durable when the block ends, rolled back when it raises.

        Raises `StoreError` if the database does not respond, or another writer does not end within `BUSY_S`.
        """
        with self._single_writer(), _store_errors(self.name), self.engine.connect() as conn:
            conn.execution_options(**{_WRITES: True})
            with conn.begin():
                yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A reading transaction on one snapshot. Raises `StoreError` as `begin` does."""
        with _store_errors(self.name), self.engine.connect() as conn:
            if conn.dialect.name == "postgresql":
                conn.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
            yield conn

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _single_writer(self) -> Iterator[None]:
        if self._write_lock is None:
            yield
            return
        if not self._write_lock.acquire(timeout=BUSY_S):
            raise StoreError(f"{self.name}: another thread has not ended its transaction in {BUSY_S} s")
        try:
            yield
        finally:
            self._write_lock.release()


def open_store(url: str, sealer: Sealer) -> Store:
    """Open the store at *url*, `sqlite:///FILE` or `postgresql+psycopg://…`, and create its tables if it is new.

    Raises `StoreError` if it cannot be opened, has tables of another version, or *url* is of neither kind.
    """
    parsed = parse_url(url)
    store = Store(_engine(parsed), sealer, Lock() if sqlite_file(parsed) else None)
    try:
        with store.begin() as conn:
            advisory_lock(conn, "tables")
            _make_or_check(conn, store.name)
    except BaseException:
        store.close()
        raise
    return store


def url_without_password(url: URL) -> str:
    """*url* without its password."""
    return url.render_as_string(hide_password=True)


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite database; `None` for PostgreSQL."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def advisory_lock(conn: Connection, what: str) -> None:
    """Let only one transaction at a time be past this line for *what*; SQLite has only one writer anyway."""
    if conn.dialect.name == "postgresql":
        name = func.concat(func.current_schema(), f" session-risk transmitter {what}")
        conn.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def insert_into(conn: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that supports ON CONFLICT, in the dialect of *conn*."""
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


def parse_url(url: str) -> URL:
    """Parse the URL of a store; raises `StoreError` if it is invalid or of an unsupported kind."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the text itself may contain a password
        raise StoreError(
            "the store's URL is invalid; write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(
            f"{url_without_password(parsed)}: not supported; write sqlite:///FILE or postgresql+psycopg://…"
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError(
            f"{url_without_password(parsed)}: a store in memory would lose the queues; write sqlite:///FILE"
        )
    return parsed


def _engine(url: URL) -> Engine:
    file = sqlite_file(url)
    if file is None:
        bounds = timeouts.arguments(url)
        engine = create_engine(url, connect_args=bounds, max_overflow=20, pool_pre_ping=True, **_POOL)
        timeouts.set_up(engine, BUSY_S)
        return engine
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"{file}: the store cannot be created or written here: {error.strerror}") from None
    arguments = {"timeout": BUSY_S, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, max_overflow=50, **_POOL)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we send BEGIN ourselves: Python's module sends it late, and never IMMEDIATE
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
            f"{name}: its tables have version {text}, and this program needs version {VERSION}; "
            "run the program it belongs to, or use another store"
        )


@contextmanager
def _store_errors(name: str) -> Iterator[None]:
    """Turn "the database does not respond" into a `StoreError`; an error in a statement remains a bug."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise _unavailable(name, error) from error
    except PoolTimeoutError as error:
        raise StoreError(f"{name}: all connections to the store are in use; try again") from error
    except DBAPIError as error:
        if error.connection_invalidated:  # the server closed the connection, for whatever reason
            raise _unavailable(name, error) from error
        for marker, meaning in _FILE_ERRORS.items():
            if marker in str(error.orig):
                raise StoreError(f"{name}: {meaning}") from None
        raise


def _unavailable(name: str, error: DBAPIError) -> StoreError:
    why = " ".join(str(error.orig).split())
    return StoreError(f"{name}: the store cannot be used now: {why[:300]}")


def open_configured_store(settings: TransmitterSettings) -> Store:
    """Open the store that *settings* name, with its key file; both are created if missing.

    Raises `StoreError` or `SealError`, each with a sentence.
    """
    return open_store(settings.database.get_secret_value(), load(key_file_path(settings)))


def open_existing_store(settings: TransmitterSettings) -> Store:
    """Like `open_configured_store`, but raises `StoreError` if there is no store yet."""
    file = sqlite_file(parse_url(settings.database.get_secret_value()))
    if file is not None and not file.is_file():
        raise StoreError(f"{file}: there is no transmitter store here; set SESSION_RISK_TRANSMITTER_DATABASE")
    return open_configured_store(settings)


def key_file_path(settings: TransmitterSettings) -> Path:
    """The path of the key file: as set, else beside the SQLite file.

    Raises `SealError` for PostgreSQL without such a setting, because no folder is common to all its
    transmitters; `StoreError` if the URL of the store is invalid.
    """
    file = sqlite_file(parse_url(settings.database.get_secret_value()))
    if settings.key_file is not None:
        return settings.key_file
    if file is None:
        raise SealError(
            "a store in PostgreSQL needs SESSION_RISK_TRANSMITTER_KEY_FILE: the file of keys that encrypt its "
            "secrets, the same for every transmitter"
        )
    return file.with_name(f"{file.name}.key")
