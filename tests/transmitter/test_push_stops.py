"""Pushes that must stop, move or not begin: paused streams, removed ones, a stop in order, a dry run."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import POLL
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from tests.support.push_receiver import ACCEPTED, CUT, HANG, Receiver, Reply
from tests.support.pushes import add, clock, endings, pushing, put, quick, seen, states
from tests.support.security_event_tokens import numbered
from tests.support.stores import SEALER, new_store, stream


def _delivered(store: Store, stream_id: str) -> bool:
    return states(store, stream_id) == {"delivered": 1}


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_a_stream_that_is_stopped_is_not_pushed_and_goes_on_when_it_may(tmp_path: Path, status: Any) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url, status=status)
        add(store, receiver.url, "s-2")
        put(store, numbered("a", 1), numbered("a", 1, "s-2"))
        async with pushing(store, quick()):
            await seen("the other's", lambda: states(store, "s-2") == {"delivered": 1})
            await asyncio.sleep(1.2)  # longer than from one look to the next
            assert states(store) == {"queued": 1}
            with store.begin() as conn:
                streams.set_status(conn, "s-1", "enabled", None, clock())
            await seen("its own", lambda: states(store) == {"delivered": 1})

    with Receiver() as receiver:
        asyncio.run(main(receiver))


def test_after_a_stream_is_removed_polled_or_disabled_nothing_more_is_pushed(tmp_path: Path) -> None:
    store, notifier, names = new_store(tmp_path), Notifier(), ("s-1", "s-2", "s-3")

    async def main(receiver: Receiver) -> None:
        for name in names:
            add(store, receiver.url, name)
            put(store, numbered("a", 1, name))
        async with pushing(store, quick(), notifier):
            for name in names:
                await seen("a push", partial(_delivered, store, name))
            with store.begin() as conn:
                streams.remove(conn, "s-1", clock())
                streams.change(conn, SEALER, stream("s-2", method=POLL, endpoint_url=None))
                streams.set_status(conn, "s-3", "disabled", None, clock())
                queue.put(conn, [numbered("a", 2, name) for name in names], clock())
            notifier.notify(names)
            await asyncio.sleep(1.2)

    with Receiver() as receiver:
        asyncio.run(main(receiver))

    assert sorted(push.claims["jti"] for push in receiver.pushes) == ["s-1.a.1", "s-2.a.1", "s-3.a.1"]


def test_a_stream_that_moves_is_pushed_to_where_it_went(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    async def main(before: Receiver, after: Receiver) -> None:
        add(store, before.url)
        put(store, numbered("a", 1))
        async with pushing(store, quick()):
            await seen("a push", lambda: states(store) == {"delivered": 1})
            with store.begin() as conn:
                streams.change(conn, SEALER, stream(endpoint_url=after.url, authorization="Bearer new"))
            put(store, numbered("a", 2))
            await seen("another", lambda: states(store) == {"delivered": 2})

    with Receiver() as before, Receiver() as after:
        asyncio.run(main(before, after))

    assert [(push.claims["number"], push.headers["Authorization"]) for push in after.pushes] == [(2, "Bearer new")]
    assert [push.claims["number"] for push in before.pushes] == [1]


def test_an_address_that_may_not_be_pushed_to_makes_dead_letters_that_say_so(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    async def main() -> None:
        add(store, "https://10.0.0.1/events")
        put(store, numbered("a", 1))
        async with pushing(store, quick(push_attempts=2)):
            await seen("a dead letter", lambda: states(store) == {"dead": 1})

    asyncio.run(main())

    assert endings(store) == {"s-1.a.1": ("dead", 2, "address_refused")}


def test_a_stop_waits_for_what_is_under_way_and_begins_nothing_more(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    def answer(_: dict[str, Any]) -> Reply:
        time.sleep(0.3)
        return ACCEPTED

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, *(numbered(f"lane-{number}", number) for number in range(20)))
        async with pushing(store, quick(push_at_once=1)):
            await seen("a push", lambda: receiver.under_way == 1)

    with Receiver(answer) as receiver:
        asyncio.run(main(receiver))

    assert states(store) == {"delivered": len(receiver.pushes), "queued": 20 - len(receiver.pushes)}
    assert len(receiver.pushes) < 20


def test_a_dry_run_tells_and_sends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, numbered("a", 1))
        async with pushing(store, quick(dry_run=True)):
            await seen("an end", lambda: states(store) == {"dead": 1})

    with caplog.at_level(logging.INFO, "pipeline.transmitter.delivery.push_stream"), Receiver() as receiver:
        asyncio.run(main(receiver))

    assert receiver.pushes == []
    assert endings(store) == {"s-1.a.1": ("dead", 1, "dry_run")}
    assert [record.getMessage() for record in caplog.records if record.name.endswith(".push_stream")] == [
        'dry run: stream s-1 would get session-revoked {"jti":"s-1.a.1","lane":"a","number":1}',
        (
            "stream s-1: token s-1.a.1 (session-revoked), attempt 1: dead, dry_run: "
            "not sent: this transmitter is in a dry run"
        ),
    ]


def test_the_authorization_is_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url, authorization="Bearer s3cret")
        put(store, *(numbered(f"lane-{number}", number) for number in range(3)))
        async with pushing(store, quick(push_timeout_s=0.3)):
            for number in range(3):
                failed = partial(_received, caplog, f"token s-1.lane-{number}.{number} ")
                await seen("what is said of a failure", failed)

    replies = {0: HANG, 1: CUT, 2: Reply(500)}
    with caplog.at_level(logging.DEBUG), Receiver(lambda claims: replies[claims["number"]]) as receiver:
        asyncio.run(main(receiver))

    assert "s3cret" not in caplog.text


def _received(caplog: pytest.LogCaptureFixture, what: str) -> bool:
    return what in caplog.text
