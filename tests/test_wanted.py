"""Which stream wants to hear of what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transmitter.happenings import happenings_of
from pipeline.transmitter.vocabulary import CAEP, SUPPORTED
from pipeline.transmitter.wanted import events_delivered, is_excluded, matches, unwanted
from told_records import revocation, stream

(REVOKED,) = happenings_of(*revocation())
ANA = {"format": "iss_sub", "iss": "https://i.example", "sub": "ana"}
BOB = {"format": "iss_sub", "iss": "https://i.example", "sub": "bob"}
S1 = {"format": "opaque", "id": "s-1"}
S2 = {"format": "opaque", "id": "s-2"}


def whole(**members: Any) -> dict[str, Any]:
    """A complex subject."""
    return {"format": "complex", **members}


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, None),
        ({"status": "paused"}, None),
        ({"status": "disabled"}, "status"),
        ({"events_requested": (f"{CAEP}session-revoked", "urn:unknown")}, None),
        ({"events_requested": (f"{CAEP}risk-level-change",)}, "event"),
        ({"events_requested": ()}, "event"),
        ({"tenant": "default"}, None),
        ({"tenant": "acme"}, "tenant"),
    ],
)
def test_a_stream_hears_of_what_it_asked_for_in_its_tenant_unless_it_is_disabled(
    members: dict[str, Any], why: str | None
) -> None:
    assert unwanted(stream(**members), REVOKED) == why


def test_events_delivered_are_those_supported_that_were_asked_for() -> None:
    asked = ("urn:unknown", SUPPORTED[2], SUPPORTED[0])

    assert events_delivered(stream(events_requested=asked)) == (SUPPORTED[0], SUPPORTED[2])
    assert events_delivered(stream()) == SUPPORTED
    assert events_delivered(stream(events_requested=())) == ()


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        (ANA, dict(ANA), True),
        (ANA, BOB, False),
        (ANA, {**ANA, "more": "x"}, False),
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
    assert matches(one, other) is match
    assert matches(other, one) is match


def test_one_match_among_those_taken_out_is_enough() -> None:
    assert is_excluded(ANA, [BOB, ANA]) is True
    assert is_excluded(ANA, [BOB]) is False
    assert is_excluded(ANA, []) is False


_SIMPLE = st.sampled_from([ANA, BOB, S1, S2])
_COMPLEX = st.dictionaries(st.sampled_from(["user", "session", "device"]), _SIMPLE).map(
    lambda one: whole(**one)
)


@given(st.one_of(_SIMPLE, _COMPLEX), st.one_of(_SIMPLE, _COMPLEX))
def test_matching_has_no_direction_and_everything_matches_itself(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert matches(one, one)
    assert matches(one, other) == matches(other, one)
