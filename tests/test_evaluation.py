"""The evaluation measures what it says: answers of honest people, outcomes, budgets, switches, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from models.detector import BANDS, NoDetector
from pipeline.evaluation.answers import Answers
from pipeline.evaluation.evidence import Sessions
from pipeline.evaluation.fitting import MARGIN, Budget, learn, toml
from pipeline.evaluation.lab import made_by
from pipeline.evaluation.outcome import HOUR_MS, Met, Outcomes, Spared
from pipeline.evaluation.page import Real, page, table
from pipeline.evaluation.play import BY_HALVES, BY_TOPIC, FULL, Model, Variant, play
from pipeline.evaluation.real import Raised, Takeovers, raised
from pipeline.evaluation.switches import CLIENT, DETONATED, FAMILY, OWN, switched
from pipeline.evaluation.trial import Trial
from pipeline.evaluation.worlds import TEST, TRAIN, World
from pipeline.policy import Policy, parse_policy
from pipeline.recording import InputRecord, Truth, read, read_truth, write
from pipeline.risk import LEVELS, next_level, score
from pipeline.rules import BIT, RULES, Rule
from pipeline.stage import Message
from playing import Event, topic_of
from samples import T0, auth, call, telemetry
from schemas.decode import encode
from schemas.topics import AUTH_EVENTS, SESSION_CHALLENGES, SESSION_REVOCATIONS


def truth(session_id: str, label: str = "benign", **members: Any) -> Truth:
    """A row about a session of ten hours, attacked after five if it is."""
    usual = {"family": "ordinary", "started_at": T0 + (5 * HOUR_MS if label == "attack" else 0)}
    told = {"tenant": "default", "session_id": session_id, "label": label, "ended_at": T0 + 10 * HOUR_MS}
    return Truth(**{**usual, **told, **members})


def said(topic: str, session_id: str, hours: float, **members: Any) -> Message:
    """A command so many hours after the beginning."""
    told = {"tenant": "default", "session_id": session_id, "decided_at": T0 + int(hours * HOUR_MS), **members}
    return Message(topic, session_id.encode(), encode({"detections": ["mass_read"], **told}))


# --- answers ----------------------------------------------------------------------------------------------


def challenge(number: int, session_id: str = "s-1", kind: str = "human") -> Message:
    return said(
        SESSION_CHALLENGES,
        session_id,
        0,
        challenge_id=f"{number:032x}",
        principal_id="ana",
        principal_kind=kind,
    )


def answered(answers: Answers) -> list[dict[str, Any]]:
    later = InputRecord(AUTH_EVENTS, 1, b"{}", T0 + HOUR_MS)
    return [from_json(record.value) for record in answers.among([later])][:-1]


def test_an_honest_user_answers_within_a_minute_and_a_half() -> None:
    answers = Answers(lambda *_: True, share=1.0)

    for number in range(50):
        answers.hear(challenge(number))

    told = answered(answers)
    waits = [event["occurred_at"] - T0 for event in told]
    assert len(told) == 50
    assert waits == sorted(waits)
    assert 8_000 <= waits[0] < waits[-1] <= 90_000
    assert {(e["action"], e["session_id"], e["principal_id"]) for e in told} == {
        ("step_up_passed", "s-1", "ana")
    }


def test_nobody_answers_for_a_thief_or_a_machine() -> None:
    answers = Answers(lambda _tenant, session_id, _at: session_id != "stolen", share=1.0)

    answers.hear(challenge(1, "stolen"))
    answers.hear(challenge(2, kind="service"))

    assert answered(answers) == []


def test_some_users_are_away_from_the_desk() -> None:
    answers = Answers(lambda *_: True, share=0.5)

    for number in range(400):
        answers.hear(challenge(number))

    assert 150 < len(answered(answers)) < 250


# --- outcomes ---------------------------------------------------------------------------------------------


def test_what_attacked_sessions_met_and_honest_ones_had_to_bear() -> None:
    outcomes = Outcomes.against(
        [
            *(truth(name, "attack") for name in ("caught", "late", "asked", "missed", "early")),
            *(truth(name) for name in ("ana", "ben", "cy")),
        ]
    )  # fmt: skip
    outcomes.begun.update({("default", name): T0 for name in ("caught", "late", "asked", "missed", "early")})
    for session, hours in [("caught", 5.01), ("late", 5.5), ("early", 4.0), ("ana", 1.0)]:
        outcomes.hear(said(SESSION_REVOCATIONS, session, hours))
    for session, hours in [("asked", 5.2), ("ben", 1.0), ("ben", 2.0), ("missed", 1.0)]:
        outcomes.hear(said(SESSION_CHALLENGES, session, hours))

    assert outcomes.met() == Met(5, 3, 2, 918.0, 1623.6)
    assert outcomes.spared() == Spared(3, 5 * 5.0 + 3 * 10.0, 2, 3)
    assert outcomes.spared().revocations_per_10000_hours == pytest.approx(1e4 * 2 / 55)
    assert outcomes.spared().challenges_per_1000_hours == pytest.approx(1e3 * 3 / 55)


def test_nothing_attacked_meets_nothing() -> None:
    assert Outcomes.against([truth("ana")]).met() == Met(0, 0, 0, None, None)


# --- playing ----------------------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ana's phone is jailbroken after a minute; Ben works on."""
    events = [
        telemetry(0, heartbeat_interval_ms=600_000, rooted=False), auth(1, device_id="phone-1"),
        call(30, device_id="phone-1"), telemetry(60, rooted=True), call(70, device_id="phone-1"),
        *(call(at, session_id="ben", principal_id="ben") for at in range(0, 300, 10)),
    ]  # fmt: skip
    with write(tmp_path / "recording") as writer:
        for event in sorted(events, key=lambda one: int(one["occurred_at"])):
            writer.line(topic_of(event), encode(event))
        writer.truth(truth("s-1", "attack", family="rooted", started_at=T0 + 60_000))
        writer.truth(truth("ben"))
    return tmp_path / "recording"


