"""Many sessions read back at once are what they would be one by one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.events.text_hashing import fingerprint
from models.state.codec import decode_all, encode, keys_of
from models.state.table import ROW, Subject, UnreadableRow
from pipeline.decisions.risk_state import SessionRiskState
from pipeline.detections import ORDER
from pipeline.processing.processor import ChangelogRow
from pipeline.sessions.state_store import SessionState, row_key
from tests.models.test_state_table import NAMES, ROWS, SPOILT
from tests.support.stored_rows import decode

FEW = st.sampled_from([Subject(tenant, f"s-{n}") for tenant in ("acme", "", "ü") for n in range(4)])
CASE = SessionRiskState(level="HIGH", level_since=7).encode()


def written(names: Subject, seen_at: int, *, case: bool) -> bytes:
    row = np.zeros(1, ROW)
    row["seen_at"], row["started_at"] = seen_at, 1
    ((_, value),) = encode(row, [names.pack()], [CASE if case else b""], ORDER)
    return value


CHANGES = st.lists(
    st.tuples(FEW, st.none() | st.builds(lambda at, case: (at, case), st.integers(1, 99), st.booleans())),
    max_size=30,
).map(
    lambda pairs: [
        (
            row_key(names.pack()),
            None if this_tuple is None else written(names, this_tuple[0], case=this_tuple[1]),
        )
        for names, this_tuple in pairs
    ]
)


@given(st.lists(st.tuples(ROWS, NAMES, st.binary(max_size=99), st.binary(min_size=4, max_size=4)), min_size=1))
@settings(max_examples=60)
def test_values_decoded_together_are_those_decoded_one_by_one(
    received: list[tuple[NDArray[Any], Subject, bytes, bytes]],
) -> None:
    values = [encode(row, [names.pack()], [side], order)[0][1] for row, names, side, order in received]

    every = decode_all(values)

    together = zip(every.rows, every.names, every.sides, every.orders, strict=True)
    assert [(row.tobytes(), names, side, order.tobytes()) for row, names, side, order in together] == [
        (row.tobytes(), names, side, order) for row, names, side, order in map(decode, values)
    ]


@given(st.lists(NAMES, min_size=1))
def test_a_session_is_found_by_its_changelog_key(names: list[Subject]) -> None:
    assert keys_of([row_key(name.pack()) for name in names]).tolist() == [name.key for name in names]


def test_a_key_is_hashed_as_any_name_is() -> None:
    assert keys_of([row_key(Subject("t", "s").pack())]).tolist() == [fingerprint("t\udcffs")]


@pytest.mark.parametrize(("spoil", "complaint"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
@pytest.mark.parametrize("place", [0, 2])
def test_one_row_that_cannot_be_read_among_others_is_refused_as_it_would_be_alone(
    spoil: Callable[[bytes], bytes], complaint: str, place: int
) -> None:
    values = [written(Subject("t", f"s-{n}"), 1, case=True) for n in range(3)]
    values[place] = spoil(values[place])

    with pytest.raises(UnreadableRow, match=complaint):
        decode_all(values)


@given(CHANGES, st.sets(st.integers(0, 30)))
@settings(max_examples=200)
def test_however_rows_come_the_newest_of_each_key_is_what_is_held(changes: list[ChangelogRow], cuts: set[int]) -> None:
    state = SessionState(ROW)
    edges = sorted({0, len(changes)} | {cut for cut in cuts if cut < len(changes)})
    for first, last in pairwise(edges):
        state.restore(changes[first:last])

    newest = {key: value for key, value in dict(changes).items() if value is not None}
    assert _held(state) == newest
    assert len(state.table) == len(newest)
    tenants = [Subject.unpack(state.table.names[row]).tenant for row in state.table.live().tolist()]
    assert state.table.tenants(state.table.live()).tolist() == [
        fingerprint(this_tenant) & 0xFFFFFFFF for this_tenant in tenants
    ]


def _held(state: SessionState) -> dict[bytes, bytes]:
    """The changelog values of all that the table holds, each found by its name."""
    answer = {}
    for row in state.table.live().tolist():
        names = Subject.unpack(state.table.names[row])
        found = state.table.find(names.tenant, names.session_id)
        side = state.risk_states[found].encode() if found in state.risk_states else b""
        ((_, value),) = encode(state.table.rows[[found]], [state.table.names[row]], [side], ORDER)
        answer[row_key(state.table.names[row])] = value
    return answer


@pytest.mark.parametrize(
    "key",
    [row_key(Subject("t", "s-2").pack()), b"t\xffs", b"t", b"", row_key(Subject("t", "s-1").pack()) + b"\xff"],
)
def test_a_row_under_a_key_that_is_not_its_own_is_refused_and_nothing_is_taken(key: bytes) -> None:
    state = SessionState(ROW)
    good = row_key(Subject("t", "s-0").pack()), written(Subject("t", "s-0"), 1, case=False)

    with pytest.raises(UnreadableRow, match=r"a row of another session|a row whose key"):
        state.restore([good, (key, written(Subject("t", "s-1"), 1, case=False))])

    assert len(state.table) == 0


def test_ten_thousand_sessions_are_read_back_into_a_table_that_grows() -> None:
    names = [Subject("acme", f"s-{n}") for n in range(10_000)]
    state = SessionState(ROW)

    for first in range(0, 10_000, 3_000):
        state.restore(
            [
                (row_key(this_names.pack()), written(this_names, n + 1, case=False))
                for n, this_names in enumerate(names[first : first + 3_000], start=first)
            ],
        )

    rows = [state.table.find(name.tenant, name.session_id) for name in names]
    assert state.table.rows["seen_at"][rows].tolist() == list(range(1, 10_001))


def test_nothing_read_back_is_nothing_held() -> None:
    state = SessionState(ROW)

    state.restore([])

    assert (len(state.table), state.risk_states) == (0, {})
