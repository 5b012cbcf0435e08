"""Several processes on one store: what one leaves when it is killed, and which of them leads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from pipeline.transmitter.store import queue
from pipeline.transmitter.store.database import Store, StoreError, open_store
from pipeline.transmitter.store.leader_election import lead
from pipeline.transmitter.store.tables import sets
from tests.support.postgres import Postgres
from tests.support.stores import NOW, SEALER, token
from tests.support.waiting import until

ROOT = Path(__file__).parent.parent.parent


def _jtis(store: Store) -> list[str]:
    with store.read() as conn:
        return list(conn.scalars(select(sets.c.jti)))


PROGRAM = f"""
import os, sys, signal
sys.path[:0] = [{str(ROOT)!r}]
from tests.support.stores import NOW, SEALER, token
from pipeline.transmitter.store import queue
from pipeline.transmitter.store.leader_election import lead
from pipeline.transmitter.store.database import open_store
store = open_store(sys.argv[1], SEALER)
"""

WRITES_UNTIL_KILLED = """
with store.begin() as conn:
    queue.put(conn, [token("whole-1"), token("whole-2")], NOW)
with store.begin() as conn:
    queue.put(conn, [token("half-1"), token("half-2")], NOW)
    print("half", flush=True)
    sys.stdin.read()
"""

WRITES_MANY = """
for number in range(100):
    with store.begin() as conn:
        queue.put(conn, [token(f"{sys.argv[2]}-{number}"), token(f"both-{number}")], NOW)
print("done", flush=True)
"""

LEADS = """
with lead(store) as leading:
    print(bool(leading), flush=True)
    sys.stdin.read()
"""


@contextmanager
def _process(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def _output(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def test_a_process_killed_in_a_transaction_leaves_whole_transactions_and_no_lock(store: Store, url: str) -> None:
    with _process(WRITES_UNTIL_KILLED, url) as writer:
        assert _output(writer) == "half"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()

    with store.begin() as conn:
        assert queue.put(conn, [token("half-1"), token("whole-1")], NOW) == 1
        assert {queued.jti for queued in queue.hand_out(conn, "s-1", NOW, 9, 0)[0]} == {
            "whole-1",
            "whole-2",
            "half-1",
        }


def test_processes_write_at_once_and_a_jti_of_both_is_stored_once(store: Store, url: str) -> None:
    with _process(WRITES_MANY, url, "one") as popen, _process(WRITES_MANY, url, "two") as two:
        assert (_output(popen), _output(two)) == ("done", "done")

    assert len(_jtis(store)) == 300


def test_one_leads_and_the_moment_it_is_killed_another_may(store: Store, url: str) -> None:
    with _process(LEADS, url) as first:
        assert _output(first) == "True"
        with lead(store) as mine:
            assert (bool(mine), mine.is_held()) == (False, False)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()

    def leads() -> bool:
        with lead(store) as mine:
            return bool(mine) and mine.is_held()

    until("the lead to be free", leads, bool)


def test_a_lead_ends_with_its_block_and_is_no_more_than_one(store: Store) -> None:
    for _ in range(2):
        with lead(store) as mine, lead(store) as other:
            assert (bool(mine), bool(other), mine.is_held()) == (True, False, True)


@pytest.mark.postgres
def test_a_connection_the_server_ended_is_told_and_the_next_transaction_works(server: Postgres) -> None:
    url = server.database()
    store, other = open_store(url, SEALER), open_store(url, SEALER)
    others = "datname = current_database() AND pid != pg_backend_pid()"
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"  # noqa: S608

    def put(jti: str, *, ended_meanwhile: bool) -> None:
        with store.begin() as conn:
            if ended_meanwhile:
                with other.begin() as killer:
                    killer.exec_driver_sql(ended)
            queue.put(conn, [token(jti)], NOW)

    put("a1", ended_meanwhile=False)
    with pytest.raises(StoreError, match="the store cannot be used now"):
        put("a2", ended_meanwhile=True)
    put("a3", ended_meanwhile=False)

    assert sorted(_jtis(store)) == ["a1", "a3"]
    store.close()
    other.close()


@pytest.mark.postgres
def test_a_lead_whose_session_the_server_ended_is_known_to_be_lost(server: Postgres) -> None:
    store = open_store(server.database(), SEALER)
    with lead(store) as mine:
        with store.begin() as conn:
            ours = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            conn.exec_driver_sql(ours)
        assert not mine.is_held()
        assert not mine
        with lead(store) as other:
            assert other.is_held()
    store.close()
