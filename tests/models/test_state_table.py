"""The state of a partition: rows survive the changelog bit for bit, and the table behaves like a dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from models.events.text_hashing import short_fingerprint
from models.state.codec import VERSION, checksums, encode
from models.state.table import PADDING, ROW, SessionTable, Subject, UnreadableRow, gather, scatter, whole_words
from tests.support.stored_rows import decode

WORDS = st.text(max_size=12) | st.sampled_from(["s-1", "s-2", "\0", "a\0b", "ü", "\x1f", "\U0010ffff"])
NAMES = st.builds(Subject, WORDS, WORDS, WORDS, WORDS)
ROWS = st.binary(min_size=ROW.itemsize, max_size=ROW.itemsize).map(lambda payload: np.frombuffer(payload, ROW).copy())


# --- the wire form ----------------------------------------------------------------------------------------


@given(ROWS, NAMES, st.binary(max_size=300))
def test_a_row_comes_back_from_the_changelog_bit_for_bit(row: NDArray[Any], names: Subject, side: bytes) -> None:
    ((_, value),) = encode(row, [names.pack()], [side], b"here")
    again, packed, rest, order = decode(value)

    assert again.tobytes() == row.tobytes()
    assert (Subject.unpack(packed), rest, order) == (names, side, b"here")


@given(NAMES, NAMES)
def test_two_sessions_are_never_taken_for_one(one: Subject, other: Subject) -> None:
    same = (one.tenant, one.session_id) == (other.tenant, other.session_id)

    assert (one.key == other.key) is same
    assert (one.pack() == other.pack()) is (one == other)


def test_a_row_can_be_changed_after_it_was_read() -> None:
    ((_, value),) = encode(np.zeros(1, ROW), [Subject("t", "s").pack()], [b""])

    row = decode(value)[0]
    row["seen_at"] = 5

    assert row["seen_at"].tolist() == [5]


def checked(value: bytes) -> bytes:
    """*value* with the checksum that fits it."""
    return value[:-4] + int(checksums([value])[0]).to_bytes(4, "little")


SPOILT: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("nothing", lambda value: b"", "of version nothing"),
    ("another version", lambda value: bytes([VERSION + 1]) + value[1:], f"version {VERSION + 1:02x}"),
    (
        "another layout",
        lambda value: checked(value[:1] + bytes(4) + value[5:]),
        "of layout 00000000, of which",
    ),
    ("a spoilt layout", lambda value: value[:1] + bytes(4) + value[5:], "checksum"),
    ("a head alone", lambda value: value[:11], "row of 11 bytes"),
    ("a flipped bit", lambda value: value[:99] + bytes([value[99] ^ 4]) + value[100:], "checksum"),
    ("cut in the row", lambda value: value[:200], "row of 200 bytes"),
    ("cut at the end", lambda value: value[:-1], "announced"),
    ("too long", lambda value: value + b"x", "announced"),
]


@pytest.mark.parametrize(("spoil", "complaint"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_row_that_cannot_be_read_is_refused_with_the_reason(spoil: Callable[[bytes], bytes], complaint: str) -> None:
    ((_, value),) = encode(np.zeros(1, ROW), [Subject("t", "s").pack()], [b"{}"])

    with pytest.raises(UnreadableRow, match=complaint) as refused:
        decode(spoil(value))

    assert "\n" not in str(refused.value)


@given(st.lists(st.integers(0, 19), unique=True))
def test_rows_are_gathered_and_scattered_whole(chosen: list[int]) -> None:
    rows = np.zeros(20, ROW)
    rows.view(np.uint8)[:] = np.arange(rows.nbytes) % 251
    index = np.array(chosen, np.int64)

    taken = gather(rows, index)
    assert taken.tobytes() == rows[index].tobytes()

    taken["seen_at"] = -7
    expected = rows.copy()
    expected["seen_at"][index] = -7
    scatter(rows, index, taken)
    assert rows.tobytes() == expected.tobytes()


def test_a_session_costs_less_than_seven_hundred_bytes() -> None:
    table = SessionTable()
    for number in range(10_000):
        table.add(Subject("acme", f"{number:032x}", f"user-{number}", f"phone-{number}"))

    assert table.nbytes / len(table) < 700


# --- the table --------------------------------------------------------------------------------------------


class Sessions(RuleBasedStateMachine):
    """The table beside a plain dictionary of what each session's row was given."""

    def __init__(self) -> None:
        super().__init__()
        self.table = SessionTable()
        self.held: dict[tuple[str, str], tuple[Subject, int]] = {}
        self.marks = 0

    @rule(names=NAMES)
    def add(self, names: Subject) -> None:
        if (names.tenant, names.session_id) in self.held:
            return
        row = self.table.add(names)
        assert self.table.rows[row].tobytes() == bytes(ROW.itemsize)
        self._mark(names, row)

    @rule(number=st.integers(0, 999))
    def add_many(self, number: int) -> None:
        for index in range(400):
            names = Subject("many", f"{number}-{index}")
            if (names.tenant, names.session_id) not in self.held:
                self._mark(names, self.table.add(names))

    def _mark(self, names: Subject, row: int) -> None:
        self.marks += 1
        self.table.rows["started_at"][row] = self.marks
        self.held[names.tenant, names.session_id] = (names, self.marks)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.table.remove(self.table.find(*key))
        del self.held[key]

    @invariant()
    def it_holds_what_the_dictionary_holds(self) -> None:
        assert len(self.table) == len(self.held)
        for (tenant, session_id), (names, mark) in list(self.held.items())[-50:]:
            row = self.table.find(tenant, session_id)
            assert self.table.rows["started_at"][row] == mark
            assert Subject.unpack(self.table.names[row]) == names
            assert self.table.tenants(np.array([row])).tolist() == [short_fingerprint(tenant)]
        assert sorted(self.table.rows["started_at"][self.table.live()].tolist()) == sorted(
            mark for _, mark in self.held.values()
        )

    @invariant()
    def what_is_gone_is_not_found(self) -> None:
        assert self.table.find("nobody", "s") == -1


TestTheTableIsADictionary = Sessions.TestCase
TestTheTableIsADictionary.settings = settings(max_examples=25, stateful_step_count=25)


def test_tenants_beyond_those_with_a_number_are_told_apart_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.state.table._TENANTS", 3)
    table = SessionTable()
    tenants = ["a", "b", "c", "a", "d", "c"]
    rows = [table.add(Subject(tenant, f"s-{at}")) for at, tenant in enumerate(tenants)]

    assert table.tenants(np.array(rows)).tolist() == [short_fingerprint(tenant) for tenant in tenants]


def test_a_freed_row_is_used_again_and_remembers_nothing() -> None:
    table = SessionTable()
    first = table.add(Subject("t", "one"))
    table.rows["long_sums"][first] = 9.0
    table.remove(first)

    second = table.add(Subject("t", "two"))

    assert (second, table.used, table.find("t", "one")) == (first, 1, -1)
    assert table.rows[second].tobytes() == bytes(ROW.itemsize)


@pytest.mark.parametrize("bytes_more", range(8))
def test_a_row_is_whole_words_however_many_columns_are_added(bytes_more: int) -> None:
    columns = [column for column in ROW.descr if column[0] != PADDING]
    row = np.dtype([*columns, *((f"new_{number}", "u1") for number in range(bytes_more))])

    assert whole_words(row).itemsize == (row.itemsize + 7) // 8 * 8
    assert whole_words(row).names[: len(row.names or ())] == row.names  # type: ignore[index]
    assert whole_words(ROW) == ROW
