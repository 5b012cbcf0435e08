"""Whatever happens to a queue in whatever order: it says what a list of tokens, gone through slowly, says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from tests.support.stores import NOW, SEALER, new_store, stream, token

LANES = "abc"
OF_THE_STREAM = "v"
"""A lane of verifications: they neither wait nor keep anything back when they are polled."""
_names = count()


@dataclass
class Slow:
    """A token as the slow queue has it."""

    jti: str
    lane: str
    state: str
    due_at: int
    created_at: int
    attempts: int = 0


class SlowQueue:
    """A list in the order of arrival."""

    def __init__(self) -> None:
        self.all: list[Slow] = []

    def waiting(self) -> list[Slow]:
        return [slow for slow in self.all if slow.state == "queued"]

    def first(self) -> list[Slow]:
        firsts: dict[str, Slow] = {}
        for slow in self.waiting():
            firsts.setdefault(slow.lane, slow)
        return list(firsts.values())

    def heads(self, now_ms: int, without: str) -> list[str]:
        due = [slow for slow in self.first() if slow.due_at <= now_ms and slow.lane not in without]
        return [slow.jti for slow in sorted(due, key=lambda slow: (slow.due_at, self.all.index(slow)))]

    def next_due(self) -> int | None:
        return min((slow.due_at for slow in self.first()), default=None)

    def ready(self, now_ms: int) -> list[Slow]:
        """What a poll may be handed: what is due, in lanes of which everything is due."""
        out = {slow.lane for slow in self.waiting() if slow.due_at > now_ms} - {OF_THE_STREAM}
        return [slow for slow in self.waiting() if slow.due_at <= now_ms and slow.lane not in out]


_PUT = st.tuples(st.just("put"), st.sampled_from(LANES + OF_THE_STREAM), st.integers(0, 3))
OPERATIONS = st.one_of(
    _PUT,
    st.tuples(st.sampled_from(["deliver", "bury"]), st.integers(0, 2)),
    st.tuples(st.just("again"), st.integers(0, 2), st.integers(1, 40)),
    st.tuples(st.just("poll"), st.integers(0, 4)),
    st.tuples(st.just("acknowledge"), st.integers(0, 9)),
    st.tuples(st.just("revive")),
    st.tuples(st.just("drop"), st.integers(0, 4), st.integers(0, 40)),
    st.tuples(st.just("wait"), st.integers(1, 25)),
)


class Both:
    """A queue of the store and the slow one, to which the same happens."""

    def __init__(self, conn: Connection, stream_id: str) -> None:
        self.conn, self.stream_id, self.slow, self.now = conn, stream_id, SlowQueue(), NOW

    def put(self, lane: str, number: int) -> None:
        jti = f"{lane}{number}"
        event = "verification" if lane == OF_THE_STREAM else "session-revoked"
        new = queue.put(self.conn, [token(jti, self.stream_id, lane, event=event)], self.now)
        known = jti in [slow.jti for slow in self.slow.all]
        assert new == (not known)
        if not known:
            self.slow.all.append(Slow(jti, lane, "queued", self.now, self.now))

    def _head(self, which: int) -> tuple[int, Slow] | None:
        found = queue.heads(self.conn, self.stream_id, self.now, 10)
        if which >= len(found):
            return None
        (slow,) = [this_slow for this_slow in self.slow.all if this_slow.jti == found[which].jti]
        return found[which].seq, slow

    def deliver(self, which: int) -> None:
        if (head := self._head(which)) is not None:
            assert queue.mark_delivered(self.conn, [head[0]], self.now) == 1
            head[1].state = "delivered"

    def bury(self, which: int) -> None:
        if (head := self._head(which)) is not None:
            assert queue.dead_letter(self.conn, head[0], "timeout", "", self.now)
            head[1].state, head[1].attempts = "dead", head[1].attempts + 1

    def again(self, which: int, after: int) -> None:
        if (head := self._head(which)) is not None:
            due_at = self.now + after
            queue.retry_later(self.conn, head[0], due_at, "timeout", "")
            head[1].due_at, head[1].attempts = due_at, head[1].attempts + 1
            for slow in self.slow.waiting():
                if slow.lane == head[1].lane:
                    slow.due_at = max(slow.due_at, due_at)

    def poll(self, most: int) -> None:
        found, more = queue.hand_out(self.conn, self.stream_id, self.now, most, 20)
        ready = self.slow.ready(self.now)
        given = ready[:most]
        assert [queued.jti for queued in found] == [this_slow.jti for this_slow in given]
        for slow in given:
            slow.due_at, slow.attempts = self.now + 20, slow.attempts + 1
        assert more == (len(ready) > most)

    def acknowledge(self, which: int) -> None:
        if which < len(waiting := self.slow.waiting()):
            assert queue.acknowledge(self.conn, self.stream_id, [waiting[which].jti], self.now) == 1
            waiting[which].state = "delivered"

    def revive(self) -> None:
        dead = [this_slow for this_slow in self.slow.all if this_slow.state == "dead"]
        assert queue.requeue(self.conn, self.stream_id, self.now) == len(dead)
        for slow in dead:
            slow.state, slow.due_at, slow.created_at, slow.attempts = "queued", self.now, self.now, 0

    def drop(self, down_to: int, age: int) -> None:
        waiting = self.slow.waiting()
        old = [this_slow for this_slow in waiting if this_slow.created_at < self.now - age]
        gone = {this_slow.jti: this_slow for this_slow in [*old, *waiting[: max(len(waiting) - down_to, 0)]]}
        count = queue.drop_oldest(self.conn, self.stream_id, down_to, self.now - age, self.now)
        assert count == len(gone)
        for slow in gone.values():
            slow.state = "dead"

    def wait(self, ms: int) -> None:
        self.now += ms

    def agree(self) -> None:
        waiting = self.slow.waiting()
        for without in ("", "a", "bc"):
            heads = queue.heads(self.conn, self.stream_id, self.now, 10, list(without))
            assert [head.jti for head in heads] == self.slow.heads(self.now, without)
        assert queue.next_due(self.conn, self.stream_id) == self.slow.next_due()
        oldest = min((slow.created_at for slow in waiting), default=None)
        assert queue.backlog_size(self.conn, self.stream_id) == (len(waiting), oldest)
        dead = {
            dead_letter.jti: dead_letter.attempts for dead_letter in queue.list_dead_letters(self.conn, self.stream_id)
        }
        assert dead == {slow.jti: slow.attempts for slow in self.slow.all if slow.state == "dead"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for all examples; each has a stream of its own."""
    folder: Path = tmp_path_factory.mktemp("laws")
    store = new_store(folder)
    yield store
    store.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_PUT, min_size=3, max_size=12), st.lists(OPERATIONS, max_size=25))
def test_a_queue_says_what_a_list_gone_through_slowly_says(
    shared: Store, before: list[tuple[str, ...]], operations: list[tuple[str, ...]]
) -> None:
    stream_id = f"s-{next(_names)}"
    with shared.begin() as conn:
        streams.add(conn, SEALER, stream(stream_id))
        both = Both(conn, stream_id)
        for name, *arguments in [*before, *operations]:
            getattr(both, name)(*arguments)
            both.agree()
