"""Ten thousand tokens to receivers that misbehave in every way, while the transmitter is killed ten times.

It is whole: it reads Kafka, signs, stores, pushes, is polled and answers. Every token is delivered or a dead
letter, none is lost, none comes under two `jti`s, and what is about one person comes in its order. Other
moments and other moods are tried with SEEDS="1 2 3" in the environment.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, select

from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.encryption import load
from pipeline.transmitter.store.tables import sets
from tests.support.hostile_receivers import Delivery, Scene, scene
from tests.support.many_people import WAVES, Received, sends, wave
from tests.support.misbehaving_receivers import SLOW
from tests.support.pushes import endings
from tests.support.ssf_receiver import CAEP
from tests.support.ssf_transmitter import IDP
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

SEEDS = [int(name) for name in os.environ.get("SEEDS", "1").split()]
HANDED_OVER = 4
"""In this wave the one that works is killed while another stands by; that one is killed in the next."""
LATEST_S = 5.0
"""It is killed by then, however little of the wave has been heard."""
STILL_S = 20.0
"""After so long without a change, what is missing is lost."""


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_out_of_order_whatever_receivers_do_and_however_often_it_is_killed(
    url: str, tmp_path: Path, seed: int
) -> None:
    chance = Random(seed)  # noqa: S311 - moments and moods are drawn by a seed
    with scene(url, tmp_path, chance) as at:
        for number in range(WAVES):
            _one_more_death(at, number, chance)
        store = open_store(url, load(tmp_path / "keys"))
        count, held = sum(len(stream.expected) for stream in at.streams), len(at.distrusted.expected)
        until("every token's end", lambda: _states(store), _over(count, held))
        assert at.distrusted.receiver.delete(at.distrusted.stream_id).status == 204
        _what_was_confirmed_is_known(at)
        for delivery in at.deliveries():
            _nothing_is_lost(delivery, endings(store, delivery.stream.stream_id))
            _each_token_is_right(delivery)
        _order_is_kept(at.deliveries())
        _dead_letters_are_listed(at, store)
        store.close()

    _everything_happened(at)
    assert "Traceback" not in at.one.log() + at.other.log()


def _one_more_death(at: Scene, number: int, chance: Random) -> None:
    """Write a wave, and kill what works at a moment that is drawn; then something works again."""
    if number == HANDED_OVER:
        at.stand_by()
    at.works.write(wave(at.name, number))
    goal = at.count() + chance.choice((0, 0, 1, chance.randint(1, 300)))
    latest = time.monotonic() + LATEST_S
    until("a moment", at.count, lambda count: count >= goal or time.monotonic() > latest)
    time.sleep(chance.uniform(0, 0.5))
    if number == HANDED_OVER:
        at.hand_over()
    else:
        at.fall()


def _states(store: Store) -> Counter[str]:
    with store.read() as conn:
        found = conn.execute(select(sets.c.state, func.count()).group_by(sets.c.state))
        return Counter({row[0]: row[1] for row in found})


def _over(count: int, held: int) -> Callable[[Counter[str]], bool]:
    """Whether *count* tokens have come to an end, but for *held*, or for so long nothing has changed.

    What is for the one who is distrusted is held until somebody vouches for it, or gives it up.
    """
    seen: list[tuple[float, Counter[str]]] = []

    def holds(states: Counter[str]) -> bool:
        if not seen or seen[-1][1] != states:
            seen.append((time.monotonic(), states))
        still = time.monotonic() - seen[-1][0] > STILL_S
        return states["queued"] <= held and (states.total() >= count or still)

    return holds


def _what_was_confirmed_is_known(at: Scene) -> None:
    """Each command was heard as often as it was sent; of those whose end was taken, the end is known."""
    _, poller = at.polled

    def open_still() -> set[str]:
        known = at.one.revocations()
        return {name for name in poller.confirmed if known[name]["state"] != "confirmed"}

    until("the confirmations", open_still, lambda left: left == set())
    mine = {key: fields["sends"] for key, fields in at.one.revocations().items() if at.name in key}
    assert mine == sends(at.name)
    assert poller.confirmed


def _nothing_is_lost(deliveries: Delivery, ended: Mapping[str, tuple[str, int, str | None]]) -> None:
    """Each token has one `jti` and one end; what the store calls delivered, the receiver has."""
    expected = set(deliveries.stream.expected)
    assert set(ended) == expected
    assert set(deliveries.seen) <= expected
    delivered = {jti for jti, (state, _, _) in ended.items() if state == "delivered"}
    dead = {jti: why for jti, (state, _, why) in ended.items() if state == "dead"}
    assert delivered | set(dead) == expected
    assert delivered <= deliveries.took
    assert set(dead) <= deliveries.refused
    assert set(dead.values()) <= deliveries.reasons
    assert dead


def _each_token_is_right(deliveries: Delivery) -> None:
    """Signed by a published key, and about whom and what it must be."""
    for jti, text in deliveries.seen.items():
        token, item = deliveries.stream.receiver.verified(text), deliveries.stream.expected[jti]
        assert (token.claims["jti"], token.claims["txn"]) == (jti, item.txn)
        assert token.event == f"{CAEP}{item.event}"
        assert _named(token.claims["sub_id"]) == item.person


def _named(subject: Mapping[str, Any]) -> str:
    user = subject.get("user", subject)
    if user["format"] == "email":
        return str(user["email"].removesuffix("@example.com"))
    assert user["iss"] == IDP
    return str(user["sub"])


def _order_is_kept(deliveries: list[Delivery]) -> None:
    """Of one person what one topic says comes in its order, and in the same order to every stream."""
    orders = [_by_person(delivery) for delivery in deliveries]
    for order in orders:
        for records in order.values():
            topics = {item.place[0] for item in records}
            for topic in topics:
                places = [item.place for item in records if item.place[0] == topic]
                assert all(first < second for first, second in pairwise(places)), records
    for by_key, other in combinations(orders, 2):
        for person in by_key.keys() & other.keys():
            both = set(by_key[person]) & set(other[person])
            assert [item for item in by_key[person] if item in both] == [item for item in other[person] if item in both]


def _by_person(deliveries: Delivery) -> dict[str, list[Received]]:
    """What was told first to last, by whom it is about."""
    found: dict[str, list[Received]] = defaultdict(list)
    for jti in deliveries.seen:
        item = deliveries.stream.expected[jti]
        found[item.person].append(item)
    return found


def _dead_letters_are_listed(at: Scene, store: Store) -> None:
    """The operator sees every one, and why."""
    listed = {
        (dead_letter["stream_id"], dead_letter["jti"]): dead_letter["error"] for dead_letter in at.one.dead_letters()
    }
    assert listed == {
        (stream.stream_id, jti): why
        for stream in at.streams
        for jti, (state, _, why) in endings(store, stream.stream_id).items()
        if state == "dead"
    }


def _everything_happened(at: Scene) -> None:
    """Receivers did misbehave in every way there is."""
    pushes = [push for _, listener in at.pushed for push in listener.pushes]
    for fault in (*at.moods.faults, *SLOW):
        assert any(push.reply is fault for push in pushes), fault
    assert set(at.polled[1].did) == {"takes all", "takes half", "forgets", "hears nothing"}