def test_what_is_seen_before_an_attack_is_honest_and_after_it_is_not(recording: Path) -> None:
    evidence = play(recording, Policy(), Model(NoDetector()))

    rows, attack, kinds = evidence.table(len(RULES), len(BANDS))
    assert kinds.tolist() == ["human", "human", "human"]
    assert attack.tolist() == [False, False, True]
    assert [np.flatnonzero(row).tolist() for row in rows] == [[], [], [BIT["device_rooted"]]]
    assert evidence.outcomes.met() == Met(1, 1, 1, 0.0, 0.0)


def test_a_variant_leaves_one_thing_out(recording: Path) -> None:
    revoked = {
        variant.name: play(recording, Policy(), Model(NoDetector()), variant).outcomes.met().revoked
        for variant in {*BY_HALVES, *BY_TOPIC}
    }

    assert revoked == {
        "everything": 1, "detections only": 1, "model only": 0, "without device-telemetry": 0,
        "without api-calls": 1, "without auth-events": 1,
    }  # fmt: skip


def test_worlds_to_learn_in_are_not_those_to_be_judged_in() -> None:
    assert {one.purpose for one in TRAIN} == {"train"}
    assert {one.purpose for one in TEST} == {"test"}
    assert not {one.seed for one in TRAIN} & {one.seed for one in TEST}


