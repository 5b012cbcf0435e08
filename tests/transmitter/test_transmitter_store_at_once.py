"""What two do with one stream at once, on either database: one is over before the other looks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from pipeline.transmitter.delivery.backlog import BacklogLimiter, Limits
from pipeline.transmitter.protocol import POLL
from pipeline.transmitter.static_streams import DeclaredStream, DeclaredStreamChanges, sync_declared
from pipeline.transmitter.store import queue, revocations, streams
from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.signing_keys import open_signer
from pipeline.transmitter.store.tables import sets
from pipeline.transmitter.tokens.builder import TokenBuilder
from pipeline.transmitter.tokens.stream_events import Announcer
from tests.support.housekeeping import HOUR
from tests.support.stores import NOW, SEALER, stream, token
from tests.support.transmitter_api import Api, new_api
from tests.support.transmitter_records import T0, knowing, queued, revocation, token_builder
from tests.support.transmitter_records import stream as notified_stream

STARTED_S = 0.4
"""By then, what is begun in a thread has come to where it waits; if it does not wait, it has ended."""


def _waiting(store: Store) -> int:
    with store.read() as conn:
        return conn.scalar(select(func.count()).where(sets.c.state == "queued")) or 0


# --- Tokens for a stream that ends ---


@pytest.fixture
def made(store: Store) -> TokenBuilder:
    return token_builder(knowing(store, notified_stream("st-1")))


@pytest.mark.parametrize("how", ["removed", "disabled"])
def test_what_is_put_into_a_stream_that_is_ending_is_gone(made: TokenBuilder, how: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        with made.store.begin() as conn:
            _end(conn, how)
            taking = threads.submit(made.build, [revocation()], T0)
            assert not wait([taking], STARTED_S).done
        assert taking.result(30).skipped == {"gone": 1}

    assert queued(made.store) == []


@pytest.mark.parametrize("how", ["removed", "disabled"])
def test_a_stream_that_ends_while_tokens_are_put_in_takes_them_along(
    made: TokenBuilder, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    put = queue.put
    ending: list[Future[None]] = []

    def end() -> None:
        with made.store.begin() as conn:
            _end(conn, how)

    with ThreadPoolExecutor(1) as threads:

        def put_while_it_ends(conn: Connection, *rest: Any) -> int:
            count = put(conn, *rest)
            ending.append(threads.submit(end))
            assert not wait(ending, STARTED_S).done
            return count

        monkeypatch.setattr(queue, "put", put_while_it_ends)
        assert made.build([revocation()], T0).queued == {"session-revoked": 1}
        ending[0].result(30)

    assert _waiting(made.store) == 0


def test_a_stream_that_is_removed_while_its_dead_are_revived_takes_them_along(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
        queue.put(conn, [token("a1")], NOW)
        queue.dead_letter(conn, 1, "timeout", "", NOW)

    def remove() -> int:
        with store.begin() as conn:
            return streams.remove(conn, "s-1", NOW)

    with ThreadPoolExecutor(1) as threads:
        with store.begin() as conn:
            assert queue.requeue(conn, "s-1", NOW) == 1
            removing = threads.submit(remove)
            assert not wait([removing], STARTED_S).done
        assert removing.result(30) == 1

    assert _waiting(store) == 0


def _end(conn: Connection, how: str) -> None:
    if how == "removed":
        streams.remove(conn, "st-1", NOW)
    else:
        streams.set_status(conn, "st-1", "disabled", None, T0)


# --- A stream that is changed ---


@pytest.fixture
def api(url: str, tmp_path: Path) -> Iterator[Api]:
    api = new_api(tmp_path, database=url)
    yield api
    api.services.store.close()


def test_a_change_by_the_receiver_does_not_undo_a_pause_made_meanwhile(api: Api) -> None:
    token_ = api.token()
    item = api.stream(token_)["stream_id"]
    fields = {"stream_id": item, "description": "ours"}

    with ThreadPoolExecutor(1) as threads:
        with api.services.store.begin() as conn:
            streams.set_status(conn, item, "paused", "too many wait", api.now)
            changing = threads.submit(api.ask, "PATCH", "/ssf/stream", fields, token=token_)
            assert not wait([changing], STARTED_S).done
        assert changing.result(30).json["description"] == "ours"

    status = api.ask("GET", f"/ssf/status?stream_id={item}", token=token_).json
    assert status == {"stream_id": item, "status": "paused", "reason": "too many wait"}


def test_a_stream_its_receiver_enables_anew_is_not_disabled_for_having_been_paused(store: Store) -> None:
    now = NOW + 25 * HOUR
    signer = open_signer(store, "ES256", 2048, NOW)
    announcer = Announcer("https://tx.example.org", signer)
    keeper = BacklogLimiter(announcer, SEALER, Limits(10, 24 * HOUR, 600_000, 60_000))
    with store.begin() as conn:
        streams.add(conn, SEALER, stream(status="paused", method=POLL, endpoint_url=None))
        queue.put(conn, [token("a1")], NOW)
        assert keeper.step(conn, "s-1", now) is not None  # stream-updated: it will be disabled
    later = now + 60_001

    def step() -> Any:
        with store.begin() as conn:
            return keeper.step(conn, "s-1", later)

    with ThreadPoolExecutor(1) as threads:
        with store.begin() as conn:
            streams.set_status(conn, "s-1", "enabled", None, later)
            stepping = threads.submit(step)
            assert not wait([stepping], STARTED_S).done
        assert stepping.result(30) is None

    with store.read() as conn:
        found = streams.get(conn, SEALER, "s-1")
    assert found is not None
    assert found.status == "enabled"


# --- Two that lead, or start, at once ---


def test_two_that_lead_for_a_moment_and_read_the_same_records_keep_them_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = token_builder(store)
    record = revocations.record
    second: list[Future[Any]] = []

    with ThreadPoolExecutor(1) as threads:

        def record_while_another_does(conn: Connection, received: Any) -> Any:
            recorded = record(conn, received)
            if not second:
                second.append(threads.submit(made.build, [revocation()], T0))
                assert not wait(second, STARTED_S).done
            return recorded

        monkeypatch.setattr(revocations, "record", record_while_another_does)
        first = made.build([revocation()], T0)
        assert (first.commands, second[0].result(30).commands) == ({"opened": 1}, {"seen": 1})


def test_two_that_start_at_once_bring_the_same_file_once(store: Store, url: str) -> None:
    other = open_store(url, SEALER)
    declareds = [DeclaredStream("okta", replace(stream("declared-okta"), declared=True, created_at=0, updated_at=0))]

    def start() -> DeclaredStreamChanges:
        with other.begin() as conn:
            return sync_declared(conn, SEALER, declareds, NOW)

    with ThreadPoolExecutor(1) as threads:
        with store.begin() as conn:
            assert sync_declared(conn, SEALER, declareds, NOW) == DeclaredStreamChanges(added=("okta",))
            starting = threads.submit(start)
            assert not wait([starting], STARTED_S).done
        assert starting.result(30) == DeclaredStreamChanges()
    other.close()
