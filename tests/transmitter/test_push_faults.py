"""Ten thousand tokens to receivers that misbehave in every way, while who pushes is killed ten times.

Every token is delivered or a dead letter, none is lost, none comes under two `jti`s, and what is about one
subject comes in its order. What waits for receivers that nothing reaches waits until it was held too long.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.encryption import load
from pipeline.transmitter.store.tables import sets
from tests.support.misbehaving_receivers import DEADLY, SLOW, faults
from tests.support.push_receiver import ACCEPTED, Push, Receiver, Reply, self_signed
from tests.support.pushes import clock
from tests.support.security_event_tokens import numbered
from tests.support.stores import stream
from tests.support.waiting import until

pytestmark = pytest.mark.slow

KILLS = 10
LANES = 166
ROUNDS = 60
TOKENS = LANES * ROUNDS  # to the receiver that misbehaves; the rest goes to where nothing arrives
ELSEWHERE = {"s-tls": "tls", "s-gone": "unreachable"}
FEW = (10_000 - TOKENS) // len(ELSEWHERE)

FAULTS = faults("http://127.0.0.1:9/")
ENVIRONMENT = {
    "ALLOW_INSECURE": "true",
    "PUSH_AT_ONCE": "64",
    "PUSH_ATTEMPTS": "6",
    "PUSH_TIMEOUT_S": "3",
    "PUSH_BACKOFF_S": "0.05",
    "PUSH_BACKOFF_MAX_S": "0.4",
}


def misbehaving(claims: dict[str, Any], tries: Counter[str], rng: Random) -> Reply:
    """Take most tokens, refuse others in some way, and some always: the same for the same seed."""
    tries[claims["jti"]] += 1
    if claims["number"] % 50 == 7 and claims["lane"] in {"lane-3", "lane-5"}:
        return Reply(500)
    drawn = rng.random()
    if drawn < 0.004:
        return rng.choice(SLOW)
    return rng.choice(FAULTS) if drawn < 0.25 else ACCEPTED


@contextmanager
def pusher(url: str, key_file: Path, **others: str) -> Iterator[subprocess.Popen[str]]:
    """A process that pushes and keeps house; killed in the end, if it did not end by itself."""
    environment = {**ENVIRONMENT, **others}
    settings = {f"SESSION_RISK_TRANSMITTER_{name}": value for name, value in environment.items()}
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, str(root / "tests" / "support" / "push_process.py"), url, str(key_file)],
        env={**os.environ, **settings, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "pushing\n"
            yield process
        finally:
            process.kill()


def put_round(store: Store, number: int) -> None:
    """Put the tokens of a part of all rounds, and those before once more, as a replay does."""
    many = [
        numbered(f"lane-{lane}", this_number)
        for this_number in range(max(0, number - 2), number + ROUNDS // KILLS)
        for lane in range(LANES)
    ]
    with store.begin() as conn:
        queue.put(conn, many, clock())


def ends(store: Store) -> dict[str, dict[str, tuple[str, str | None]]]:
    """State and error of each token, by stream and `jti`."""
    found: dict[str, dict[str, tuple[str, str | None]]] = defaultdict(dict)
    with store.read() as conn:
        for row in conn.execute(select(sets.c.stream_id, sets.c.jti, sets.c.state, sets.c.error)):
            found[row.stream_id][row.jti] = (row.state, row.error)
    return found


def waiting(store: Store) -> Counter[str]:
    """How many tokens wait, by stream."""
    with store.read() as conn:
        return Counter(conn.scalars(select(sets.c.stream_id).where(sets.c.state == "queued")))


def texts(store: Store, stream_id: str) -> set[str]:
    """What is said of those of a stream that were tried and given up."""
    tried = (sets.c.stream_id == stream_id) & sets.c.error_text.contains("its last attempt")
    with store.read() as conn:
        return set(conn.scalars(select(sets.c.error_text).where(tried)))


@pytest.fixture
def streamed(tmp_path: Path) -> Iterator[tuple[Store, Receiver]]:
    """A store with a stream to a receiver that misbehaves, and two that lead to none."""
    rng, tries = Random(7), Counter[str]()  # noqa: S311 - faults are drawn by a seed
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}", load(tmp_path / "keys"))
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(lambda claims: misbehaving(claims, tries, rng)))
        untrusted = stack.enter_context(Receiver(tls=self_signed(tmp_path)))
        with Receiver() as gone:
            urls = {"s-1": receiver.url, "s-tls": untrusted.url, "s-gone": gone.url}
        with store.begin() as conn:
            for name, url in urls.items():
                streams.add(
                    conn,
                    store.sealer,
                    stream(name, endpoint_url=url, authorization="Bearer s3cret", declared=True),
                )
            for name in ELSEWHERE:
                queue.put(conn, [numbered(f"lane-{number % 5}", number, name) for number in range(FEW)], clock())
        yield store, receiver
        assert untrusted.pushes == []


def test_nothing_is_lost_doubled_or_out_of_order_whatever_receivers_do_and_whoever_is_killed(
    streamed: tuple[Store, Receiver], tmp_path: Path
) -> None:
    store, receiver = streamed
    url, key_file = f"sqlite:///{tmp_path / 'store.db'}", tmp_path / "keys"

    for kill in range(KILLS):
        put_round(store, kill * ROUNDS // KILLS)
        goal = len(receiver.pushes) + TOKENS // KILLS // 2
        with pusher(url, key_file) as process:
            until("half of what is new", lambda: len(receiver.pushes), lambda number: number >= goal)  # noqa: B023
            process.send_signal(signal.SIGKILL)
            assert process.wait(10) == -signal.SIGKILL
    with pusher(url, key_file) as process:
        until("all of it", lambda: waiting(store), lambda seen: seen["s-1"] == 0)
        assert waiting(store) == dict.fromkeys(ELSEWHERE, FEW)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    with pusher(url, key_file, HOLD_S="1") as process:
        until("an empty queue", lambda: waiting(store), lambda seen: not seen)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

    ended = ends(store)
    _nothing_is_lost(ended, receiver.pushes)
    _order_is_kept(receiver.accepted)
    assert {name: set(ended[name].values()) for name in ELSEWHERE} == {
        name: {("dead", "hold_limit")} for name in ELSEWHERE
    }
    for name, why in ELSEWHERE.items():
        (text,) = texts(store, name)
        assert text == f"the stream held it too long, or held too many; its last attempt: {why}"
    assert {push.headers["Authorization"] for push in receiver.pushes} == {"Bearer s3cret"}


def _nothing_is_lost(ended: dict[str, dict[str, tuple[str, str | None]]], pushes: list[Push]) -> None:
    """Each token has one `jti` and one end; what the store calls delivered, the receiver has."""
    assert {name: len(tokens) for name, tokens in ended.items()} == {"s-1": TOKENS} | dict.fromkeys(ELSEWHERE, FEW)
    rows = {(push.claims["lane"], push.claims["number"], push.claims["jti"]) for push in pushes}
    assert len(rows) == len({(lane, number) for lane, number, _ in rows}) == TOKENS
    accepted = {push.claims["jti"] for push in pushes if push.reply is ACCEPTED}
    delivered = {jti for jti, (state, _) in ended["s-1"].items() if state == "delivered"}
    dead = {jti: why for jti, (state, why) in ended["s-1"].items() if state == "dead"}
    assert delivered <= accepted
    assert len(delivered) + len(dead) == TOKENS
    assert set(dead.values()) <= DEADLY
    assert {"s-1.lane-3.7", "s-1.lane-5.57"} <= set(dead)
    assert len(dead) > TOKENS // 50


def _order_is_kept(accepted: list[Push]) -> None:
    """A token may come again after a kill, but none after a later one of its lane."""
    by_lane: dict[str, list[int]] = defaultdict(list)
    for push in accepted:
        by_lane[push.claims["lane"]].append(push.claims["number"])
    assert len(by_lane) == LANES
    for lane, numbers in by_lane.items():
        assert all(number <= two for number, two in pairwise(numbers)), lane
