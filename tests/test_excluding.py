"""Subjects that receivers took out: which are meant, and that asking costs the same however many they are."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from pipeline.transmitter import streams
from pipeline.transmitter.excluding import MEMBERS, Excluded, TakenOut
from pipeline.transmitter.records import Who
from pipeline.transmitter.store import Store
from pipeline.transmitter.subjects import Subjects
from told_records import ISSUER, knowing, stream

ANA = {"format": "iss_sub", "iss": "https://i.example", "sub": "ana"}
BOB = {"format": "iss_sub", "iss": "https://i.example", "sub": "bob"}
S1 = {"format": "opaque", "id": "s-1"}
S2 = {"format": "opaque", "id": "s-2"}


def whole(**members: Any) -> dict[str, Any]:
    """A complex subject."""
    return {"format": "complex", **members}


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        (ANA, dict(ANA), True),
        (ANA, BOB, False),
        (ANA, {"sub": "ana", "iss": "https://i.example", "format": "iss_sub"}, True),
        (whole(user=ANA, session=S1), whole(user=ANA), True),
        (whole(user=ANA, session=S1), whole(user=ANA, session=S2), False),
        (whole(user=ANA, session=S1), whole(user=BOB), False),
        (whole(user=ANA), whole(session=S1), True),
        (whole(user=ANA, session=S1), ANA, True),
        (whole(user=ANA, session=S1), S1, True),
        (whole(user=ANA, session=S1), BOB, False),
    ],
)
def test_subjects_match_as_the_framework_says_whichever_comes_first(
    one: dict[str, Any], other: dict[str, Any], match: bool
) -> None:
    assert Excluded([other]).has(one) is match
    assert Excluded([one]).has(other) is match


def matches(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """What the framework says of two subjects, word by word, and ours of a simple and a complex one."""
    if (one["format"] == "complex") != (other["format"] == "complex"):
        whole, simple = (one, other) if one["format"] == "complex" else (other, one)
        return any(member == simple for name, member in whole.items() if name != "format")
    if one["format"] != "complex":
        return one == other
    return all(one[name] == other[name] for name in one.keys() & other.keys())


_SIMPLE = st.sampled_from([ANA, BOB, S1, S2])
_OURS = st.dictionaries(st.sampled_from(sorted(MEMBERS)), _SIMPLE).map(lambda one: whole(**one))
_THEIRS = st.dictionaries(st.sampled_from([*sorted(MEMBERS), "group"]), _SIMPLE).map(lambda one: whole(**one))


@given(st.one_of(_SIMPLE, _OURS), st.lists(st.one_of(_SIMPLE, _THEIRS), max_size=4))
def test_asking_for_all_at_once_is_asking_one_by_one(
    subject: dict[str, Any], taken_out: list[dict[str, Any]]
) -> None:
    assert Excluded(taken_out).has(subject) == any(matches(subject, one) for one in taken_out)


def test_a_complex_subject_of_ours_has_no_other_members() -> None:
    subject = Subjects.load(None).identify(
        Who("acme", "s-1", "ana", "phone-1"), stream(subject_form="complex"), ISSUER
    )

    assert set(subject or {}) == {"format", *MEMBERS}


def test_what_was_taken_out_is_read_again_only_when_something_was_said(store: Store) -> None:
    knowing(store, stream("st-1"), stream("st-2"))
    taken_out, asked = TakenOut(), []
    event.listen(store.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    def say(stream_id: str, *, included: bool) -> None:
        with store.begin() as conn:
            streams.include(conn, stream_id, ANA, included=included)

    def read() -> tuple[dict[str, bool], bool]:
        asked.clear()
        with store.read() as conn:
            found = {name: subjects.has(ANA) for name, subjects in taken_out.read(conn).items()}
        return found, any("stream_subjects" in statement for statement in asked)

    assert read() == ({}, False)
    say("st-1", included=False)
    assert read() == ({"st-1": True}, True)
    assert read() == ({"st-1": True}, False)
    say("st-1", included=True)
    assert read() == ({"st-1": False}, True)
    with store.begin() as conn:
        streams.remove(conn, "st-1")
    assert read() == ({}, False)


def test_asking_takes_no_longer_where_many_were_taken_out() -> None:
    users = [{**ANA, "sub": f"u-{number}"} for number in range(20_000)]
    many = Excluded([*users, *(whole(user=one, session=S1) for one in users)])
    asked = whole(user=ANA, session=S2, tenant=S1)
    many.has(asked)  # once, to make ready

    began = time.perf_counter()
    found = [many.has(asked) for _ in range(1000)]

    assert not any(found)
    assert time.perf_counter() - began < 5  # one by one it would be minutes
