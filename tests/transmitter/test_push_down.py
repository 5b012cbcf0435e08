"""Receivers that are away for longer than the tries of a token: nothing is lost, and little spent on them."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.store import streams
from tests.support.push_receiver import ACCEPTED, CUT, HANG, Receiver, Reply
from tests.support.pushes import add, endings, pushing, put, quick, seen, states
from tests.support.security_event_tokens import numbered
from tests.support.stores import SEALER, new_store, stream

pytestmark = pytest.mark.slow

DOWN = "session_risk_transmitter_down_seconds"
LANES = 5


def _many(each: int = 1) -> list[Any]:
    return [numbered(f"lane-{lane}", number) for lane in range(LANES) for number in range(each)]


@pytest.mark.parametrize("reply", [Reply(503), Reply(401), Reply(302, {"Location": "/"}), Reply(429), CUT])
def test_a_receiver_that_was_away_gets_everything_in_its_order_when_it_is_back(tmp_path: Path, reply: Reply) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, *_many(3))
        async with pushing(store, quick(push_attempts=2)):
            await seen("many more tries than a token has", lambda: len(receiver.pushes) > 6 * LANES)
            receiver.answer = lambda _: ACCEPTED
            await seen("all of it", lambda: states(store) == {"delivered": 3 * LANES})

    with Receiver(lambda _: reply) as receiver:
        asyncio.run(main(receiver))

    assert {attempts for _, attempts, _ in endings(store).values()} == {0}
    for lane in range(LANES):
        taken = [push.claims["number"] for push in receiver.accepted if push.claims["lane"] == f"lane-{lane}"]
        assert taken == [0, 1, 2]


def test_while_it_is_down_one_token_at_a_time_is_tried_and_another_each_time(tmp_path: Path) -> None:
    store, metrics = new_store(tmp_path), TransmitterMetrics(CollectorRegistry())

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, *_many())
        async with pushing(store, quick(), metrics=metrics):
            await seen("who is down", lambda: bool(metrics.registry.get_sample_value(DOWN)))
            await seen("two rounds of one at a time", lambda: len(receiver.pushes) >= 3 * LANES)
            assert states(store) == {"queued": LANES}
            receiver.answer = lambda _: ACCEPTED
            await seen("all of it", lambda: states(store) == {"delivered": LANES})
            await seen("that nobody is down", lambda: metrics.registry.get_sample_value(DOWN) == 0)

    with Receiver(lambda _: Reply(503)) as receiver:
        asyncio.run(main(receiver))

    tried = [push.claims["lane"] for push in receiver.pushes if push.reply is not ACCEPTED]
    rounds = [set(tried[start : start + LANES]) for start in range(LANES, len(tried) - LANES, LANES)]
    assert rounds == [{f"lane-{lane}" for lane in range(LANES)}] * len(rounds)


def test_a_receiver_that_hangs_holds_one_connection_once_it_is_known_to(tmp_path: Path) -> None:
    store, at = new_store(tmp_path), list[float]()

    def hang(_: dict[str, Any]) -> Reply:
        at.append(time.monotonic())
        return HANG

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, *_many())
        async with pushing(store, quick(push_timeout_s=0.4)):
            await seen("a first round, and some of one each", lambda: len(at) >= LANES + 4)

    with Receiver(hang) as receiver:
        asyncio.run(main(receiver))

    assert [later - sooner >= 0.3 for sooner, later in pairwise(at[LANES:])] == [True] * (len(at) - LANES - 1)
    assert states(store) == {"queued": LANES}


@pytest.mark.parametrize("reply", [CUT, Reply(503), Reply(404), Reply(302)], ids=["cut", "503", "404", "302"])
def test_a_token_that_fails_while_others_are_taken_is_a_dead_letter_after_its_tries(
    tmp_path: Path, reply: Reply
) -> None:
    store = new_store(tmp_path)

    def dead() -> bool:
        return endings(store)["s-1.a.1"][0] == "dead"

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, numbered("a", 1), numbered("a", 2))
        async with pushing(store, quick(push_attempts=3)):
            number = 0
            while not dead():
                number += 1
                put(store, numbered("others", number))
                delivered = partial(_delivered_or, store, f"s-1.others.{number}", dead)
                await seen("another one's delivery", delivered)
            await seen("what was behind it", lambda: endings(store)["s-1.a.2"][0] == "delivered")

    with Receiver(lambda claims: reply if claims["jti"] == "s-1.a.1" else ACCEPTED) as receiver:
        asyncio.run(main(receiver))

    named = {302: "redirect", 202: "cut"}.get(reply.status, f"http_{reply.status}")
    assert endings(store)["s-1.a.1"] == ("dead", 3, named)


def _delivered_or(store: Any, jti: str, other: Any) -> bool:
    return other() or endings(store)[jti][0] == "delivered"


@pytest.mark.parametrize("moves", [True, False])
def test_a_stream_that_gets_another_address_or_authorization_is_tried_anew_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    monkeypatch.setattr("pipeline.transmitter.delivery.circuit_breaker.PROBE_S", 86_400.0)
    store = new_store(tmp_path)

    async def main(before: Receiver, after: Receiver) -> None:
        add(store, before.url, authorization="Bearer old")
        put(store, *_many())
        async with pushing(store, quick(push_backoff_s=86_400, push_backoff_max_s=86_400)):
            await seen("refusals", lambda: len(before.pushes) == LANES)
            put(store, numbered("new", 1))
            await asyncio.sleep(1.2)  # longer than from one look to the next
            assert endings(store)["s-1.new.1"] == ("queued", 0, None)
            before.answer = lambda _: ACCEPTED
            url = after.url if moves else before.url
            with store.begin() as conn:
                streams.change(conn, SEALER, stream(endpoint_url=url, authorization="Bearer new"))
            await seen("a delivery", lambda: endings(store)["s-1.new.1"][0] == "delivered")

    with Receiver(lambda _: Reply(401)) as before, Receiver() as after:
        asyncio.run(main(before, after))

    assert len(before.pushes) == LANES + (not moves)


def test_that_a_receiver_is_down_and_is_back_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = new_store(tmp_path)

    async def main(receiver: Receiver) -> None:
        add(store, receiver.url)
        put(store, *_many())
        async with pushing(store, quick()):
            await seen("some tries", lambda: len(receiver.pushes) > 3 * LANES)
            receiver.answer = lambda _: ACCEPTED
            await seen("all of it", lambda: states(store) == {"delivered": LANES})

    with (
        caplog.at_level(logging.INFO, "pipeline.transmitter.delivery.push_stream"),
        Receiver(lambda _: Reply(503)) as receiver,
    ):
        asyncio.run(main(receiver))

    lines = [record.getMessage() for record in caplog.records if "its receiver" in record.getMessage()]
    assert lines[0] == (
        "stream s-1: its receiver is down (http_503: answered 503: the receiver is overloaded or unavailable "
        "(RFC 9110 §15.6.4)); until it responds, one token at a time is pushed"
    )
    assert lines[1].startswith("stream s-1: its receiver responds again, after ")
    assert len(lines) == 2
