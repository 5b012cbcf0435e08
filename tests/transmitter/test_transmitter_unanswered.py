"""A PostgreSQL that does not answer: nothing waits for it for ever; a lead it does not confirm is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from time import monotonic, sleep

import psycopg
import pytest
from sqlalchemy import Connection

from pipeline.transmitter import leader
from pipeline.transmitter.leader import LeaderLoop
from pipeline.transmitter.store import database, leader_election, queue, timeouts
from pipeline.transmitter.store.database import Store, StoreError, open_store
from pipeline.transmitter.store.leader_election import lead
from pipeline.transmitter.store.timeouts import TimeoutConnection
from tests.support.postgres import Postgres, postgres
from tests.support.silent_proxy import Proxy, proxy
from tests.support.stores import NOW, SEALER, token

pytestmark = pytest.mark.postgres

SOON_S = 0.5
"""What bounds are set to here."""
PATIENCE = 30.0
"""Seconds within which whatever is waited for has happened, on a busy machine."""


@pytest.fixture
def between(server: Postgres) -> Iterator[Proxy]:
    with proxy(server.database()) as this_proxy:
        yield this_proxy


@pytest.fixture
def store(between: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store behind the proxy; what is asked there must be answered soon."""
    monkeypatch.setattr(TimeoutConnection, "response_timeout_s", SOON_S)
    monkeypatch.setattr(leader_election, "CONFIRM_S", SOON_S)
    opened = open_store(f"{between.url}?connect_timeout=2", SEALER)
    yield opened
    between.talk()
    opened.close()


def _put(store: Store, jti: str) -> int:
    with store.begin() as conn:
        return queue.put(conn, [token(jti)], NOW)


def test_a_statement_without_an_answer_is_given_up_and_the_next_is_made_when_the_server_answers(
    store: Store, between: Proxy
) -> None:
    def put_without_answer() -> None:
        with store.begin() as conn:
            between.hush()
            queue.put(conn, [token("a1")], NOW)

    began = monotonic()
    with pytest.raises(StoreError, match=r"cannot be used now: the server has not responded for 0\.5 s"):
        put_without_answer()
    with pytest.raises(StoreError, match="cannot be used now"):
        _put(store, "a1")
    assert monotonic() - began < PATIENCE
    between.talk()

    assert _put(store, "a1") == 1


def test_a_statement_that_takes_long_is_waited_for_as_long_as_something_comes(store: Store) -> None:
    rows = f"SELECT pg_sleep({SOON_S / 4}), repeat('x', 10000) FROM generate_series(1, 8)"  # noqa: S608
    with store.read() as conn:
        assert len(conn.exec_driver_sql(rows).all()) == 8


def test_a_lead_of_which_nothing_is_heard_is_lost_sooner_than_a_statement_is_given_up(
    store: Store, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimeoutConnection, "response_timeout_s", 600.0)
    with lead(store) as mine:
        assert mine.is_held()
        between.hush()
        began = monotonic()
        assert not mine.is_held()
        assert not mine
        assert SOON_S <= monotonic() - began < PATIENCE
    between.talk()

    with lead(store) as mine:
        assert mine.is_held()


def test_the_lead_is_asked_for_in_less_time_than_a_server_takes_a_machine_to_be_gone() -> None:
    assert leader_election.CONFIRM_S + leader.CHECK_S < timeouts.LOST_S


def test_who_cannot_ask_for_the_lead_is_told_in_a_sentence(store: Store, between: Proxy) -> None:
    between.hush()

    with pytest.raises(StoreError, match="cannot be asked who leads"), lead(store):
        pass


class LeaderTask:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        await self._stop.wait()


def test_who_hears_nothing_of_its_lead_stops_working_and_works_again_when_it_does(
    store: Store, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHECK_S", "RETRY_S"):
        monkeypatch.setattr(leader, name, 0.05)
    shown: list[bool] = []

    async def until_shown(value: bool) -> None:
        async with asyncio.timeout(PATIENCE):
            while not shown or shown[-1] is not value:  # noqa: ASYNC110 - nothing rings
                await asyncio.sleep(0.01)

    async def story() -> None:
        leader_loop = LeaderLoop(store, lambda: [LeaderTask()], 0.0, shown.append)
        works = asyncio.create_task(leader_loop.run())
        await until_shown(True)
        between.hush()
        await until_shown(False)
        between.talk()
        await until_shown(True)
        between.hush()
        leader_loop.stop()
        async with asyncio.timeout(PATIENCE):
            await works
        assert leader_loop.stopped_cleanly

    asyncio.run(story())


def test_a_server_that_takes_connections_and_says_nothing_is_not_waited_for(between: Proxy) -> None:
    between.hush()
    began = monotonic()

    with pytest.raises(StoreError, match="cannot be used now: connection timeout expired"):
        open_store(f"{between.url}?connect_timeout=2", SEALER)

    assert monotonic() - began < timeouts.CONNECT_S  # what the address says stands


# --- What both sides agree on ---

_NAMES = (
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
    "tcp_user_timeout",
)


def _shown(conn: Connection) -> list[str]:
    return [str(conn.exec_driver_sql(f"SHOW {name}").scalar()) for name in _NAMES]


def test_both_sides_of_a_connection_take_a_machine_that_vanished_for_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    monkeypatch.setenv("PGPORT", port)  # over TCP: of a Unix socket nobody asks whether it is there
    with postgres(fsync="off", listen_addresses="127.0.0.1", port=port) as running:
        store = open_store(running.database().partition("?")[0].replace("@/", "@127.0.0.1/"), SEALER)
        with store.begin() as conn:
            lines = _shown(conn)
            driver = conn.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            ours = driver.info.get_parameters()
        store.close()

    assert lines == ["30s", "1min", "10", "5", "3", "25000"]
    expected = {
        "connect_timeout": "10",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "25000",
    }
    assert {name: ours.get(name) for name in expected} == expected


def test_what_the_operator_set_for_the_database_stays(server: Postgres) -> None:
    url = server.database()
    name = url.partition("@/")[2].partition("?")[0]
    with server.connect("postgres") as conn:
        for setting in ("lock_timeout = '5s'", "idle_in_transaction_session_timeout = '7s'"):
            conn.execute(f"ALTER DATABASE {name} SET {setting}".encode())

    store = open_store(url, SEALER)

    with store.read() as restarting_reader:
        assert _shown(restarting_reader)[:2] == ["5s", "7s"]
    store.close()


def test_a_writer_waits_for_another_no_longer_than_it_is_told(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.2)
    store = open_store(server.database(), SEALER)

    with store.begin() as first:
        database.advisory_lock(first, "thing")
        with pytest.raises(StoreError, match="lock timeout"), store.begin() as second:
            database.advisory_lock(second, "thing")
    assert _put(store, "a1") == 1
    store.close()


def test_a_transaction_in_which_nothing_is_asked_is_ended_and_told_in_a_sentence(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "IDLE_TRANSACTION_S", 0.2)
    store = open_store(server.database(), SEALER)

    def put_after_a_pause() -> None:
        with store.begin() as conn:
            queue.put(conn, [token("a1")], NOW)
            sleep(1)
            queue.put(conn, [token("a2")], NOW)

    with pytest.raises(StoreError, match="idle-in-transaction timeout"):
        put_after_a_pause()
    assert _put(store, "a1") == 1
    store.close()
