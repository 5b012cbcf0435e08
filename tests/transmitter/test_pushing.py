"""Pushes of whole streams: order, retries, dead letters, and receivers that keep no other waiting."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.queue import dead_letters
from tests.support.push_receiver import ACCEPTED, HANG, Receiver, Reply, error
from tests.support.pushes import add, clock, endings, pushing, put, quick, seen, states
from tests.support.security_event_tokens import numbered
from tests.support.stores import new_store


def _numbers(receiver: Receiver, lane: str) -> list[int]:
    return [push.claims["number"] for push in receiver.accepted if push.claims["lane"] == lane]


def _delivered(store: Store, stream_id: str, count: int) -> bool:
    return states(store, stream_id) == ({"delivered": count} if count else {})


def test_what_waits_is_pushed_and_delivered(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url, authorization="Bearer s3cret")
        put(store, numbered("a", 1), numbered("b", 1))
        async with pushing(store, quick()):
            await seen("two deliveries", lambda: states(store) == {"delivered": 2})

    with Receiver() as receiver:
        asyncio.run(main(receiver))

    assert sorted(push.claims["jti"] for push in receiver.pushes) == ["s-1.a.1", "s-1.b.1"]
    assert {push.headers["Authorization"] for push in receiver.pushes} == {"Bearer s3cret"}
    assert endings(store) == {"s-1.a.1": ("delivered", 0, None), "s-1.b.1": ("delivered", 0, None)}


def test_a_ring_is_heard_without_waiting_for_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.transmitter.delivery.push.CHECK_S", 3600.0)
    store, notifier = new_store(tmp_path), Notifier()

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        async with pushing(store, quick(), notifier):
            for number in range(5):
                put(store, numbered("a", number))
                notifier.notify(["s-1"])
                await seen("a push", partial(_delivered, store, "s-1", number + 1))

    with Receiver() as receiver:
        asyncio.run(main(receiver))

    assert _numbers(receiver, "a") == [0, 1, 2, 3, 4]


def test_after_one_ring_all_that_waits_is_worked_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.transmitter.delivery.push.CHECK_S", 3600.0)
    store, notifier, tried = new_store(tmp_path), Notifier(), Counter[str]()

    def answer(claims: dict[str, Any]) -> Reply:
        tried[claims["jti"]] += 1
        return Reply(500) if tried[claims["jti"]] == 1 and claims["number"] == 3 else ACCEPTED

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        async with pushing(store, quick(push_at_once=2), notifier):
            await seen("nothing yet", partial(_delivered, store, "s-1", 0))
            put(store, *(numbered(lane, number) for number in range(8) for lane in "abcde"))
            notifier.notify(["s-1"])
            await seen("all of it", partial(_delivered, store, "s-1", 40))

    with Receiver(answer) as receiver:
        asyncio.run(main(receiver))

    assert [_numbers(receiver, lane) for lane in "abcde"] == [list(range(8))] * 5


def test_what_another_process_puts_in_is_found_without_a_ring(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        async with pushing(store, quick()):
            for number in range(2):
                put(store, numbered("a", number))
                await seen("a push", partial(_delivered, store, "s-1", number + 1))

    with Receiver() as receiver:
        asyncio.run(main(receiver))

    assert _numbers(receiver, "a") == [0, 1]


def test_within_a_lane_tokens_leave_one_after_another_also_where_each_fails_at_first(store: Store) -> None:
    tried = Counter[str]()

    def answer(claims: dict[str, Any]) -> Reply:
        tried[claims["jti"]] += 1
        return ACCEPTED if tried[claims["jti"]] > claims["number"] % 3 else Reply(500)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, *(numbered(lane, number) for number in range(10) for lane in "abc"))
        async with pushing(store, quick(push_at_once=16)):
            await seen("thirty deliveries", lambda: states(store) == {"delivered": 30})

    with Receiver(answer) as receiver:
        asyncio.run(main(receiver))

    assert [_numbers(receiver, lane) for lane in "abc"] == [list(range(10))] * 3
    assert receiver.most_under_way <= 3


def test_no_more_are_under_way_than_are_set(tmp_path: Path) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, *(numbered(f"lane-{number}", number) for number in range(100)))
        async with pushing(store, quick(push_at_once=4)):
            await seen("a hundred deliveries", lambda: states(store) == {"delivered": 100})

    with Receiver() as receiver:
        asyncio.run(main(receiver))

    assert receiver.most_under_way <= 4


@pytest.mark.parametrize(
    ("reply", "tries", "named"),
    [
        (error("invalid_request"), 1, "invalid_request"),
        (error("invalid_issuer"), 1, "invalid_issuer"),
        (error("invalid_audience"), 1, "invalid_audience"),
        (error("invalid_state"), 1, "invalid_state"),
        (error("invalid_key"), 2, "invalid_key"),
        (error("authentication_failed"), 4, "authentication_failed"),
        (error("access_denied"), 4, "access_denied"),
        (error("tea_pot"), 4, "unknown_code"),
        (Reply(500), 4, "http_500"),
        (Reply(413), 1, "http_413"),
    ],
)
def test_p4_p5_a_token_that_is_not_taken_is_a_dead_letter_after_its_tries(
    tmp_path: Path, reply: Reply, tries: int, named: str
) -> None:
    store, metrics = new_store(tmp_path), TransmitterMetrics(CollectorRegistry())

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, numbered("a", 1), numbered("a", 2))
        async with pushing(store, quick(push_attempts=4), metrics=metrics):
            await seen("its end", lambda: states(store) == {"delivered": 1, "dead": 1})

    with Receiver(lambda claims: reply if claims["number"] == 1 else ACCEPTED) as receiver:
        asyncio.run(main(receiver))

    assert endings(store)["s-1.a.1"] == ("dead", tries, named)
    assert [push.claims["number"] for push in receiver.pushes] == [1] * tries + [2]
    counted = {
        (sample.labels.get("outcome"), sample.labels.get("error")): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.value
        and sample.name
        in {
            "session_risk_transmitter_deliveries_total",
            "session_risk_transmitter_dead_letters_total",
        }
    }
    expected: dict[tuple[str | None, str | None], float] = {
        ("delivered", None): 1,
        ("dead", None): 1,
        (None, named): 1,
        ("retry", None): tries - 1,
    }
    assert counted == {labels: count for labels, count in expected.items() if count}


def test_a_dead_letter_that_is_revived_is_pushed_under_the_same_jti(store: Store) -> None:
    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, numbered("a", 1))
        async with pushing(store, quick(push_attempts=1)):
            await seen("a dead letter", lambda: states(store) == {"dead": 1})
            receiver.answer = lambda _: ACCEPTED
            with store.begin() as conn:
                dead_letters.requeue(conn, "s-1", clock())
            await seen("a delivery", lambda: states(store) == {"delivered": 1})

    with Receiver(lambda _: Reply(500)) as receiver:
        asyncio.run(main(receiver))

    assert [push.claims["jti"] for push in receiver.pushes] == ["s-1.a.1", "s-1.a.1"]


def test_a_receiver_that_is_overloaded_is_left_alone_as_a_whole(tmp_path: Path) -> None:
    store, at = new_store(tmp_path), list[float]()

    def answer(_: dict[str, Any]) -> Reply:
        at.append(time.monotonic())
        return Reply(429, {"Retry-After": "1"}) if len(at) == 1 else ACCEPTED

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, *(numbered(f"lane-{number}", number) for number in range(5)))
        async with pushing(store, quick(push_at_once=1)):
            await seen("five deliveries", lambda: states(store) == {"delivered": 5})

    with Receiver(answer) as receiver:
        asyncio.run(main(receiver))

    assert len(at) == 6
    assert at[1] - at[0] >= 0.95


def test_p7_a_receiver_that_hangs_delays_no_other(store: Store) -> None:
    async def main(hanging: Receiver, well: Receiver) -> None:
        add(store, hanging.url)
        put(store, *(numbered(f"lane-{number}", number) for number in range(50)))
        for name in ("s-2", "s-3"):
            add(store, well.url, name)
            put(store, *(numbered(f"lane-{number}", number, name) for number in range(50)))
        async with pushing(store, quick(push_timeout_s=120)):
            for name in ("s-2", "s-3"):
                await seen("fifty", partial(_delivered, store, name, 50))
            assert states(store) == {"queued": 50}
            hanging.release()

    with Receiver(lambda _: HANG) as hanging, Receiver() as well:
        asyncio.run(main(hanging, well))

    assert hanging.most_under_way == 8
