"""Subjects that receivers took out: which go with them, and that nobody looks through them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, insert

from pipeline.transmitter.protocol import Subject
from pipeline.transmitter.store import streams
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.store.tables import stream_subjects
from pipeline.transmitter.subject_identifiers import canonical, key
from pipeline.transmitter.tokens.stream_filter import covering_keys, excluded
from pipeline.transmitter.tokens.subjects import Subjects
from tests.support.transmitter_records import ISSUER, knowing, new_store, stream

SubjectId = dict[str, Any]

ANA = {"format": "iss_sub", "iss": "https://i.example", "sub": "ana"}
BOB = {"format": "iss_sub", "iss": "https://i.example", "sub": "bob"}
S1 = {"format": "opaque", "id": "s-1"}
S2 = {"format": "opaque", "id": "s-2"}
ACME = {"format": "opaque", "id": "acme"}
OURS = ("user", "session", "device", "tenant")


def whole(**members: SubjectId) -> SubjectId:
    """A complex subject."""
    return {"format": "complex", **members}


def goes(subject: SubjectId, taken_out: Sequence[SubjectId]) -> bool:
    """Whether *subject* goes with one of *taken_out*."""
    return not {key(canonical(item)) for item in taken_out}.isdisjoint(covering_keys(subject))


@pytest.mark.parametrize(
    ("taken_out", "subject", "expected"),
    [
        (ANA, dict(reversed(ANA.items())), True),
        (ANA, BOB, False),
        (whole(user=ANA), whole(user=ANA, session=S1, tenant=ACME), True),
        (whole(user=ANA, session=S1), whole(tenant=ACME, session=S1, user=ANA), True),
        (whole(user=ANA, session=S1), whole(user=ANA, session=S2, tenant=ACME), False),
        (whole(user=ANA, session=S1), whole(user=ANA, tenant=ACME), False),
        (whole(user=ANA, session=S1), ANA, False),
        (whole(user=ANA, group=S2), whole(user=ANA, tenant=ACME), False),
        (whole(group=S2), whole(user=ANA, tenant=ACME), False),
        (whole(user=ANA), whole(session=S1, tenant=ACME), False),
        (whole(user=ANA, tenant=ACME), whole(user=ANA, tenant=S1), False),
        (whole(tenant=ACME), whole(user=ANA, tenant=ACME), True),
        (ANA, whole(user=ANA, session=S1, tenant=ACME), True),
        (S1, whole(user=ANA, session=S1, tenant=ACME), True),
        (whole(user=ANA), ANA, True),
        (whole(device=ANA), ANA, False),
        (BOB, whole(user=ANA, session=S1), False),
    ],
)
def test_a_subject_goes_with_what_was_taken_out_if_it_has_every_member_of_it(
    taken_out: SubjectId, subject: SubjectId, expected: bool
) -> None:
    assert goes(subject, [taken_out]) is expected


# --- The sections' words ---

_SOMEBODY_ELSE = {"format": "opaque", "id": "of whom nobody spoke"}
_NAMES = (*OURS, "group")
_EVERYBODY = [
    whole(**dict(zip(_NAMES, members, strict=True)))
    for members in product((ANA, S1, _SOMEBODY_ELSE), repeat=len(_NAMES))
]
"""All that a subject may mean: of each member one that was spoken of, or another."""


def matches(one: SubjectId, other: SubjectId) -> bool:
    """SSF 1.0 §8.1.3.1, word by word; and ours, of a simple one that was taken out: it may be any member."""
    if one["format"] == other["format"] == "complex":
        fields = (set(one) | set(other)) - {"format"}
        return all(name not in one or name not in other or one[name] == other[name] for name in fields)
    return other in one.values() if one["format"] == "complex" else one == other


def stays(subject: SubjectId, taken_out: Sequence[SubjectId]) -> bool:
    """Whether nobody is left in a stream, to which all belong (§7.1), whom *subject* matches."""
    left = (item for item in _EVERYBODY if not any(matches(item, out) for out in taken_out))
    return not any(matches(item, subject) for item in left)


def _subjects(names: Sequence[str]) -> st.SearchStrategy[SubjectId]:
    simple = st.sampled_from([ANA, S1])
    return st.dictionaries(st.sampled_from(names), simple, min_size=1).map(lambda by_key: whole(**by_key))


@given(
    st.one_of(_subjects(OURS), st.just(whole(user=ANA))),
    st.lists(st.one_of(st.sampled_from([ANA, S1]), _subjects(_NAMES)), max_size=3),
)
def test_what_stays_is_what_matches_nobody_who_is_left_as_the_framework_says(
    subject: SubjectId, taken_out: list[SubjectId]
) -> None:
    assert goes(subject, taken_out) == stays(subject, taken_out)


@given(st.sampled_from([ANA, S1]), st.lists(_subjects(_NAMES), max_size=3))
def test_a_simple_subject_is_the_complex_one_that_has_it_as_its_user(
    subject: SubjectId, taken_out: list[SubjectId]
) -> None:
    assert goes(subject, taken_out) == goes(whole(user=subject), taken_out)


def test_a_subject_of_ours_has_few_members_and_goes_with_few() -> None:
    named_subject = Subject("acme", "s-1", "ana", "phone-1")
    subject = Subjects.load(None).identify(named_subject, stream(subject_form="complex"), ISSUER) or {}

    assert set(subject) == {"format", *OURS}
    members = {name: subject[name] for name in OURS}
    some = [names for size in range(1, 5) for names in combinations(OURS, size)]
    wholes = [whole(**{name: members[name] for name in names}) for names in some]
    assert sorted(covering_keys(subject)) == sorted(key(canonical(item)) for item in [*members.values(), *wholes])


# --- In the store ---


def _take_out(store: Store, stream_id: str, *subjects: Mapping[str, Any], included: bool = False) -> None:
    with store.begin() as conn:
        for subject in subjects:
            streams.set_subject(conn, stream_id, subject, included=included)


def _asked(store: Store, *asked: tuple[str, SubjectId]) -> list[bool]:
    with store.read() as conn:
        return excluded(conn, asked)


def test_each_stream_lacks_its_own(store: Store) -> None:
    knowing(store, stream("st-1"), stream("st-2"), stream("st-3"))
    _take_out(store, "st-1", ANA, whole(session=S1))
    _take_out(store, "st-2", BOB)

    assert _asked(store) == []
    assert _asked(
        store,
        *(("st-1", ANA), ("st-2", ANA), ("st-3", ANA), ("st-1", BOB), ("st-2", BOB)),
        *(("st-1", whole(user=BOB, session=S1)), ("st-1", whole(user=BOB, session=S2)), ("st-9", ANA)),
    ) == [True, False, False, False, True, True, False, False]


def test_what_is_added_again_is_heard_of_at_once(store: Store) -> None:
    knowing(store, stream("st-1"))
    seen = []
    for included in (False, True, False, True):
        _take_out(store, "st-1", ANA, included=included)
        seen += _asked(store, ("st-1", ANA))

    assert seen == [True, False, True, False]


def test_of_many_that_are_asked_for_each_has_its_answer(store: Store) -> None:
    knowing(store, stream("st-1"))
    users = [{**ANA, "sub": f"u-{number}"} for number in range(600)]
    _take_out(store, "st-1", *users[::2])

    assert _asked(store, *(("st-1", user) for user in users)) == [True, False] * 300


def test_nobody_looks_through_all_that_were_taken_out(tmp_path: Path) -> None:
    store = new_store(tmp_path, stream("st-1"))
    rows = [{"stream_id": "st-1", "subject_hash": key(str(n)), "subject": {}} for n in range(2_000)]
    with store.begin() as conn:
        conn.execute(insert(stream_subjects), rows)
    pairs: list[tuple[str, Any]] = []
    event.listen(store.engine, "before_cursor_execute", lambda *details: pairs.append((details[2], details[3])))

    assert _asked(store, *(("st-1", whole(user=ANA, session=S1)) for _ in range(200))) == [False] * 200

    looked = [pair for pair in pairs if "stream_subjects" in pair[0]]
    with store.read() as conn:
        plans = [
            row[3]
            for statement, values in looked
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    store.close()
    assert len(looked) == 2
    assert [plan for plan in plans if "SCAN stream_subjects" in plan] == []
    assert sum("SEARCH stream_subjects" in plan for plan in plans) == 2
