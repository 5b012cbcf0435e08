"""The store: opened or refused with a sentence, written by one at a time, durable."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError, InternalError

from pipeline.transmitter.store import database, queue
from pipeline.transmitter.store.database import Store, StoreError, open_store
from pipeline.transmitter.store.leader_election import lead
from pipeline.transmitter.store.tables import VERSION, sets, versions
from tests.support.postgres import Postgres
from tests.support.stores import NOW, SEALER, new_store, token

ROOT = Path(__file__).parent.parent.parent


def _count(store: Store) -> int:
    with store.read() as conn:
        return conn.scalar(select(func.count()).select_from(sets)) or 0


# --- Opening ---


def test_a_store_is_made_once_and_found_again(store: Store, url: str) -> None:
    with store.begin() as conn:
        queue.put(conn, [token("a1")], NOW)

    again = open_store(url, SEALER)

    assert _count(again) == 1
    again.close()


@pytest.mark.parametrize("found", [[VERSION + 1], [VERSION - 1], [], [VERSION - 1, VERSION]])
def test_a_store_of_another_version_is_refused(store: Store, url: str, found: list[int]) -> None:
    with store.begin() as conn:
        conn.execute(versions.delete())
        for version in found:
            conn.execute(versions.insert().values(version=version))

    with pytest.raises(StoreError, match=rf"version {', '.join(map(str, found)) or 'none'}, and this program"):
        open_store(url, SEALER)


ADDRESSES = {
    "nowhere": "the store's URL is invalid; write sqlite:///FILE or postgresql",
    "mysql://me:sesame@host/db": "mysql://me:***@host/db: not supported; write sqlite:///FILE or postgresql",
    "postgresql+asyncpg://host/db": "not supported; write sqlite:///FILE or postgresql",
    "sqlite://": "a store in memory would lose the queues; write sqlite:///FILE",
    "sqlite:///:memory:": "a store in memory would lose the queues; write sqlite:///FILE",
    "sqlite:////proc/none/x.db": "/proc/none/x.db: the store cannot be created or written here: No such file",
    "postgresql://me:sesame@127.0.0.1:1/db": "postgresql+psycopg://me:***@127.0.0.1:1/db: the store cannot",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_no_store_is_told_in_a_sentence_without_passwords(address: str) -> None:
    with pytest.raises(StoreError) as refused:
        open_store(address, SEALER)

    assert ADDRESSES[address] in str(refused.value)
    assert "sesame" not in str(refused.value)


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"my letters\n" * 100)

    with pytest.raises(StoreError, match=r"store\.db: is not an SQLite database"):
        new_store(tmp_path)

    assert (tmp_path / "store.db").read_bytes() == b"my letters\n" * 100


def test_a_damaged_file_is_told_as_such(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    with store.begin() as conn:
        queue.put(conn, [token(f"a{number}") for number in range(200)], NOW)
    store.close()
    path = tmp_path / "store.db"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))

    with pytest.raises(StoreError, match=r"store\.db: is damaged; restore its last backup"):
        _count(new_store(tmp_path))


def test_the_files_of_a_store_are_its_owners_alone(tmp_path: Path) -> None:
    store = new_store(tmp_path / "deep")
    with store.begin() as conn:
        queue.put(conn, [token("a1")], NOW)
    with lead(store):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "deep").iterdir()}

    assert modes == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db.lead"], 0o600)
    store.close()


def test_many_that_open_a_new_store_at_once_all_do(url: str) -> None:
    found: list[Store] = []
    threads = [threading.Thread(target=lambda: found.append(open_store(url, SEALER))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [_count(store) for store in found] == [0] * 6
    for store in found:
        store.close()


# --- Transactions ---


def test_more_readers_than_there_is_room_for_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database._POOL, "pool_timeout", 0.05)
    store = new_store(tmp_path)

    with ExitStack() as readers:
        for _ in range(60):
            readers.enter_context(store.read())
        with pytest.raises(StoreError, match="all connections to the store are in use"):
            readers.enter_context(store.read())

    assert _count(store) == 0
    store.close()


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    def put_and_fail() -> None:
        with store.begin() as conn:
            queue.put(conn, [token("a1")], NOW)
            raise KeyError

    with pytest.raises(KeyError):
        put_and_fail()

    assert _count(store) == 0


def test_a_write_where_only_reading_was_meant_is_refused(store: Store) -> None:
    with pytest.raises((StoreError, InternalError), match=r"read-?only"), store.read() as conn:
        queue.put(conn, [token("a1")], NOW)
    with store.begin() as conn:
        assert queue.put(conn, [token("a1")], NOW) == 1


def test_reading_sees_one_moment_while_others_write(store: Store) -> None:
    with store.read() as reading:
        before = queue.backlog_size(reading, "s-1")
        with store.begin() as writing:
            queue.put(writing, [token("a1")], NOW)
        assert queue.backlog_size(reading, "s-1") == before == (0, None)

    assert _count(store) == 1


def test_what_a_statement_gets_wrong_stays_an_error_of_ours_and_tells_no_values(store: Store) -> None:
    row = {"version": VERSION}
    with pytest.raises(IntegrityError), store.begin() as conn:
        conn.execute(versions.insert().values(row))
    with pytest.raises((StoreError, InternalError)) as refused, store.read() as conn:
        queue.put(conn, [token("a1", jwt="very secret")], NOW)
    assert "very secret" not in f"{refused.value} {refused.value.__cause__}"


def test_threads_write_one_after_another_and_none_is_turned_away(store: Store) -> None:
    def write(name: int) -> None:
        for number in range(25):
            with store.begin() as conn:
                count, _ = queue.backlog_size(conn, "s-1")
                queue.put(conn, [token(f"{name}-{number}")], NOW + count)

    threads = [threading.Thread(target=write, args=[name]) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert _count(store) == 150


def test_a_thread_that_does_not_end_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    store = new_store(tmp_path)

    with store.begin(), pytest.raises(StoreError, match="another thread has not ended"), store.begin():
        pass

    with store.begin() as conn:
        assert queue.put(conn, [token("a1")], NOW) == 1
    store.close()


@pytest.mark.postgres
def test_commits_are_durable_where_the_server_is_told_not_to_be(server: Postgres) -> None:
    url = server.database()
    name = url.partition("@/")[2].partition("?")[0]
    with server.connect("postgres") as conn:
        conn.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())

    store = open_store(url, SEALER)

    with store.begin() as writing:
        assert writing.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    store.close()


def test_a_commit_in_sqlite_is_durable_over_a_power_cut(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    with store.begin() as conn:
        details = [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert details == ["wal", 2]
    store.close()
