"""Whatever a receiver that polls does: it is handed what is about one subject in the order of its making."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from pipeline.transmitter.store import queue
from pipeline.transmitter.store.database import Store
from tests.support.stores import NOW, new_store, token

REDELIVERY_MS = 20
LANES = ("a", "b", "c")
_names = count()

_ANY = st.integers(0, 9)
ACTS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(LANES)),
    st.tuples(st.just("put"), st.sampled_from(LANES)),
    st.tuples(st.just("poll"), st.integers(0, 5)),
    st.tuples(st.just("poll"), st.integers(1, 2)),
    st.tuples(st.just("acknowledge"), _ANY),
    st.tuples(st.just("refuse"), _ANY),
    st.tuples(st.just("pass_by"), st.integers(1, 25)),
)


class Receiver:
    """One that polls; it keeps what is out, and until when, and what it has not seen yet, by lane."""

    def __init__(self, conn: Connection, stream_id: str) -> None:
        self.conn, self.stream_id, self.now = conn, stream_id, NOW
        self.out: dict[str, int] = {}
        self.unseen: dict[str, list[str]] = {lane: [] for lane in LANES}
        self.number = count()

    def put(self, lane: str) -> None:
        jti = f"{lane}{next(self.number)}"
        queue.put(self.conn, [token(jti, self.stream_id, lane)], self.now)
        self.unseen[lane].append(jti)

    def poll(self, most: int) -> None:
        out = [jti for jti, until in self.out.items() if until > self.now]
        found, _ = queue.hand_out(self.conn, self.stream_id, self.now, most, REDELIVERY_MS)
        for lane in LANES:
            handed = [int(queued.jti[1:]) for queued in found if queued.lane == lane]
            assert handed == sorted(handed)
            older = [jti for jti in out if jti[0] == lane and handed and int(jti[1:]) < max(handed)]
            assert older == [], "an older one is out"
            new = [f"{lane}{number}" for number in handed if f"{lane}{number}" in self.unseen[lane]]
            assert new == self.unseen[lane][: len(new)], "one that was never handed out was passed over"
            del self.unseen[lane][: len(new)]
        self.out |= {queued.jti: self.now + REDELIVERY_MS for queued in found}

    def acknowledge(self, which: int) -> None:
        if (jti := self._one(which)) is not None:
            assert queue.acknowledge(self.conn, self.stream_id, [jti], self.now) == 1

    def refuse(self, which: int) -> None:
        if (jti := self._one(which)) is not None:
            assert queue.refuse(self.conn, self.stream_id, {jti: ("invalid_key", "")}, self.now) == 1

    def pass_by(self, ms: int) -> None:
        self.now += ms

    def drain(self) -> None:
        """Poll and acknowledge until nothing is left: what was kept back comes."""
        while any(self.unseen.values()) or self.out:
            self.pass_by(REDELIVERY_MS)
            before = len(self.out) + sum(map(len, self.unseen.values()))
            self.poll(2)
            while self.out:
                self.acknowledge(0)
            assert len(self.out) + sum(map(len, self.unseen.values())) < before

    def _one(self, which: int) -> str | None:
        """Take one of those that are out, or were: it may say what it likes of them whenever it likes."""
        if not self.out:
            return None
        jti = list(self.out)[which % len(self.out)]
        del self.out[jti]
        return jti


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for all examples; each has a stream of its own."""
    store = new_store(tmp_path_factory.mktemp("laws"))
    yield store
    store.close()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, min_size=4, max_size=40))
def test_a_lane_is_handed_out_in_its_order_and_never_past_one_that_is_out(
    shared: Store, acts: list[tuple[str, str | int]]
) -> None:
    with shared.begin() as conn:
        receiver = Receiver(conn, f"s-{next(_names)}")
        for name, argument in acts:
            getattr(receiver, name)(argument)
        receiver.drain()
        assert queue.backlog_size(conn, receiver.stream_id) == (0, None)
