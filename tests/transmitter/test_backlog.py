"""Streams nobody takes from: the receiver is told first, then they stop, and nothing vanishes unsaid."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.backlog import Backlog, Limits, StatusChange, next_status_change
from pipeline.transmitter.delivery.housekeeping import Housekeeper
from pipeline.transmitter.metrics import TransmitterMetrics
from pipeline.transmitter.notifier import Notifier
from pipeline.transmitter.protocol import EVENTS, POLL
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.signing_keys import open_signer
from pipeline.transmitter.store.tables import sets
from tests.support.housekeeping import HOUR, new_house, put_numbered
from tests.support.push_receiver import Receiver
from tests.support.pushes import pushing, quick, seen
from tests.support.security_event_tokens import numbered
from tests.support.stores import NOW, SEALER, new_store, stream

LIMITS = Limits(count=10, age_ms=24 * HOUR, idle_ms=600_000, grace_ms=60_000)
LATE = NOW + 30 * HOUR
FULL = "keeps its newest 100 tokens; older ones are dropped"
MANY = "the receiver takes no tokens: more than 10 tokens wait"
OLD = "the receiver takes no tokens: tokens wait for 24 h"


@pytest.mark.parametrize(
    ("status", "held", "now_ms", "expected"),
    [
        ("enabled", Backlog(0, None, is_active=True), LATE, None),
        ("enabled", Backlog(10, NOW, is_active=False), NOW + HOUR, None),
        ("enabled", Backlog(100, NOW, is_active=True), NOW + HOUR, None),
        ("enabled", Backlog(101, NOW, is_active=True), NOW, StatusChange("enabled", FULL)),
        ("enabled", Backlog(11, NOW, is_active=False), NOW + HOUR, StatusChange("paused", MANY)),
        ("enabled", Backlog(11, NOW, is_active=False), NOW + 599_999, None),
        ("enabled", Backlog(1, NOW, is_active=False), LATE, StatusChange("paused", OLD)),
        ("enabled", Backlog(1, NOW, is_active=True), LATE, None),
        ("enabled", Backlog(1, LATE, True, (("delivered", LATE),)), LATE, StatusChange("paused", OLD)),
        ("paused", Backlog(10, NOW, is_active=False), NOW + HOUR, None),
        (
            "paused",
            Backlog(11, NOW, is_active=False),
            NOW + HOUR,
            StatusChange("paused", "keeps its newest 10 tokens; older ones are dropped"),
        ),
        ("paused", Backlog(1, NOW, is_active=False), LATE, StatusChange("disabled", "paused for more than 24 h")),
        ("paused", Backlog(0, None, is_active=True), LATE, None),
        (
            "paused",
            Backlog(0, None, True, (("delivered", NOW + 25 * HOUR),)),
            LATE,
            StatusChange("disabled", "paused for more than 24 h"),
        ),
        ("paused", Backlog(0, None, True, (("delivered", NOW),)), LATE, None),
        ("disabled", Backlog(11, NOW, is_active=False), LATE, None),
    ],
)
def test_what_is_to_be_done_follows_from_what_waits_and_for_how_long(
    status: Any, held: Backlog, now_ms: int, expected: StatusChange | None
) -> None:
    assert next_status_change(stream(status=status), held, LIMITS, now_ms) == expected


def test_s8_a_polled_stream_nobody_polls_is_told_then_paused_and_keeps_its_newest(tmp_path: Path) -> None:
    house = new_house(tmp_path, method=POLL, endpoint_url=None)
    put_numbered(house, 12)

    looks = [house.look(), house.look(HOUR), house.look(59_000), house.look(2_000), house.look(1_000)]

    event, word = "session-revoked", "stream-updated"
    assert looks == [
        ("enabled", {(event, "queued"): 12}),
        ("enabled", {(event, "queued"): 12, (word, "queued"): 1}),
        ("enabled", {(event, "queued"): 12, (word, "queued"): 1}),
        ("paused", {(event, "queued"): 12, (word, "queued"): 1}),
        ("paused", {(event, "dead"): 4, (event, "queued"): 8, (word, "queued"): 2}),
    ]
    assert house.words() == [
        {"status": "paused", "reason": MANY},
        {"status": "paused", "reason": "keeps its newest 10 tokens; older ones are dropped"},
    ]


def test_one_that_is_told_and_takes_the_word_is_paused_at_once(tmp_path: Path) -> None:
    house = new_house(tmp_path, method=POLL, endpoint_url=None)
    put_numbered(house, 12)
    house.look(HOUR)
    with house.store.begin() as conn:
        word = conn.scalar(select(sets.c.jti).where(sets.c.event == "stream-updated"))
        queue.acknowledge(conn, "s-1", [word or ""], house.now)

    assert house.look(1000)[0] == "paused"


def test_one_that_is_taken_from_goes_on_with_more_than_others_may_hold(tmp_path: Path) -> None:
    house = new_house(tmp_path, method=POLL, endpoint_url=None)
    put_numbered(house, 101)
    house.now += HOUR
    with house.store.begin() as conn:
        queue.acknowledge(conn, "s-1", ["s-1.a.0"], house.now)

    event = "session-revoked"
    assert house.look(1000) == ("enabled", {(event, "delivered"): 1, (event, "queued"): 100})


def test_one_that_is_taken_from_loses_only_what_is_too_old(tmp_path: Path) -> None:
    house = new_house(tmp_path, method=POLL, endpoint_url=None)
    put_numbered(house, 2)
    house.now += 25 * HOUR
    put_numbered(house, 2, first=2)
    with house.store.begin() as conn:
        given, _ = queue.hand_out(conn, "s-1", house.now, 4, 60_000)
        queue.acknowledge(conn, "s-1", [given[-1].jti], house.now)

    event = "session-revoked"
    assert house.look(1000) == (
        "enabled",
        {(event, "dead"): 2, (event, "delivered"): 1, (event, "queued"): 1},
    )


def test_a_stream_of_the_operators_file_is_not_stopped_but_gives_up_its_oldest(tmp_path: Path) -> None:
    house = new_house(tmp_path, declared=True)
    put_numbered(house, 15)

    event = "session-revoked"
    assert house.look(HOUR) == ("enabled", {(event, "dead"): 5, (event, "queued"): 10})
    assert house.look(24 * HOUR) == ("enabled", {(event, "dead"): 15})


def test_a_paused_stream_holds_its_newest_and_says_so_once(tmp_path: Path) -> None:
    house = new_house(tmp_path, status="paused")
    put_numbered(house, 15)

    looks = [house.look(1000), house.look(HOUR)]
    put_numbered(house, 15, first=15)
    looks.append(house.look(HOUR))

    assert [status for status, _ in looks] == ["paused"] * 3
    with house.store.read() as conn:
        kept = conn.scalars(select(sets.c.jti).where(sets.c.state == "queued").order_by(sets.c.seq)).all()
    assert kept[-1] == "s-1.a.29"
    assert len(kept) == 10


def test_a_stream_paused_for_too_long_is_told_then_disabled(tmp_path: Path) -> None:
    house = new_house(tmp_path, status="paused")
    put_numbered(house, 3)
    house.look(HOUR)
    house.now += 22 * HOUR
    put_numbered(house, 1, first=3)

    event, word = "session-revoked", "stream-updated"
    assert house.look(HOUR + 1000) == (
        "paused",
        {(event, "dead"): 3, (event, "queued"): 1, (word, "queued"): 1},
    )
    assert house.words() == [{"status": "disabled", "reason": "paused for more than 24 h"}]
    assert house.look(61_000) == ("disabled", {(event, "dead"): 4, (word, "dead"): 1})
    stopped = house.metrics.stopped_streams.labels("disabled")
    assert stopped._value.get() == 1


def test_the_last_word_of_a_paused_stream_is_pushed_and_nothing_else(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    signer = open_signer(store, "ES256", 2048, NOW)
    settings = quick(hold_sets=1, hold_s=86_400)
    keeping = Housekeeper(store, signer, settings, Notifier(), TransmitterMetrics(CollectorRegistry()), lambda: NOW)

    async def main(receiver: Receiver) -> None:
        with store.begin() as conn:
            streams.add(conn, SEALER, stream(endpoint_url=receiver.url, status="paused"))
            queue.put(conn, [numbered("a", number) for number in range(3)], NOW)
        keeping.run_once()
        async with pushing(store, settings):
            await seen("the word", lambda: len(receiver.pushes) > 0)
            await asyncio.sleep(0.5)

    with Receiver() as receiver:
        asyncio.run(main(receiver))

    assert [push.claims["events"] for push in receiver.pushes] == [
        {
            EVENTS["stream-updated"].uri: {
                "status": "paused",
                "reason": "keeps its newest 1 tokens; older ones are dropped",
            }
        }
    ]


def test_limits_follow_from_the_settings() -> None:
    assert Limits.of(TransmitterSettings()) == replace(LIMITS, count=10_000)
