"""Tokens that are polled: handed out, kept until they are acknowledged or refused, handed out again."""

from __future__ import annotations

from pipeline.transmitter import queue
from pipeline.transmitter.store import Store
from stores import NOW, token

REDELIVERY_MS = 60_000


def _fill(store: Store, count: int) -> None:
    with store.begin() as conn:
        queue.put(conn, [token(f"a{n}", lane=f"l{n % 2}") for n in range(count)], NOW)


def _poll(store: Store, now_ms: int = NOW, most: int = 10) -> tuple[list[str], bool]:
    with store.begin() as conn:
        found, more = queue.hand_out(conn, "s-1", now_ms, most, REDELIVERY_MS)
    return [one.jti for one in found], more


def test_a_poll_is_handed_the_oldest_and_told_whether_there_are_more(store: Store) -> None:
    _fill(store, 3)

    assert _poll(store, most=2) == (["a0", "a1"], True)
    assert _poll(store, most=2) == (["a2"], False)
    assert _poll(store) == ([], False)


def test_a_poll_for_none_is_handed_none_and_told_that_there_are_some(store: Store) -> None:
    _fill(store, 1)

    assert _poll(store, most=0) == ([], True)
    assert _poll(store) == (["a0"], False)


def test_what_is_neither_acknowledged_nor_refused_is_handed_out_again_after_a_time(store: Store) -> None:
    _fill(store, 3)
    _poll(store)
    with store.begin() as conn:
        assert queue.acknowledge(conn, "s-1", ["a1"], NOW) == 1

    assert _poll(store, NOW + REDELIVERY_MS - 1) == ([], False)
    assert _poll(store, NOW + REDELIVERY_MS) == (["a0", "a2"], False)


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
        found = queue.dead(conn)

    assert counts == [0, 1, 0]
    assert [(one.jti, one.error, one.error_text) for one in found] == [("a0", "invalid_audience", "not  me")]
    assert _poll(store) == (["a1"], False)


def test_thousands_of_acknowledgements_at_once_are_taken(store: Store) -> None:
    _fill(store, 2_000)
    with store.begin() as conn:
        assert queue.acknowledge(conn, "s-1", [f"a{n}" for n in range(3_000)], NOW) == 2_000
        assert queue.held(conn, "s-1") == (0, None)
