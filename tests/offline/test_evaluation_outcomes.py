"""Counts of the evaluation: answers of honest people, results of attacks, false interventions."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_core import from_json

from pipeline.offline.evaluation.outcome import AttackResults, HonestCosts, Outcomes
from pipeline.offline.replay.answers import Answers
from pipeline.processing.processor import Message
from pipeline.times import HOUR_MS
from schemas.decode import encode
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS
from tests.support.evaluation_truth import truth
from tests.support.samples import T0


def command(topic: str, session_id: str, hours: float, **overrides: Any) -> Message:
    """A command so many hours after the beginning."""
    fields = {
        "tenant": "default",
        "session_id": session_id,
        "decided_at": T0 + int(hours * HOUR_MS),
        **overrides,
    }
    return Message(topic, session_id.encode(), encode({"detections": ["mass_read"], **fields}))


# --- answers ----------------------------------------------------------------------------------------------


def challenge(number: int, session_id: str = "s-1", kind: str = "human", **members: Any) -> Message:
    return command(
        SESSION_CHALLENGES,
        session_id,
        0,
        challenge_id=f"{number:032x}",
        principal_id="ana",
        principal_kind=kind,
        **members,
    )


def answered(answers: Answers) -> list[dict[str, Any]]:
    return [from_json(record.value) for record in iter(lambda: answers.due(T0 + HOUR_MS), None)]


def test_an_honest_user_passes_the_step_up_within_a_minute_and_a_half() -> None:
    answers = Answers(lambda *_: True, share=1.0)

    for number in range(50):
        answers.observe(challenge(number))

    records = answered(answers)
    waits = [event["occurred_at"] - T0 for event in records]
    assert len(records) == 50
    assert waits == sorted(waits)
    assert 10_000 <= waits[0] < waits[-1] <= 90_000
    assert {(e["action"], e["session_id"], e["principal_id"]) for e in records} == {("step_up_passed", "s-1", "ana")}


def test_nobody_answers_for_an_intruder_and_no_machine_proves_a_factor() -> None:
    answers = Answers(lambda _tenant, session_id, _at: session_id != "stolen", share=1.0)

    answers.observe(challenge(1, "stolen"))
    answers.observe(challenge(2, "stolen", kind="service", asks="approval"))
    answers.observe(challenge(3, kind="service"))

    assert answered(answers) == []


def test_whoever_answers_for_a_machine_approves_what_it_does_itself() -> None:
    answers = Answers(lambda *_: True, share=1.0)

    answers.observe(challenge(1, kind="service", asks="approval"))

    (approved,) = answered(answers)
    members = ("action", "session_id", "principal_id", "principal_kind", "amr")
    assert [approved[name] for name in members] == ["step_up_passed", "s-1", "ana", "service", None]


def test_some_users_are_away_from_the_desk() -> None:
    answers = Answers(lambda *_: True, share=0.5)

    for number in range(400):
        answers.observe(challenge(number))

    assert 150 < len(answered(answers)) < 250


# --- outcomes ---------------------------------------------------------------------------------------------


def test_results_of_attacked_sessions_and_false_interventions_of_honest_ones_are_counted() -> None:
    outcomes = Outcomes.against(
        [
            *(truth(name, "attack") for name in ("caught", "late", "asked", "missed", "early")),
            *(truth(name) for name in ("ana", "ben", "cy")),
        ]
    )
    outcomes.begun.update({("default", name): T0 for name in ("caught", "late", "asked", "missed", "early")})
    for session, hours in [("caught", 5.01), ("late", 5.5), ("early", 4.0), ("ana", 1.0)]:
        outcomes.observe(command(SESSION_REVOCATIONS, session, hours))
    for session, hours in [("asked", 5.2), ("ben", 1.0), ("ben", 2.0), ("missed", 1.0)]:
        outcomes.observe(command(SESSION_CHALLENGES, session, hours))

    assert outcomes.attack_results() == AttackResults(5, 3, 2, 918.0, 1623.6)
    assert outcomes.honest_costs() == HonestCosts(3, 5 * 5.0 + 3 * 10.0, 2, 3)
    assert outcomes.honest_costs().revocations_per_10000_hours == pytest.approx(1e4 * 2 / 55)
    assert outcomes.honest_costs().challenges_per_1000_hours == pytest.approx(1e3 * 3 / 55)


def test_nothing_attacked_meets_nothing() -> None:
    assert Outcomes.against([truth("ana")]).attack_results() == AttackResults(0, 0, 0, None, None)
