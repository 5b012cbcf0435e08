"""The queue of a stream: what is put in stays until it is delivered or given up, in order, once."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from pipeline.transmitter.protocol import QueuedToken
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.queue import DeadLetter
from pipeline.transmitter.store.tables import commands, sets, signing_keys
from tests.support.stores import NOW, SEALER, stream, token


def _put(store: Store, *jtis: str, lane: str | None = None, stream_id: str = "s-1") -> None:
    """Put tokens in; the lane of each is its first letter."""
    with store.begin() as conn:
        queue.put(conn, [token(jti, stream_id, lane or jti[0]) for jti in jtis], NOW)


def _heads(store: Store, now_ms: int = NOW, limit: int = 10, without: tuple[str, ...] = ()) -> list[str]:
    with store.read() as conn:
        return [head.jti for head in queue.heads(conn, "s-1", now_ms, limit, without)]


def _seq(store: Store, jti: str) -> int:
    with store.read() as conn:
        seq: int = conn.execute(select(sets.c.seq).where(sets.c.jti == jti)).scalar_one()
    return seq


def _dead(store: Store) -> dict[str, tuple[str, str, int, bool]]:
    with store.read() as conn:
        found = queue.list_dead_letters(conn)
    return {
        dead_letter.jti: (
            dead_letter.error,
            dead_letter.error_text,
            dead_letter.attempts,
            dead_letter.retriable,
        )
        for dead_letter in found
    }


def test_a_token_is_put_in_once_under_its_jti(store: Store) -> None:
    with store.begin() as conn:
        counts = [queue.put(conn, [token("a1"), token(jti)], NOW) for jti in ("a2", "a3", "a2")]
    with store.read() as conn:
        known = queue.known_jtis(conn, [("s-1", "a1"), ("s-1", "a9"), ("s-2", "a1"), ("s-1", "a3")])

    assert counts == [2, 1, 0]
    assert known == {("s-1", "a1"), ("s-1", "a3")}


def test_one_jti_in_two_streams_is_two_tokens(store: Store) -> None:
    with store.begin() as conn:
        assert queue.put(conn, [token("a1", "s-1"), token("a1", "s-2")], NOW) == 2


def test_nothing_put_in_is_nothing(store: Store) -> None:
    with store.begin() as conn:
        assert queue.put(conn, [], NOW) == 0
        assert queue.known_jtis(conn, []) == set()
        assert queue.mark_delivered(conn, [], NOW) == 0


def test_the_head_of_a_lane_is_whole(store: Store) -> None:
    with store.begin() as conn:
        queue.put(conn, [token("a1", jwt="h.p.s", revocation_id="rev-1")], NOW)
        (head,) = queue.heads(conn, "s-1", NOW, 1, ())

    expected = QueuedToken(head.seq, "s-1", "a1", "a", "session-revoked", "h.p.s", 0, NOW, NOW, "rev-1")
    assert head == expected


def test_of_each_lane_only_the_oldest_may_leave(store: Store) -> None:
    _put(store, "a1", "b1", "a2", "c1", "b2")

    assert _heads(store) == ["a1", "b1", "c1"]
    assert _heads(store, limit=2) == ["a1", "b1"]
    assert _heads(store, without=("a", "z")) == ["b1", "c1"]
    assert _heads(store, without=tuple("a" + "x" * n for n in range(600)), limit=1) == ["b1"]
    assert _heads(store, now_ms=NOW - 1) == []


def test_a_lane_waits_for_its_oldest_and_for_nothing_else(store: Store) -> None:
    _put(store, "a1", "a2", "b1")
    with store.begin() as conn:
        queue.retry_later(conn, _seq(store, "a1"), NOW + 5_000, "http_500", "Internal Server Error")

    assert _heads(store) == ["b1"]
    assert _heads(store, NOW + 5_000) == ["b1", "a1"]


def test_what_waits_behind_a_head_is_not_looked_through_until_it_is_due(store: Store) -> None:
    _put(store, "a1", "a2", "b1")
    with store.begin() as conn:
        queue.retry_later(conn, _seq(store, "a1"), NOW + 5_000, "timeout", "")
        queue.retry_later(conn, 99, NOW + 9_000, "timeout", "")
        due = dict(conn.execute(select(sets.c.jti, sets.c.due_at)).all())

    assert due == {"a1": NOW + 5_000, "a2": NOW + 5_000, "b1": NOW}
    with store.begin() as conn:
        queue.put(conn, [token("a3")], NOW + 9_000)
        queue.retry_later(conn, _seq(store, "a1"), NOW + 8_000, "timeout", "")
        due = dict(conn.execute(select(sets.c.jti, sets.c.due_at)).all())

    assert due == {"a1": NOW + 8_000, "a2": NOW + 8_000, "a3": NOW + 9_000, "b1": NOW}


def test_delivered_makes_room_for_the_next_of_the_lane(store: Store) -> None:
    _put(store, "a1", "a2")
    with store.begin() as conn:
        assert queue.mark_delivered(conn, [_seq(store, "a1"), _seq(store, "a1"), 999], NOW + 1) == 1
        assert queue.mark_delivered(conn, [_seq(store, "a1")], NOW + 2) == 0

    assert _heads(store) == ["a2"]
    with store.read() as conn:
        row = conn.execute(select(sets.c.state, sets.c.jwt, sets.c.ended_at).where(sets.c.jti == "a1")).one()
        assert queue.known_jtis(conn, [("s-1", "a1")]) == {("s-1", "a1")}
    assert row == ("delivered", None, NOW + 1)


@pytest.mark.parametrize(
    ("due", "expected"),
    [({}, NOW), ({"a1": NOW + 9_000}, NOW), ({"a1": NOW + 9_000, "b1": NOW + 4_000}, NOW + 4_000)],
)
def test_the_next_time_to_look_is_when_a_head_is_due(store: Store, due: dict[str, int], expected: int) -> None:
    _put(store, "a1", "a2", "b1")
    with store.begin() as conn:
        for jti, at in due.items():
            queue.retry_later(conn, _seq(store, jti), at, "timeout", "")

    with store.read() as conn:
        assert queue.next_due(conn, "s-1") == expected
        assert queue.next_due(conn, "s-2") is None


def test_a_try_that_failed_is_counted_and_its_cause_kept(store: Store) -> None:
    _put(store, "a1")
    with store.begin() as conn:
        queue.retry_later(conn, _seq(store, "a1"), NOW, "http_500", "a\x00b\n" + "x" * 2_000)
        queue.retry_later(conn, _seq(store, "a1"), NOW, "http_503", "later")
        assert queue.dead_letter(conn, _seq(store, "a1"), "e" * 100, "gone \ud800!", NOW + 7)
        assert not queue.dead_letter(conn, _seq(store, "a1"), "again", "", NOW + 8)

    assert _dead(store) == {"a1": ("e" * 64, "gone  !", 3, True)}


def test_a_dead_letter_tells_when_and_why(store: Store) -> None:
    with store.begin() as conn:
        queue.put(conn, [token("a1", txn="dec-1")], NOW)
        queue.dead_letter(conn, 1, "invalid_issuer", "who?", NOW + 7)
        found = queue.list_dead_letters(conn)

    assert found == [
        DeadLetter(
            1,
            "s-1",
            "a1",
            "session-revoked",
            "dec-1",
            1,
            NOW,
            NOW + 7,
            "invalid_issuer",
            "who?",
            retriable=True,
        )
    ]


def test_dead_letters_come_newest_first_of_one_stream_or_all(store: Store) -> None:
    _put(store, "a1", "a2", "b1")
    _put(store, "c1", stream_id="s-2")
    with store.begin() as conn:
        for at, jti in enumerate(("a2", "c1", "a1")):
            queue.dead_letter(conn, _seq(store, jti), "timeout", "", NOW + at)

    with store.read() as conn:
        assert [dead_letter.jti for dead_letter in queue.list_dead_letters(conn)] == ["a1", "c1", "a2"]
        assert [dead_letter.jti for dead_letter in queue.list_dead_letters(conn, "s-1", 1)] == ["a1"]
        assert queue.count_dead_letters(conn) == {"s-1": 2, "s-2": 1}


def test_what_is_revived_leaves_before_what_came_later_under_the_same_jti(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    _put(store, "a1", "a2", "b1")
    with store.begin() as conn:
        queue.dead_letter(conn, _seq(store, "a1"), "timeout", "", NOW)
        queue.dead_letter(conn, _seq(store, "b1"), "timeout", "", NOW)
        assert queue.requeue(conn, [_seq(store, "a1"), _seq(store, "a2")], NOW + 9) == 1
        assert queue.requeue(conn, "s-1", NOW + 9) == 1
        found = queue.heads(conn, "s-1", NOW + 9, 10)

    rows = [(queued.jti, queued.attempts, queued.due_at, queued.created_at) for queued in found]
    assert rows == [("a1", 0, NOW + 9, NOW + 9), ("b1", 0, NOW + 9, NOW + 9)]


def test_what_is_revived_is_not_too_old_at_once(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
        queue.put(conn, [token("a1")], NOW)
        assert queue.drop_oldest(conn, "s-1", 10, NOW + 1, NOW + 1) == 1
        assert queue.requeue(conn, "s-1", NOW + 2) == 1
        assert queue.drop_oldest(conn, "s-1", 10, NOW + 1, NOW + 2) == 0


def test_a_dead_letter_of_a_disabled_stream_is_not_revived_until_it_is_enabled(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    _put(store, "a1")
    with store.begin() as conn:
        queue.dead_letter(conn, _seq(store, "a1"), "timeout", "", NOW)
        streams.set_status(conn, "s-1", "disabled", None, NOW)
        assert queue.requeue(conn, "s-1", NOW + 1) == 0
        streams.set_status(conn, "s-1", "enabled", None, NOW + 2)
        assert queue.requeue(conn, "s-1", NOW + 3) == 1


def test_a_dead_letter_whose_stream_is_gone_is_not_revived(store: Store) -> None:
    _put(store, "a1")
    with store.begin() as conn:
        queue.dead_letter(conn, 1, "timeout", "", NOW)
        assert queue.requeue(conn, "s-1", NOW) == 0
        assert queue.requeue(conn, [1], NOW) == 0


def test_a_stream_tells_how_much_it_holds_and_since_when(store: Store) -> None:
    _put(store, "a1", "a2")
    with store.begin() as conn:
        queue.put(conn, [token("a3")], NOW + 60)
        queue.mark_delivered(conn, [_seq(store, "a1"), _seq(store, "a2")], NOW)

    with store.read() as conn:
        assert (queue.backlog_size(conn, "s-1"), queue.backlog_size(conn, "s-2")) == ((1, NOW + 60), (0, None))


@pytest.mark.parametrize(
    ("down_to", "before", "gone"),
    [
        (4, NOW, set()),
        (9, NOW, set()),
        (3, NOW, {"a1"}),
        (0, NOW, {"a1", "a2", "a3", "a4"}),
        (9, NOW + 2, {"a1", "a2"}),
        (1, NOW + 1, {"a1", "a2", "a3"}),
    ],
)
def test_the_oldest_are_given_up_beyond_a_number_and_an_age(
    store: Store, down_to: int, before: int, gone: set[str]
) -> None:
    with store.begin() as conn:
        for at, jti in enumerate(("a1", "a2", "a3", "a4")):
            queue.put(conn, [token(jti), token(jti, "s-2")], NOW + at)
        assert queue.drop_oldest(conn, "s-1", down_to, before, NOW + 9) == len(gone)

    assert set(_dead(store)) == gone
    assert {error for error, *_ in _dead(store).values()} <= {"hold_limit"}


def test_old_ends_are_purged_a_bounded_number_at_a_time_and_nothing_that_waits(store: Store) -> None:
    _put(store, "a1", "a2", "a3", "a4")
    with store.begin() as conn:
        queue.mark_delivered(conn, [1], NOW + 1)
        queue.dead_letter(conn, 2, "timeout", "", NOW + 2)
        queue.mark_delivered(conn, [3], NOW + 3)
        assert [queue.purge(conn, NOW + 3, limit=1) for _ in range(3)] == [1, 1, 0]

    with store.read() as conn:
        assert list(conn.scalars(select(sets.c.jti).order_by(sets.c.seq))) == ["a3", "a4"]


def test_a_key_is_needed_while_what_it_signed_may_still_be_sent(store: Store) -> None:
    with store.begin() as conn:
        for kid in ("k-1", "k-2", "k-3"):
            row = {"kid": kid, "alg": "RS256", "private_sealed": b"", "created_at": NOW}
            conn.execute(insert(signing_keys).values(row))
        queue.put(conn, [token(f"a{n}", kid=f"k-{n}") for n in (1, 2)], NOW)
        queue.dead_letter(conn, 2, "timeout", "", NOW)
        assert queue.needed_key_ids(conn) == {"k-1", "k-2"}
        queue.mark_delivered(conn, [1], NOW)
        assert queue.needed_key_ids(conn) == {"k-2"}


@pytest.mark.parametrize("by_poll", [False, True])
def test_a_delivered_token_moves_its_open_revocation_and_no_other(store: Store, by_poll: bool) -> None:
    made = {
        "tenant": "t",
        "session_id": "s",
        "decision_id": "d",
        "decided_at": NOW,
        "deadline": NOW,
        "sends": 1,
    }
    with store.begin() as conn:
        for name, state in (("r-1", "open"), ("r-2", "confirmed"), ("r-3", "open"), ("r-4", "overdue")):
            conn.execute(insert(commands).values(revocation_id=name, state=state, **made))
        queue.put(conn, [token(f"a{n}", revocation_id=f"r-{n}") for n in (1, 2, 4)], NOW)
        if by_poll:
            queue.acknowledge(conn, "s-1", ["a1", "a2", "a4"], NOW + 5)
        else:
            queue.mark_delivered(conn, [1, 2, 3], NOW + 5)
        queue.put(conn, [token("b1", "s-2", revocation_id="r-1")], NOW)
        queue.acknowledge(conn, "s-2", ["b1"], NOW + 9)  # delivered is when the first receiver had it
        select_read = select(commands.c.revocation_id, commands.c.state, commands.c.delivered_at)
        rows = [tuple(row) for row in conn.execute(select_read.order_by(commands.c.revocation_id))]

    assert rows == [
        ("r-1", "delivered", NOW + 5),
        ("r-2", "confirmed", NOW + 5),
        ("r-3", "open", None),
        ("r-4", "overdue", NOW + 5),
    ]
