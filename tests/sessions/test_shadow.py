"""A challenger looks on: what it would decide is told exactly, and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from models.detectors.base import NoDetector
from pipeline.control.active import Challenger
from schemas import topics
from tests.support.event_streams import BUSY, CUTS, STREAMS, OddTotals
from tests.support.run_processors import Desk, Event, SentMessage, by_key, chunks, of, read
from tests.support.samples import T0, auth, call, context, feedback


class Always(NoDetector):
    """A detector that finds everything as odd as *band* says."""

    is_general = False

    def __init__(self, band: int) -> None:
        self.id = f"always-{band}@1"
        self._band = band

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.full(len(seen), self._band / 8)

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.full(len(scores), self._band, np.uint8)


REPORTING = "low_features_share = 0.0\nanomaly_weights = [0.5, 1.0, 2.0]"
"""No sample; the strongest band makes of a new network (50) an 88.1, which is HIGH."""
MOVED = [auth(0, asn=1), call(700, asn=2), context(701, source="principal", known_asn=False, sessions_seen=9)]


def desk(challenger: Any, policy: str = REPORTING, champion: Any = None) -> Desk:
    this_desk = Desk(policy, champion)
    this_desk.active.challengers = (Challenger(challenger),)
    return this_desk


def apart(output: list[SentMessage]) -> tuple[list[SentMessage], list[SentMessage]]:
    """What challengers would do, and all else."""
    shadows = [message for message in output if message.topic == topics.SESSION_SHADOW]
    return shadows, [message for message in output if message.topic != topics.SESSION_SHADOW]


def played(one: Desk, events: list[Event], cuts: set[int]) -> list[SentMessage]:
    for part in chunks(events, cuts):
        one.play(*part)
    return read(one.messages)


# --- it changes nothing -----------------------------------------------------------------------------------


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=80)
def test_nothing_that_is_decided_depends_on_a_challenger(events: list[Event], cuts: set[int]) -> None:
    alone = played(Desk(BUSY), events, cuts)

    _, decided = apart(played(desk(OddTotals(), BUSY), events, cuts))

    assert decided == alone


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=80)
def test_where_the_stream_is_cut_changes_nothing_of_what_a_challenger_would_do(
    events: list[Event], cuts: set[int]
) -> None:
    policy = f"low_features_share = 0.3\nanomaly_weights = [1.0, 2.0, 4.0]\n{BUSY}"

    whole, _ = apart(played(desk(OddTotals(), policy), events, set(range(1, 41))))
    cut, _ = apart(played(desk(OddTotals(), policy), events, cuts))

    assert by_key(cut) == by_key(whole)


def test_a_challenger_that_would_revoke_revokes_nobody() -> None:
    this_desk = desk(Always(6))
    this_desk.each(*MOVED)

    assert this_desk.revoked() == []
    assert [event["level"] for event in this_desk.output(topics.SESSION_RISK)] == ["MEDIUM"]


def test_without_a_challenger_nothing_is_told_of_one() -> None:
    this_desk = Desk("low_features_share = 1.0")
    this_desk.each(*MOVED)

    assert this_desk.output(topics.SESSION_SHADOW) == []


# --- what is told -----------------------------------------------------------------------------------------


def test_what_would_change_is_told_beside_what_was_decided() -> None:
    this_desk = desk(Always(6))
    this_desk.each(*MOVED)

    assert this_desk.output(topics.SESSION_SHADOW) == [
        {
            "tenant": "default",
            "session_id": "s-1",
            "principal_id": "ana",
            "principal_kind": "human",
            "caused_by": MOVED[-1]["event_id"],
            "occurred_at": T0 + 701_000,
            "decided_at": this_desk.output(topics.SESSION_RISK)[0]["decided_at"],
            "policy": this_desk.active.engine.policy_id,
            "champion": {"model": "none", "score": 0.0, "band": 0, "level": "MEDIUM", "action": "step_up"},
            "challenger": {
                "model": "always-6@1",
                "score": 0.75,
                "band": 6,
                "level": "HIGH",
                "action": "step_up",
            },
            "differs": True,
        }
    ]
    assert this_desk.counts["challenger_differences", "always-6@1"] == 1


def test_a_challenger_that_is_calmer_is_told_too() -> None:
    this_desk = desk(NoDetector(), champion=Always(6))
    this_desk.each(*MOVED)

    (event,) = this_desk.output(topics.SESSION_SHADOW)
    assert (event["champion"]["level"], event["challenger"]["level"]) == ("HIGH", "MEDIUM")
    assert event["champion"]["action"] == this_desk.output(topics.SESSION_RISK)[-1]["action"] == "step_up"
    assert len(this_desk.output(topics.SESSION_CHALLENGES)) == 1


def test_a_fact_leads_to_the_same_action_whichever_model_decides() -> None:
    this_desk = desk(NoDetector(), REPORTING.replace("0.0", "1.0", 1), champion=Always(6))
    phone = {"device_id": "phone-1", "asn": 1}
    this_desk.each(auth(0, **phone), context(1, rooted=True), call(2, **phone))

    event = this_desk.output(topics.SESSION_SHADOW)[-1]
    assert [event[model]["action"] for model in ("champion", "challenger")] == ["revoke", "revoke"]


def test_what_differs_is_told_again_only_as_often_as_a_decision_is() -> None:
    this_desk = desk(Always(6), f"{REPORTING}\n[times]\nrepeat_s = 60\n")
    this_desk.each(*MOVED, *(call(702 + at, asn=2) for at in range(100)))

    times = [(event["occurred_at"] - T0) // 1000 for event in this_desk.output(topics.SESSION_SHADOW)]
    assert times == [701, 761]


def test_a_restarted_worker_does_not_tell_it_again_at_once() -> None:
    this_desk = desk(Always(6))
    this_desk.each(*MOVED)

    other = this_desk.restarted()
    other.active.challengers = this_desk.active.challengers
    other.play(call(702, asn=2))

    assert other.output(topics.SESSION_SHADOW) == []


def test_without_evidence_no_band_makes_a_difference() -> None:
    this_desk = desk(Always(6))
    this_desk.each(auth(0), *(call(at) for at in range(1, 50)))

    assert this_desk.output(topics.SESSION_SHADOW) == []
    assert this_desk.scorer.risk_states == {}


def test_what_is_muted_for_the_champion_is_muted_for_the_challenger() -> None:
    this_desk = desk(Always(6))
    this_desk.each(*MOVED[:2], context(700.5, source="feedback", muted={"network_changed": T0 + 10**9}), MOVED[2])

    assert this_desk.output(topics.SESSION_SHADOW) == []


def test_a_session_that_is_over_is_not_compared() -> None:
    this_desk = desk(Always(6))
    this_desk.each(*MOVED, feedback(710, verdict="confirmed_compromised"), *(call(800 + at) for at in range(5)))

    assert [event["occurred_at"] for event in this_desk.output(topics.SESSION_SHADOW)] == [T0 + 701_000]


def test_a_share_of_all_events_is_told_as_both_see_them() -> None:
    this_desk = desk(Always(2), "low_features_share = 1.0")
    this_desk.each(auth(0), call(1))

    events = this_desk.output(topics.SESSION_SHADOW)
    assert [(t["champion"]["band"], t["challenger"]["band"], t["differs"]) for t in events] == [(0, 2, False)] * 2


def test_the_bands_of_both_are_counted_over_every_vector() -> None:
    this_desk = desk(Always(2), champion=Always(1))
    this_desk.play(auth(0))
    this_desk.play(call(1), call(2), call(3))

    assert this_desk.counts["challenger_vectors", "always-2@1", "1", "2"] == 4


def test_several_challengers_are_told_apart() -> None:
    this_desk = desk(Always(6))
    this_desk.active.challengers = (*this_desk.active.challengers, Challenger(Always(2)))
    this_desk.each(*MOVED)

    levels = {t["challenger"]["model"]: t["challenger"]["level"] for t in this_desk.output(topics.SESSION_SHADOW)}
    assert levels == {"always-6@1": "HIGH"}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_time_alone_is_no_vector_for_the_sample(share: float) -> None:
    this_desk = desk(Always(6), f"low_features_share = {share}")
    this_desk.play(auth(0))
    before = len(this_desk.output(topics.SESSION_SHADOW))
    this_desk.each(*(call(60 * at, session_id="s-2") for at in range(1, 4)))

    assert (
        of(read(this_desk.messages), topics.SESSION_SHADOW, "s-1") == this_desk.output(topics.SESSION_SHADOW)[:before]
    )
