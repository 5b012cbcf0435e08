"""The hash index: a dictionary that is looked up for many keys at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models.hash_index import RowIndex

MEETING = st.builds(
    lambda low, high: low | (high << 32) or 1, st.sampled_from([0, 1, 2, 13, 14, 15]), st.integers(0, 40)
)
"""Keys that collide in a few slots, also at the end of the table."""
KEYS = MEETING | st.integers(1, 2**64 - 1)


def looked_up(index: RowIndex, keys: list[int]) -> list[int]:
    answer: list[int] = index.find(np.array(keys, np.uint64)).tolist()
    return answer


class Model(RuleBasedStateMachine):
    """The index and a dictionary, with the same operations on both."""

    def __init__(self) -> None:
        super().__init__()
        self.index = RowIndex(1)
        self.held: dict[int, int] = {}
        self.asked: set[int] = set()

    @rule(key=KEYS, row=st.integers(0, 2**31 - 1))
    def insert(self, key: int, row: int) -> None:
        self.asked.add(key)
        if key not in self.held:
            self.index.insert(key, row)
            self.held[key] = row

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.index.remove(key)
        del self.held[key]

    @rule(key=KEYS)
    def remove_what_is_not_held(self, key: int) -> None:
        if key not in self.held:
            with pytest.raises(KeyError):
                self.index.remove(key)

    @invariant()
    def it_answers_as_the_dictionary_does(self) -> None:
        asked = sorted(self.asked)
        assert looked_up(self.index, asked) == [self.held.get(key, -1) for key in asked]
        assert len(self.index) == len(self.held)


TestTheIndexIsADictionary = Model.TestCase
TestTheIndexIsADictionary.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.sets(KEYS, max_size=300), st.sets(KEYS, max_size=300))
@settings(max_examples=60)
def test_inserted_keys_are_found_and_removed_ones_are_not(kept: set[int], gone: set[int]) -> None:
    index = RowIndex(1)
    for row, key in enumerate(sorted(kept | gone)):
        index.insert(key, row)
    rows = dict(zip(sorted(kept | gone), range(len(kept | gone)), strict=True))

    for key in sorted(gone):
        index.remove(key)

    asked = sorted(kept | gone)
    assert looked_up(index, asked) == [-1 if key in gone else rows[key] for key in asked]


def test_a_cleared_index_holds_only_what_is_inserted_later() -> None:
    index = RowIndex()
    index.insert_all(np.arange(1, 5_001, dtype=np.uint64), np.arange(5_000))
    room = index.nbytes

    index.clear()
    index.insert(7, 3)

    assert index.find(np.array([7, 8, 5_000], np.uint64)).tolist() == [3, -1, -1]
    assert (len(index), index.nbytes) == (1, room)


def test_a_key_that_occurs_twice_in_a_chunk_is_found_twice() -> None:
    index = RowIndex()
    index.insert(7, 3)

    assert looked_up(index, [7, 8, 7]) == [3, -1, 3]
    assert looked_up(index, []) == []


def test_a_hundred_thousand_sessions_cost_less_than_thirty_bytes_each() -> None:
    index = RowIndex()
    for key in range(1, 100_001):
        index.insert(key * 0x9E3779B97F4A7C15 % 2**64, key)

    assert index.nbytes / len(index) < 30
