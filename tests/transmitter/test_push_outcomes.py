"""What came of pushes is written: many at once, and not given up while the store does not take it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from pipeline.transmitter.delivery import outcomes as delivery_outcomes
from pipeline.transmitter.delivery.outcomes import PushResult, PushResultWriter
from pipeline.transmitter.protocol import QueuedToken
from pipeline.transmitter.store import queue
from pipeline.transmitter.store.database import Store, StoreError
from tests.support.pushes import endings, put
from tests.support.security_event_tokens import numbered
from tests.support.stores import NOW, new_store


@dataclass
class Grudging:
    """A store that refuses to begin so many times, and counts how often it did begin."""

    store: Store
    refuses: int = 0
    begun: int = 0

    @contextmanager
    def begin(self) -> Iterator[Any]:
        if self.refuses:
            self.refuses -= 1
            raise StoreError("the store cannot be used now: locked")
        self.begun += 1
        with self.store.begin() as conn:
            yield conn


def _heads(store: Store) -> list[QueuedToken]:
    with store.read() as conn:
        return queue.heads(conn, "s-1", 2 * NOW, 100)


def _written(store: Any, outcomes: list[PushResult]) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as threads:
            writes = PushResultWriter(store, threads, lambda: NOW)
            running = asyncio.create_task(writes.run())
            await asyncio.gather(*(writes.write(outcome) for outcome in outcomes))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_all_that_came_meanwhile_is_written_in_one_transaction(tmp_path: Path) -> None:
    store = Grudging(new_store(tmp_path))
    put(store.store, *(numbered(f"lane-{number}", number) for number in range(30)))
    states: tuple[Literal["delivered", "retry", "dead"], ...] = ("delivered", "retry", "dead")
    outcomes = [
        PushResult(token, state, "http_500", "answered 500", NOW + 1000)
        for token, state in zip(_heads(store.store), states * 10, strict=True)
    ]

    _written(store, outcomes)

    expected = {
        "delivered": ("delivered", 0, None),
        "retry": ("queued", 1, "http_500"),
        "dead": ("dead", 1, "http_500"),
    }
    assert endings(store.store) == {outcome.token.jti: expected[outcome.state] for outcome in outcomes}
    assert store.begun == 1


def test_what_the_store_does_not_take_is_written_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery_outcomes, "STORE_PAUSE_S", 0.01)
    store = Grudging(new_store(tmp_path), refuses=3)
    put(store.store, numbered("a", 1))

    with caplog.at_level(logging.ERROR):
        _written(store, [PushResult(head, "delivered") for head in _heads(store.store)])

    assert endings(store.store) == {"s-1.a.1": ("delivered", 0, None)}
    assert [record.getMessage() for record in caplog.records] == [
        "results of 1 pushes wait to be written: the store cannot be used now: locked"
    ] * 3


def test_what_came_of_a_token_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    put(store, numbered("a", 1))
    (token,) = _heads(store)
    with store.begin() as conn:
        queue.dead_letter(conn, token.seq, "stream_disabled", "the stream was disabled", NOW)

    _written(
        store, [PushResult(token, "delivered"), PushResult(token, "retry", "cut", "", NOW), PushResult(token, "dead")]
    )

    assert endings(store) == {"s-1.a.1": ("dead", 1, "stream_disabled")}