# --- fitting ----------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(10, 400), st.integers(0, 2**16))
def test_what_promises_less_adds_up_to_no_more_than_the_budget_allows(
    attacks: int, honest: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    attack = np.arange(attacks + 1 + honest) <= attacks
    rows = (rng.random((attack.size, len(RULES) + len(BANDS))) < 0.02).astype(float)

    seen = Sessions(rows, attack, np.full(attack.size, "human"))
    fitted = learn(seen, 1000.0, Budget(revocations=20, challenges=5), {"human"})

    policy = parse_policy(toml(fitted, ()))
    weights = np.array([*policy.weights(), *np.diff([0.0, *policy.anomaly_weights])])
    scores = 100 / (1 + np.exp(-(policy.prior + (rows @ weights)[~attack])))
    dear = {level: [rule.severity in level for rule in RULES] for level in ("HIGH", "MEDIUM HIGH")}
    held = {
        level: (rows[~attack][:, : len(RULES)][:, chosen] > 0).any(axis=1) for level, chosen in dear.items()
    }
    assert (scores[~held["HIGH"]] >= policy.levels.high_raise).sum() <= 2
    left = max(5 - held["MEDIUM HIGH"].sum(), 5 // 2)
    assert (scores[~held["MEDIUM HIGH"]] >= policy.levels.medium_raise).sum() <= left


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_detection_alone_keeps_the_promise_of_its_severity(rule: Rule) -> None:
    rng = np.random.default_rng(3)
    rows = (rng.random((500, len(RULES) + len(BANDS))) < 0.05).astype(float)

    fitted = learn(_of_people(rows, np.arange(500) < 50), 5000.0, Budget(), {"human"})

    policy = parse_policy(toml(fitted, ()))
    alone = score(policy.prior + policy.weights()[BIT[rule.id]])
    level = next_level("LOW", alone, 0.0, policy.levels)
    assert level == rule.severity or LEVELS.index(level) > LEVELS.index(rule.severity) > 0


def _of_people(rows: np.ndarray, attack: np.ndarray) -> Sessions:
    return Sessions(rows, attack, np.full(attack.size, "human"))


def test_detections_that_explain_every_attack_leave_the_model_what_it_says_by_itself() -> None:
    attack = np.arange(2000) < 100
    rows = np.zeros((2000, len(RULES) + len(BANDS)))
    rows[:60, len(RULES)] = rows[150:200, len(RULES)] = 1.0  # 60 % of attacks and 3 % of others are odd
    alone = learn(_of_people(rows, attack), 5000.0, Budget(), {"human"})
    rows[attack, BIT["device_rooted"]] = 1.0

    beside = learn(_of_people(rows, attack), 5000.0, Budget(), {"human"})

    assert beside.anomaly[0] / beside.weights["device_rooted"] > 0.2
    assert alone.anomaly[0] == pytest.approx(3.9, abs=0.3)
    assert beside.anomaly[0] == alone.anomaly[0]


def test_who_is_not_asked_for_a_factor_spends_nothing_of_the_budget_of_challenges() -> None:
    attack = np.arange(1000) < 20
    rows = np.zeros((1000, len(RULES) + len(BANDS)))
    rows[:15, len(RULES)] = rows[500:540, len(RULES)] = 1.0
    kinds = np.where((np.arange(1000) >= 500) & (np.arange(1000) < 540), "service", "human")

    told = [
        learn(Sessions(rows, attack, kinds), 5000.0, Budget(), asks)
        for asks in ({"human"}, {"human", "service"})
    ]

    raised = [score(one.prior + one.anomaly[0]) >= one.levels.medium_raise for one in told]
    assert raised == [True, False]


def test_the_budget_is_in_hours() -> None:
    assert Budget(revocations=1, challenges=2).allowed(25_000) == (50, 2)
    assert MARGIN > 0


# --- switches ---------------------------------------------------------------------------------------------


def laboratory(folder: Path, *events: Event) -> Path:
    with write(folder / "lab") as writer:
        for event in sorted(events, key=lambda one: one["occurred_at"]):
            writer.line(topic_of(event), encode(event))
    return folder / "lab"


def working(who: str, number: int, until: float = 100, **members: Any) -> list[Event]:
    """A call every four seconds, from an address of one's own."""
    told = {"session_id": who, "principal_id": who, "ip": f"192.0.2.{number}", **members}
    return [call(at, event_id=f"{who}-{at}", **told) for at in range(0, int(until), 4)]


@pytest.mark.parametrize("keep_client", [False, True])
def test_from_one_moment_on_two_sessions_have_changed_hands(tmp_path: Path, *, keep_client: bool) -> None:
    lab = laboratory(tmp_path, *working("ana", 1), *working("ben", 2))

    (copy,) = switched(lab, tmp_path, 5, seed=1, keep_client=keep_client)

    began = {row.started_at for row in read_truth(copy)}
    assert [(row.session_id, row.family) for row in read_truth(copy)] == [("ana", FAMILY), ("ben", FAMILY)]
    assert began == {T0 + 48_000}
    addresses = {"ana": "192.0.2.1", "ben": "192.0.2.2"}
    for record in read(copy):
        event = from_json(record.value)
        origin = event["event_id"].partition("-")[0]
        other = {"ana": "ben", "ben": "ana"}[origin] if event["occurred_at"] >= T0 + 48_000 else origin
        assert (event["session_id"], event["principal_id"]) == (other, other)
        assert event["ip"] == addresses[other if keep_client else origin]
    assert set(OWN).isdisjoint(CLIENT)


def test_a_session_that_nobody_goes_on_in_is_not_taken_over(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, *working("ana", 1, until=84), *working("ben", 2, until=300))

    (copy,) = switched(lab, tmp_path, 5, seed=1)

    told = {row.session_id: (row.family, row.started_at) for row in read_truth(copy)}
    assert told == {"ana": (FAMILY, T0 + 148_000), "ben": ("as_recorded", T0)}


def test_a_session_that_ran_an_attack_before_is_an_attack_of_its_own(tmp_path: Path) -> None:
    stratus: dict[str, Any] = {"user_agent": "stratus-red-team_1"}
    lab = laboratory(
        tmp_path, *working("ana", 1, **stratus), *working("ben", 2), *working("eve", 3, until=8, **stratus)
    )

    (copy,) = switched(lab, tmp_path, 5, seed=1)

    told = {row.session_id: (row.label, row.family, row.started_at) for row in read_truth(copy)}
    assert told == {
        "ana": ("attack", DETONATED, T0),
        "ben": ("attack", FAMILY, T0 + 48_000),
        "eve": ("attack", DETONATED, T0),
    }


@pytest.mark.parametrize(
    ("client", "maker"),
    [
        ("stratus-red-team_1", "detonation"),
        ("APN/1.0 HashiCorp/1.0 Terraform/1.1.2", "preparation"),
        ("APN/1.0 HashiCorp/1.0 Terraform/1.1.2 stratus-red-team_1", "preparation"),
        ("Boto3/1.26", "other"),
        (None, "other"),
    ],
)
def test_in_the_lab_user_agents_tell_what_was_an_attack(client: str | None, maker: str) -> None:
    assert made_by({"user_agent": client}) == maker


def test_of_a_recording_is_told_after_whose_event_a_detection_began(tmp_path: Path) -> None:
    user = {"type": "IAMUser", "arn": "arn:aws:iam::1:user/a", "accountId": "1", "accessKeyId": "AKIA1"}
    record = {"eventTime": "2024-06-01T12:00:00Z", "userIdentity": user}
    stop = {"eventSource": "cloudtrail.amazonaws.com", "eventName": "StopLogging", "eventID": "e-1"}
    look = {"eventSource": "ec2.amazonaws.com", "eventName": "DescribeVpcs", "eventID": "e-2"}
    made = [{**record, **stop, "userAgent": "stratus-red-team_1"}, {**record, **look}]
    (tmp_path / "log.json").write_text(json.dumps({"Records": made}), "utf-8")

    told, unharmed = (
        raised("stop", [tmp_path / "log.json"], Policy(), Model(NoDetector()), detonations=detonations)
        for detonations in (True, False)
    )

    assert told == Raised(
        "stop", 1, "MEDIUM", ("audit_switched_off",), {("audit_switched_off", "detonation"): 1}
    )
    assert unharmed == Raised("stop", 0, "LOW", (), {})


# --- the page ---------------------------------------------------------------------------------------------


def test_a_table_shows_dashes_for_what_is_not_there() -> None:
    assert (
        table(("a", "b"), [("x", None), (1200, 0.25)]) == "| a | b |\n|---|---|\n| x | – |\n| 1,200 | 0.2 |"
    )


def test_the_page_says_what_was_asked_and_what_was_measured(recording: Path) -> None:
    trials = [
        Trial(one, [play(recording, Policy(), Model(NoDetector()), one)])
        for one in (FULL, Variant("model only", detections=False))
    ]
    lab = Raised("lab", 2, "HIGH", ("mass_read",), {("mass_read", "preparation"): 3})
    nobody = Met(0, 0, 0, None, None)
    switches = Takeovers(7, Met(4, 3, 2, 9.0, 10.0), Met(6, 5, 5, 1.0, 2.0), Spared(8, 24.0, 1, 2))
    disguised = Takeovers(7, Met(4, 1, 0, None, None), nobody, Spared(8, 24.0, 0, 0))
    unharmed = Raised("lab", 1, "MEDIUM", ("mass_read",), {("mass_read", "other"): 2})
    real = Real([Raised("aws.x", 1, "LOW", (), {})], lab, unharmed, switches, disguised)

    text = page([World("test", 1, 1.0, 2, 0.1)], "m@1", "p@1", trials, trials[:1], real)

    assert "Decided by policy `p@1` and model `m@1`" in text
    assert "| attacks revoked | ≥ 75 % | 100 % |" in text
    assert "| revoked with model only | less than 100.0 % | 0.0 % |" in text
    assert "| `rooted` | – | 1 | 100 % | 100 % | 0.0 | 0.0 |" in text
    assert "| `aws.x` | LOW | – |" in text
    assert "| `mass_read` | 0 | 3 | 0 | 2 |" in text
    assert "| address and client of the new hands | 4 | 75 % | 50 % | 9.0 | 10.0 |" in text
    assert "| address and client kept, only behaviour changes | 4 | 25 % | 0 % | – | – |" in text
    assert "5 of 6 were revoked after its beginning" in text
