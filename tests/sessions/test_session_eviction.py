"""More sessions than may be held: who goes, and that no tenant pays for another's flood."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.state.table import REVOKED, SessionTable, Subject
from pipeline.sessions.eviction import surplus

Session = tuple[str, int]
"""A tenant, and when it was seen last."""


def _table(sessions: list[Session]) -> SessionTable:
    table = SessionTable()
    for number, (tenant, seen_at) in enumerate(sessions):
        row = table.add(Subject(tenant, f"s-{number}"))
        table.names[row] = Subject(tenant, f"s-{number}").pack()
        table.rows["started_at"][row], table.rows["seen_at"][row] = 1, seen_at
    return table


def _gone(sessions: list[Session], most: int) -> list[int]:
    table = _table(sessions)
    live = table.rows["started_at"][: table.used] != 0
    return [int(row) for row in surplus(table, live, most)]


def test_a_flood_costs_the_tenant_it_comes_from() -> None:
    quiet = [("acme", number) for number in range(3)]
    flood = [("flood", 100 + number) for number in range(10)]

    assert _gone([*quiet, *flood], 8) == [3, 4, 5, 6, 7]


def test_of_what_does_not_divide_evenly_no_tenant_keeps_more_than_one() -> None:
    assert _gone([("acme", 1), ("acme", 2), ("beta", 0), ("zeta", 0)], 2) == [2, 0]


def test_within_a_tenant_the_longest_idle_go_and_revocations_without_an_answer_last() -> None:
    table = _table([("acme", 1), ("acme", 4), ("acme", 3), ("acme", 2)])
    table.rows["flags"][0], table.rows["wake_at"][0] = REVOKED, 5

    assert surplus(table, np.ones(4, np.bool_), 2).tolist() == [3, 2]


def test_a_session_is_idle_since_it_was_used_whatever_else_is_heard_of_it() -> None:
    table = _table([("acme", 1), ("acme", 9), ("acme", 2)])
    table.rows["client_at"][:3] = [0, 1, 2]

    assert surplus(table, np.ones(3, np.bool_), 1).tolist() == [0, 1]


def test_who_does_not_live_any_more_neither_counts_nor_goes() -> None:
    table = _table([("acme", 1), ("acme", 2), ("acme", 3)])

    assert surplus(table, np.array([False, True, True]), 2).tolist() == []


sessions = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 50)), max_size=40)


@given(sessions, st.integers(0, 40))
def test_room_is_dealt_out_evenly_and_no_more_go_than_must(given_: list[Session], most: int) -> None:
    gone = _gone(given_, most)

    left = Counter(tenant for number, (tenant, _) in enumerate(given_) if number not in set(gone))
    assert len(gone) == len(set(gone)) == max(0, len(given_) - most)
    for tenant in {given_[number][0] for number in gone}:
        mine = [(seen, number in set(gone)) for number, (whose, seen) in enumerate(given_) if whose == tenant]
        assert left[tenant] >= max(left.values(), default=0) - 1
        assert max(seen for seen, went in mine if went) <= min((seen for seen, went in mine if not went), default=99)
