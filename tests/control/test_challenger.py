"""A challenger with roles of its own sees what it would see if it decided, and costs the champion nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from models.detectors.base import NoDetector
from models.features.table import FEATURE_NAMES
from models.roles.roles import Roles
from models.updates.call_sequence import SEQUENCE
from pipeline.control.active import Challenger
from schemas.topics import SESSION_SHADOW
from tests.support.event_streams import BUSY, CUTS, STREAMS
from tests.support.role_samples import one_role, sample_roles
from tests.support.run_processors import Desk, Event, SentMessage, by_key, chunks, of, read
from tests.support.samples import auth, call

OLD, NEW = sample_roles(1), sample_roles(2)
EVERY_VECTOR = "low_features_share = 1.0"
_SEEN = [FEATURE_NAMES.index(name) for name in SEQUENCE]


class Sequence(NoDetector):
    """A detector whose score is all that depends on roles, and that finds nothing odd."""

    id = "sequence@1"

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = seen[:, _SEEN].astype(np.float64) @ np.array([1.0, 10.0, 100.0])
        return 1.0 / (1.0 + np.exp(-values / 1000.0))


class Odd(Sequence):
    """The same detector, but it finds everything anomalous."""

    is_general = False
    id = "odd@1"

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.full(len(scores), 3, np.uint8)


def desk(champions: Roles | None, challengers: Roles | None, policy: str = EVERY_VECTOR) -> Desk:
    this_desk = Desk(policy, Sequence())
    this_desk.active.roles = champions
    this_desk.active.challengers = (Challenger(Sequence(), challengers),)
    return this_desk


def played(one: Desk, events: list[Event], cuts: set[int]) -> list[SentMessage]:
    for part in chunks(events, cuts):
        one.play(*part)
    return read(one.messages)


def shadows(sent: list[SentMessage]) -> dict[tuple[str, str], list[Event]]:
    """The shadow records, in order within each session."""
    return by_key([message for message in sent if message.topic == SESSION_SHADOW])


def scores(sent: list[SentMessage], whose: str, session_id: str | None = None) -> list[tuple[str, float]]:
    """What was scored, event by event, by the champion or the challenger."""
    events = of(sent, SESSION_SHADOW, session_id)
    return [(event["caused_by"], event[whose]["score"]) for event in events]


@pytest.mark.parametrize("other", [NEW, None], ids=["other roles", "no roles"])
@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=60)
def test_a_challenger_scores_every_event_as_it_would_as_champion(
    events: list[Event], cuts: set[int], other: Roles | None
) -> None:
    looking_on = played(desk(OLD, other), events, cuts)
    deciding = played(desk(other, OLD), events, cuts)

    assert scores(looking_on, "challenger") == scores(deciding, "champion")
    assert scores(looking_on, "champion") == scores(deciding, "challenger")


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=40)
def test_where_the_stream_is_cut_changes_nothing_of_what_its_roles_see(events: list[Event], cuts: set[int]) -> None:
    policy = f"{EVERY_VECTOR}\n{BUSY}"
    whole, cut = (played(desk(OLD, NEW, policy), events, at) for at in (set(range(1, 41)), cuts))

    assert shadows(cut) == shadows(whole)


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=40)
def test_no_decision_depends_on_a_challengers_roles(events: list[Event], cuts: set[int]) -> None:
    alone = Desk(BUSY, Sequence())
    alone.active.roles = OLD
    beside = desk(OLD, NEW, BUSY)

    decided = [message for message in played(beside, events, cuts) if message.topic != SESSION_SHADOW]

    assert (decided, beside.rows) == (
        [message for message in played(alone, events, cuts) if message.topic != SESSION_SHADOW],
        alone.rows,
    )


def test_one_with_the_champions_roles_sees_the_champions_vectors() -> None:
    this_desk = desk(OLD, OLD)
    this_desk.play(auth(0))
    this_desk.play(*(call(at, operation=f"GET /{'xz'[at % 2]}") for at in range(1, 20)))

    sent = read(this_desk.messages)
    assert scores(sent, "challenger") == scores(sent, "champion")


CLERKS = one_role(("GET /x", "GET /z"), {})
SMITHS = one_role(("iam:CreateAccessKey", "GET /y"), {})


def test_a_call_that_its_roles_do_not_know_is_at_most_a_little_odd_to_it() -> None:
    this_desk = desk(SMITHS, CLERKS)
    this_desk.active.challengers = (Challenger(Odd(), CLERKS),)
    this_desk.each(auth(0), call(1, operation="GET /x"), call(2, operation="GET /y"))

    assert [event["challenger"]["band"] for event in this_desk.output(SESSION_SHADOW)] == [1, 3, 1]


def test_a_live_session_starts_afresh_for_the_roles_of_a_challenger_that_is_loaded() -> None:
    calls: list[dict[str, Any]] = [call(at, operation="iam:CreateAccessKey") for at in range(1, 30)]
    late, fresh = desk(SMITHS, CLERKS), desk(SMITHS, CLERKS)
    challengers, late.active.challengers = late.active.challengers, ()
    late.each(*calls[:20])
    late.active.challengers = challengers
    late.each(*calls[20:])
    fresh.each(*calls)

    (_, first), *_, (_, last) = scores(read(late.messages), "challenger")
    through = dict(scores(read(fresh.messages), "challenger"))
    assert 0.5 < first < last < through[calls[-1]["event_id"]]


def test_role_state_of_a_session_that_is_over_does_not_affect_the_next_one_in_its_row() -> None:
    policy = f"{EVERY_VECTOR}\n[times]\nidle_s = 150"
    this_desk = desk(SMITHS, CLERKS, policy)
    this_desk.each(*(call(at, operation="iam:CreateAccessKey") for at in range(1, 20)))
    this_desk.each(*(call(at, operation="GET /x", session_id="s-2") for at in (300, 400)))
    this_desk.play(call(401, operation="GET /x", session_id="s-3"))

    alone = desk(SMITHS, CLERKS, policy)
    alone.play(call(401, operation="GET /x", session_id="s-3"))

    pairs, expected = (scores(read(each.messages), "challenger", "s-3") for each in (this_desk, alone))
    assert [score for _, score in pairs] == [score for _, score in expected]
    assert this_desk.scorer.table.used == 2
