"""Tokens that are polled: handed out, kept until they are acknowledged or refused, handed out again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.queue.polled import any_ready
from tests.support.stores import NOW, SEALER, stream, token

REDELIVERY_MS = 60_000
LATER = NOW + REDELIVERY_MS


def _fill(store: Store, count: int, lanes: int = 2) -> None:
    with store.begin() as conn:
        queue.put(conn, [token(f"a{n}", lane=f"l{n % lanes}") for n in range(count)], NOW)


def _poll(
    store: Store, now_ms: int = NOW, most: int = 10, ack: tuple[str, ...] = (), event: str | None = None
) -> tuple[list[str], bool]:
    with store.begin() as conn:
        queue.acknowledge(conn, "s-1", ack, now_ms)
        found, more = queue.hand_out(conn, "s-1", now_ms, most, REDELIVERY_MS, event)
    return [queued.jti for queued in found], more


def test_a_poll_is_handed_the_oldest_and_told_whether_there_are_more(store: Store) -> None:
    _fill(store, 3, lanes=3)

    assert _poll(store, most=2) == (["a0", "a1"], True)
    assert _poll(store, most=2) == (["a2"], False)
    assert _poll(store) == ([], False)


def test_a_poll_for_none_is_handed_none_and_told_that_there_are_some(store: Store) -> None:
    _fill(store, 1)

    assert _poll(store, most=0) == ([], True)
    assert _poll(store) == (["a0"], False)
    assert _poll(store, most=0) == ([], False)


def test_what_is_neither_acknowledged_nor_refused_is_handed_out_again_after_a_time(store: Store) -> None:
    _fill(store, 3)
    _poll(store)

    assert _poll(store, LATER - 1, ack=("a1",)) == ([], False)
    assert _poll(store, LATER) == (["a0", "a2"], False)


# --- The order of a lane ---


def test_several_of_a_lane_are_handed_out_at_once_in_their_order(store: Store) -> None:
    _fill(store, 5)

    assert _poll(store) == (["a0", "a1", "a2", "a3", "a4"], False)


def test_while_one_is_out_what_is_behind_it_in_its_lane_waits_for_the_answer(store: Store) -> None:
    _fill(store, 5)

    assert _poll(store, most=1) == (["a0"], True)
    assert _poll(store) == (["a1", "a3"], False)
    assert _poll(store) == ([], False)
    assert _poll(store, ack=("a0",)) == (["a2", "a4"], False)


def test_a_word_about_the_last_of_several_does_not_let_out_what_waits_for_the_first(store: Store) -> None:
    _fill(store, 3, lanes=1)
    _poll(store, most=2)

    assert _poll(store, ack=("a1",)) == ([], False)
    assert _poll(store, ack=("a0",)) == (["a2"], False)


def test_a_refusal_lets_out_what_waited_behind_it(store: Store) -> None:
    _fill(store, 2, lanes=1)
    _poll(store, most=1)
    with store.begin() as conn:
        queue.refuse(conn, "s-1", {"a0": ("invalid_key", "")}, NOW)

    assert _poll(store) == (["a1"], False)


def test_what_comes_again_comes_before_what_waited_behind_it(store: Store) -> None:
    _fill(store, 3, lanes=1)
    _poll(store, most=1)

    assert _poll(store, LATER, most=1) == (["a0"], True)
    assert _poll(store, LATER + REDELIVERY_MS) == (["a0", "a1", "a2"], False)


def test_what_is_revived_waits_while_a_younger_one_is_out_and_then_comes_before_the_next(
    store: Store,
) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    _fill(store, 3, lanes=1)
    with store.begin() as conn:
        queue.dead_letter(conn, 1, "invalid_key", "", NOW)
    assert _poll(store, most=1) == (["a1"], True)
    with store.begin() as conn:
        queue.requeue(conn, "s-1", NOW)

    assert _poll(store) == ([], False)
    assert _poll(store, ack=("a1",)) == (["a0", "a2"], False)


def test_a_clock_that_was_ahead_when_one_was_put_in_does_not_let_the_next_overtake(store: Store) -> None:
    with store.begin() as conn:
        queue.put(conn, [token("a1")], NOW + 5_000)
        queue.put(conn, [token("a2"), token("b1", lane="b")], NOW)

    assert _poll(store) == (["b1"], False)
    assert _poll(store, NOW + 5_000) == (["a1", "a2"], False)


@pytest.mark.parametrize("event", ["verification", "stream-updated"])
def test_what_is_about_the_stream_itself_neither_waits_nor_keeps_anything_back(store: Store, event: str) -> None:
    with store.begin() as conn:
        queue.put(conn, [token(f"v{n}", lane="stream", event=event) for n in range(3)], NOW)
        queue.put(conn, [token("a1")], NOW)

    assert _poll(store, most=1) == (["v0"], True)
    assert _poll(store, most=1, event=event) == (["v1"], True)
    assert _poll(store) == (["v2", "a1"], False)


def test_polls_at_once_share_no_lane_between_them(store: Store) -> None:
    with store.begin() as conn:
        streams.add(conn, SEALER, stream())
    _fill(store, 4)

    with ThreadPoolExecutor(1) as threads:
        with store.begin() as conn:
            first, _ = queue.hand_out(conn, "s-1", NOW, 1, REDELIVERY_MS)
            second = threads.submit(_poll, store)
            assert not wait([second], 0.3).done  # until the first poll is over
        assert second.result(30) == (["a1", "a3"], False)
    assert [queued.jti for queued in first] == ["a0"]


@pytest.mark.parametrize("lanes", [1, 10_000], ids=["one lane", "ten thousand lanes"])
def test_ten_thousand_that_wait_are_polled_whatever_they_are_about(store: Store, lanes: int) -> None:
    _fill(store, 10_000, lanes)

    given, more = _poll(store, most=5_000)
    for _ in range(3):
        behind = [] if lanes == 1 else [f"a{n}" for n in range(5_000, 10_000)]
        assert _poll(store, most=0) == ([], bool(behind))
        with store.read() as conn:
            assert any_ready(conn, "s-1", NOW) == bool(behind)
    assert _poll(store, most=10_000, ack=tuple(given)) == ([f"a{n}" for n in range(5_000, 10_000)], False)

    assert (given, more) == ([f"a{n}" for n in range(5_000)], True)


# --- What the receiver says ---


def test_an_acknowledgement_counts_once_for_its_own_stream_and_unknown_ones_are_harmless(
    store: Store,
) -> None:
    _fill(store, 2)
    odd = ["a0", "a0", "a9", "", "\x00", "\ud800", "x" * 1000, "a b"]
    with store.begin() as conn:
        counts = [queue.acknowledge(conn, name, odd, NOW) for name in ("s-2", "s-1", "s-1")]

    assert counts == [0, 1, 0]
    assert _poll(store) == (["a1"], False)


def test_what_the_receiver_refuses_is_a_dead_letter_with_its_words(store: Store) -> None:
    _fill(store, 2)
    errors = {"a0": ("invalid_audience", "not\x00 me \ud83d"), "a9": ("x", "y"), "\x00": ("x", "y")}
    with store.begin() as conn:
        counts = [queue.refuse(conn, name, errors, NOW + 1) for name in ("s-2", "s-1", "s-1")]
        found = queue.list_dead_letters(conn)

    assert counts == [0, 1, 0]
    assert [(dead_letter.jti, dead_letter.error, dead_letter.error_text) for dead_letter in found] == [
        ("a0", "invalid_audience", "not  me")
    ]
    assert _poll(store) == (["a1"], False)


def test_thousands_of_words_at_once_are_taken(store: Store) -> None:
    _fill(store, 3_000)
    with store.begin() as conn:
        assert queue.acknowledge(conn, "s-1", [f"a{n}" for n in range(2_000)], NOW) == 2_000
        errors = {f"a{n}": ("invalid_key", f"{n}") for n in range(4_000)}
        assert queue.refuse(conn, "s-1", errors, NOW) == 1_000
        assert queue.backlog_size(conn, "s-1") == (0, None)
        by_key = {
            dead_letter.jti: (dead_letter.error, dead_letter.error_text)
            for dead_letter in queue.list_dead_letters(conn)
        }

    assert by_key == {f"a{n}": ("invalid_key", f"{n}") for n in range(2_000, 3_000)}
