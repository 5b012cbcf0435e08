"""The risk state of a session: what it remembers, and that it is restored from the changelog."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.state.table import UnreadableRow
from pipeline.decisions.risk_state import MAX_EVIDENCE, Challenge, DetectionEpisode, Revocation, SessionRiskState

TEXT = st.text(max_size=8)
TIMES = st.integers(0, 2**53)
EPISODES = st.builds(DetectionEpisode, TIMES, TIMES, st.floats(allow_nan=False), st.lists(TEXT, max_size=MAX_EVIDENCE))
CASES = st.builds(
    SessionRiskState,
    epoch=st.integers(0, 9),
    level=st.sampled_from(["LOW", "MEDIUM", "HIGH"]),
    level_since=TIMES,
    episodes=st.dictionaries(TEXT, EPISODES, max_size=3),
    challenge=st.none() | st.builds(Challenge, TEXT, TIMES, st.booleans()),
    revocation=st.none()
    | st.builds(Revocation, st.dictionaries(TEXT, TEXT | TIMES), TIMES, st.integers(1, 9), st.booleans()),
    held_at=TIMES,
    parent=TEXT,
    root=TEXT,
    devices=st.lists(TEXT, max_size=3),
    children=st.lists(TEXT, max_size=3),
    last_reported=st.lists(TEXT, max_size=3),
    reported_at=TIMES,
    finding=TEXT,
    finding_at=TIMES,
    ended_at=TIMES,
    suppressed_until=st.dictionaries(TEXT, TIMES, max_size=3),
    shadows=st.dictionaries(TEXT, st.tuples(TEXT, TIMES).map(list), max_size=2),
)


@given(CASES)
def test_a_risk_state_is_restored_from_the_changelog_unchanged(case: SessionRiskState) -> None:
    assert SessionRiskState.decode(case.encode()) == case


@given(CASES)
def test_fields_with_their_initial_values_are_not_stored(case: SessionRiskState) -> None:
    new, stored = SessionRiskState(), json.loads(case.encode())

    assert set(stored) == {name for name in SessionRiskState.__slots__ if getattr(case, name) != getattr(new, name)}


def test_a_new_risk_state_is_empty_and_one_with_contents_is_not() -> None:
    assert SessionRiskState().is_empty()
    assert SessionRiskState(level_since=5, reported_at=7).is_empty()
    assert SessionRiskState(shadows={"new@1": ["HIGH", 5]}).is_empty()
    assert not SessionRiskState(epoch=1).is_empty()
    assert not SessionRiskState(parent="p").is_empty()
    assert not SessionRiskState(suppressed_until={"mass_read": 5}).is_empty()


def test_an_episode_keeps_its_first_event_and_its_newest() -> None:
    episode = DetectionEpisode(10, 10, 1.0, ["e-0"])

    for at in range(1, 9):
        episode.extend(10 + at, float(at), None, f"e-{at}")
    episode.extend(12, 9.0, None, "e-8")

    assert episode == DetectionEpisode(10, 18, 9.0, ["e-0", "e-5", "e-6", "e-7", "e-8"])
    assert len(episode.evidence) == MAX_EVIDENCE


def test_a_field_of_a_newer_version_is_ignored_and_one_of_an_older_version_has_its_initial_value() -> None:
    state = SessionRiskState(
        level="HIGH",
        episodes={"mass_read": DetectionEpisode(1, 2, 3.0, ["e-1"])},
        challenge=Challenge("c-1", 5, silence=False, detections=["mass_read"]),
        revocation=Revocation({"revocation_id": "r-1"}, due=7),
        children=["s-2"],
    )
    stored = json.loads(state.encode())
    for part in (stored, stored["episodes"]["mass_read"], stored["challenge"], stored["revocation"]):
        part["added_later"] = {"any": ["thing"]}

    assert SessionRiskState.decode(json.dumps(stored).encode()) == state

    for part, missing in (
        (stored, "children"),
        (stored["episodes"]["mass_read"], "evidence"),
        (stored["challenge"], "detections"),
        (stored["revocation"], "sends"),
    ):
        del part[missing]
    state.children, state.episodes["mass_read"].evidence, state.challenge.detections = [], [], []  # type: ignore[union-attr]
    assert SessionRiskState.decode(json.dumps(stored).encode()) == state


def test_a_field_without_an_initial_value_is_one_that_rows_have_had_from_the_beginning() -> None:
    required = {
        part.__name__: [f.name for f in fields(part) if f.default is MISSING and f.default_factory is MISSING]
        for part in (SessionRiskState, DetectionEpisode, Challenge, Revocation)
    }

    assert required == {
        "SessionRiskState": [],
        "DetectionEpisode": ["first_at", "last_at", "observed"],
        "Challenge": ["challenge_id", "deadline", "silence"],
        "Revocation": ["command", "due"],
    }


def test_former_names_of_fields_are_read() -> None:
    former = {
        "proved": ["a"],
        "answered": {"a": 1},
        "said": ["b"],
        "said_at": 3,
        "muted": {"c": 2},
        "episodes": {"a": {"first_at": 1, "last_at": 2, "observed": 3.0, "told": "words"}},
    }

    assert SessionRiskState.decode(json.dumps(former).encode()) == SessionRiskState(
        held_at_step_up=["a"],
        cleared_until={"a": 1},
        last_reported=["b"],
        reported_at=3,
        suppressed_until={"c": 2},
        episodes={"a": DetectionEpisode(1, 2, 3.0, observed_text="words")},
    )


@pytest.mark.parametrize("packed", [b"[]", b"7", b"{", b'{"episodes": 7}', b'{"episodes": {"a": {}}}'])
def test_bytes_that_are_no_risk_state_are_refused(packed: bytes) -> None:
    with pytest.raises(UnreadableRow, match="a risk state that cannot be read"):
        SessionRiskState.decode(packed)
