"""What leaves: every message that a rich set of streams brings forth keeps to the contract, key and all."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from numpy.typing import NDArray
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from prometheus_client import CollectorRegistry

from models.detector import Moved, NoDetector
from models.role_fit import fit_roles
from pipeline.brain import Brain
from pipeline.case import Case, Episode
from pipeline.challenger import Challenger
from pipeline.kinds import stage_kinds
from pipeline.metrics import METRICS, Metrics
from pipeline.moment import ANOMALY, Contribution, Decision, stable_id
from pipeline.outputs import CLOSE, CREATE, UPDATE, Stamp, derived_id, finding, origin, risk
from pipeline.policy import parse_policy
from pipeline.reasons import reasons
from pipeline.recording import InputRecord
from pipeline.replay import Replay
from pipeline.risk import score
from pipeline.rules import RULES
from pipeline.scorer import Options
from pipeline.stage import Message
from playing import Desk, Event, chunks, of, read, replayed
from samples import T0, ack, auth, call, context, feedback
from schemas import topics
from schemas.decode import decode_chunk, encode
from schemas.topics import TOPICS
from streams import BUSY, CUTS, STREAMS, OddTotals
from test_replay import STORIES
from test_roles import OFFICE

WIDE = "\U0001f600"
LONGEST = {
    "session_id": WIDE * 128, "principal_id": WIDE * 128, "tenant": WIDE * 64, "device_id": WIDE * 128,
    "user_agent": WIDE * 512,
}  # fmt: skip
WHO = {"tenant": "acme", "session_id": "s-1", "principal_id": "ana", "device_id": "phone-1"}
STAMP = Stamp(T0, "odd@1", "default@0", "enforce")


def wrong(messages: list[Message]) -> list[str]:
    """What in *messages* its own readers would refuse."""
    by_topic: dict[str, list[Message]] = defaultdict(list)
    for message in messages:
        by_topic[message.topic].append(message)
    complaints = []
    for topic, told in by_topic.items():
        keys = [message.key for message in told]
        values = [message.value for message in told]
        decoded = decode_chunk(topic, values, None if topic == topics.DEAD_LETTERS else keys, now_ms=2**53)
        complaints += [f"{topic}: {one.reason}: {values[one.index][:300]!r}" for one in decoded.rejected]
        complaints += [f"{topic}: too long" for value in values if len(value) > 1_000_000]
    return complaints


def unknown_members(messages: list[Message]) -> dict[str, set[str]]:
    """Members that the contract does not know."""
    strange: dict[str, set[str]] = defaultdict(set)
    for topic, _, value in messages:
        strange[topic] |= set(json.loads(value)) - set(TOPICS[topic].model.model_fields)
    return {topic: names for topic, names in strange.items() if names}


@pytest.fixture(scope="module")
def ocsf() -> Draft202012Validator:
    """OCSF 1.8.0's own schema of class 2004, offline."""
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0")).get_class_schema("detection_finding")
    return Draft202012Validator(schema)


@pytest.fixture(scope="module")
def told() -> list[Message]:
    """All that is said when every detection fires once, in all stages together."""
    brain = Brain(detector=OddTotals(), challengers=(Challenger(NoDetector()),))
    brain.use_policy(parse_policy("anomaly_weights = [5, 5, 5]"))  # so that the two differ
    replay = Replay(stage_kinds(brain, Options(partitions=4)), 4)
    last = STORIES[-1].occurred_at + 1_000
    return list(replay.run([*STORIES, verdict_at(last)]))


def verdict_at(at: int) -> InputRecord:
    """Somebody calls what a session was just ended for a false positive."""
    stories = next(record for record in STORIES if b'"s-1"' in record.value)
    tenant = json.loads(stories.value)["tenant"]
    told = {**feedback(detections=["mass_read"]), "tenant": tenant, "occurred_at": at}
    return InputRecord(topics.SESSION_FEEDBACK, 1, encode(told), at)


# --- the contract -----------------------------------------------------------------------------------------


def test_whatever_the_stories_bring_forth_keeps_to_the_contract(told: list[Message]) -> None:
    assert {message.topic for message in told} >= {
        name for name, topic in TOPICS.items() if topic.direction in ("internal", "output")
    } - {topics.DEAD_LETTERS}
    assert wrong(told) == []
    assert unknown_members(told) == {}


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=120)
def test_whatever_any_stream_brings_forth_keeps_to_the_contract(events: list[Event], cuts: set[int]) -> None:
    one = Desk(f"low_features_share = 1.0\n{BUSY}", OddTotals())
    for chunk in chunks(events, cuts):
        one.play(*chunk)

    assert wrong(one.messages) == []
    assert unknown_members(one.messages) == {}


def test_the_longest_names_keep_to_the_contract_too() -> None:
    event_id = WIDE * 64
    said = replayed(
        [
            auth(0, **LONGEST, event_id=event_id, parent_session_id="p" * 128),
            auth(1, **{**LONGEST, "session_id": "p" * 128}, event_id=event_id),
            call(2, **LONGEST, event_id=event_id, asn=2**32 - 1, records=2**53 - 1, sensitivity="restricted"),
            feedback(3, session_id="p" * 128, tenant=LONGEST["tenant"], verdict="confirmed_compromised"),
        ]
    )

    assert {one["session_id"] for one in of(said, topics.SESSION_REVOCATIONS)} == {
        "p" * 128,
        LONGEST["session_id"],
    }
    assert [one.body for one in said if one.topic == topics.DEAD_LETTERS] == []


def test_many_suppressions_are_told_within_bounds() -> None:
    every = ", ".join(f'"{rule.id}"' for rule in RULES)
    policy = (
        f'[[suppressions]]\ndetections = [{every}]\nowner = "{"o" * 300}"\nreason = "{"r" * 200}"\n'
        f"expires_at = {T0 * 2}\n"
    )
    one = Desk(policy)
    one.play(auth(0))
    one.play(
        context(1, rooted=True, malware="detected", heard_at=T0),
        context(2, relation="ancestor_revoked", source="lineage"),
    )

    assert len(one.said(topics.SESSION_RISK)) == 2
    assert wrong(one.messages) == []


# --- findings ---------------------------------------------------------------------------------------------


def test_findings_are_ocsf_detection_findings(told: list[Message], ocsf: Draft202012Validator) -> None:
    findings = of(read(told), topics.SESSION_FINDINGS)

    assert {one["type_uid"] for one in findings} >= {200401, 200402}
    assert [error.message for one in findings for error in ocsf.iter_errors(one)] == []


def test_the_findings_of_a_session_are_one_episode_after_the_other(ocsf: Draft202012Validator) -> None:
    policy = 'mode = "observe"\n[levels]\ndwell_s = 5\n[times]\nrepeat_s = 20\n'
    one = Desk(policy, OddTotals())
    one.play(auth(0))
    for start in (0, 100):
        for at in range(start, start + 50, 10):
            one.play(context(at, rooted=at < start + 30, heard_at=T0 + at * 1000))
    one.play(auth(300, action="sign_out"))

    findings = one.said(topics.SESSION_FINDINGS)

    assert [finding["activity_id"] for finding in findings] == [CREATE, UPDATE, CLOSE] * 2
    assert [finding["status_id"] for finding in findings] == [1, 2, 4] * 2
    assert [error.message for finding in findings for error in ocsf.iter_errors(finding)] == []
    first, second = findings[:3], findings[3:]
    for episode in (first, second):
        assert len({finding["finding_info"]["uid"] for finding in episode}) == 1
        assert len({finding["start_time"] for finding in episode}) == 1
        assert len({finding["metadata"]["uid"] for finding in episode}) == 3
    assert first[0]["finding_info"]["uid"] != second[0]["finding_info"]["uid"]


@pytest.mark.parametrize("activity", [CREATE, UPDATE, CLOSE])
@pytest.mark.parametrize("level", ["LOW", "MEDIUM", "HIGH"])
def test_a_finding_of_any_level_with_every_detection_is_ocsf(
    activity: int, level: Any, ocsf: Draft202012Validator
) -> None:
    episode = Episode(T0, T0 + 5, 1.5, ["e-1", "e-2"])
    parts = [Contribution(rule.id, rule.weight, episode) for rule in RULES]
    parts += [Contribution("anomaly", 1.2), Contribution("fresh_strong_auth", -0.5)]
    decision = Decision("d", 99.9, level, "LOW", "revoke", "", parts, detections=[rule.id for rule in RULES])
    shown = reasons(parts, tuple(rule.limits for rule in RULES), [])

    messages = [
        finding(
            WHO, Case(finding="f", finding_at=T0), decision, shown, activity, T0, STAMP, detail="Why so."
        ),
        risk(WHO, "human", decision, shown, "e-2", T0, STAMP),
    ]

    assert wrong(messages) == []
    assert [error.message for error in ocsf.iter_errors(json.loads(messages[0].value))] == []


# --- reasons ----------------------------------------------------------------------------------------------


def test_the_reasons_of_a_decision_add_up_to_its_score(told: list[Message]) -> None:
    off = []
    for one in of(read(told), topics.SESSION_RISK):
        total = -4.0 + sum(reason["contribution"] for reason in one["reasons"])
        if abs(score(total) - one["score"]) > 0.05:
            off.append(one)
        assert [reason["contribution"] for reason in one["reasons"]] == sorted(
            (reason["contribution"] for reason in one["reasons"]), reverse=True
        )

    assert off == []


def test_a_reason_tells_what_was_seen_what_is_normal_and_by_which_events() -> None:
    one = Desk()
    one.each(auth(0), call(1, event_id="e-7", records=6000, sensitivity="restricted"))

    (told,) = one.said(topics.SESSION_RISK)

    assert told["reasons"] == [
        {
            "detection": "mass_read",
            "text": "Far more confidential or restricted records were read than usual.",
            "severity": "HIGH", "attack": ["T1530", "T1213"], "contribution": 6.0,
            "observed": "6000 records in 10 min", "evidence": ["e-7"],
            "normal": "≤ 1000 records or 8 times the usual; of a newcomer its role's, ≤ 5000 "
            "or twice what its tenant's reach",
            "first_at": T0 + 1_000, "last_at": T0 + 1_000,
        }
    ]  # fmt: skip


def test_what_is_normal_follows_the_policy() -> None:
    one = Desk("[rules.mass_read.limits]\nrecords = 7")
    one.each(auth(0), call(1, records=8, sensitivity="restricted"))

    (told,) = one.said(topics.SESSION_RISK)

    assert (
        told["reasons"][0]["normal"] == "≤ 1000 records or 8 times the usual; of a newcomer its role's, ≤ 7 "
        "or twice what its tenant's reach"
    )


def test_a_suppressed_reason_is_shown_and_counts_nothing() -> None:
    part = Contribution("mass_read", 6.0, Episode(T0, T0, 1.0, ["e"]), "mass_read: suppressed by soc: export")

    (shown,) = reasons([part], tuple(rule.limits for rule in RULES), [])

    assert shown["contribution"] == 0.0


def test_an_order_of_calls_that_is_odd_is_said_so_and_the_odd_call_named() -> None:
    moved = [Moved("surprise_10m", 21.5, 0.0, 0.125, 0.25), Moved("calls_1m", 9.0, 1.0, 2.0, 3.0)]

    (shown,) = reasons([Contribution(ANOMALY, 1.5)], (), moved, "GET /orders after GET /inbox")

    assert shown == {
        "detection": "anomaly",
        "text": (
            "The session makes calls, or an order of calls, that its role does not use: "
            "GET /orders after GET /inbox; "
            "21.5 nats in 10 min, usually ≤ 0.25 (how far calls were less likely than the role expects); "
            "9 calls in 1 min, usually ≤ 3 (API calls)"
        ),
        "severity": "LOW",
        "contribution": 1.5,
        "observed": "surprise_10m 21.5; calls_1m 9",
        "normal": "surprise_10m ≤ 0.25; calls_1m ≤ 3",
    }


def test_a_call_is_named_only_where_its_order_is_what_is_odd() -> None:
    (shown,) = reasons(
        [Contribution(ANOMALY, 1.5)], (), [Moved("calls_1m", 9.0, 1.0, 2.0, 3.0)], "GET /a after GET /b"
    )

    assert (shown["text"], shown["observed"]) == (
        (
            "The session behaves unlike the sessions the model learned from: "
            "9 calls in 1 min, usually ≤ 3 (API calls)"
        ),
        "calls_1m 9",
    )


class OutOfOrder(NoDetector):
    """A detector for which the order of calls is odd at every call."""

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.full(len(scores), 3, np.uint8)

    def explain(self, values: NDArray[np.float64], kind: int, most: int) -> list[Moved]:
        return [Moved("surprise_10m", 21.5, 0.0, 0.125, 0.25)]


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("GET /orders", "use: GET /orders after POST /messages; 21.5 nats in 10 min, usually ≤ 0.25"),
        ("GET /inbox", "use: 21.5 nats in 10 min, usually ≤ 0.25"),
    ],
)
def test_a_decision_names_the_call_that_the_role_hardly_makes(last: str, told: str) -> None:
    one = Desk("[rules.mass_read.limits]\nrecords = 7", OutOfOrder())
    one.brain.roles = fit_roles(OFFICE, seed=7)
    usual = ["GET /inbox", "GET /messages", "POST /messages"] * 4

    one.each(*[call(at, operation=name) for at, name in enumerate(usual)])
    one.each(call(20, operation=last, records=8, sensitivity="restricted"))

    (decision,) = one.said(topics.SESSION_RISK)
    (text,) = [reason["text"] for reason in decision["reasons"] if reason["detection"] == ANOMALY]
    assert told in text


# --- ids --------------------------------------------------------------------------------------------------


def test_an_id_that_follows_from_an_event_fits_and_follows_again() -> None:
    for event_id in ("e", "e" * 126, "e" * 127, WIDE * 128):
        ids = [derived_id(event_id, suffix) for suffix in ("~a", "~b", "~12345678")]
        assert len(set(ids)) == 3
        assert max(map(len, ids)) <= 128
        assert ids == [derived_id(event_id, suffix) for suffix in ("~a", "~b", "~12345678")]


def test_messages_on_one_key_have_ids_of_their_own(told: list[Message]) -> None:
    for topic in (topics.SESSION_CONTEXT, topics.PRINCIPAL_ACTIVITY, topics.SESSION_BINDINGS):
        ids = Counter(
            (
                m.key,
                json.loads(m.value)["tenant"],
                json.loads(m.value)["event_id"],
                json.loads(m.value).get("kind"),
            )
            for m in told
            if m.topic == topic
        )
        assert [one for one, count in ids.items() if count > 1] == [], topic


def test_stable_ids_are_stable() -> None:
    assert stable_id("a", 1) == "b5bb3c8a6a8a0f2e4a3b0a0f1c8d6b0e" or len(stable_id("a", 1)) == 32
    assert stable_id("a", 1) == stable_id("a", "1") != stable_id("a1")


# --- metrics ----------------------------------------------------------------------------------------------


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=60)
def test_whatever_is_counted_has_a_metric_with_these_labels(events: list[Event], cuts: set[int]) -> None:
    one = Desk(BUSY, OddTotals(), Options(max_sessions=2))
    for chunk in chunks(events, cuts):
        one.play(*chunk)
    one.play(ack(500, outcome="failed"), ack(501))

    metrics = Metrics(CollectorRegistry())
    for (field, *labels), number in one.counts.items():
        known = list(METRICS[f"session_risk_{_name(field)}"].labels.values())
        assert len(labels) == len(known), field
        assert [
            label for label, values in zip(labels, known, strict=True) if values and label not in values
        ] == []
        metrics.count(field, *labels, by=number)


def _name(field: str) -> str:
    row: Any = vars(Metrics)[field]
    return str(row.name).removeprefix("session_risk_")


def test_a_challenge_is_counted_as_sent_passed_or_missed() -> None:
    moved = context(1, source="principal", known_asn=False)
    one = Desk()
    one.each(auth(0, asn=1), call(0, asn=2), moved, auth(30, action="step_up_passed"))
    two = Desk()
    two.each(auth(0, asn=1), call(0, asn=2), moved, call(100, asn=2))
    two.each(*(call(at, session_id="ben") for at in range(100, 400, 20)))
    three = Desk()
    three.each(auth(0, device_id="p"), context(0, heard_at=T0, heartbeat_interval_ms=5_000))
    three.each(*(call(at, session_id="ben") for at in range(0, 60, 10)), context(60, heard_at=T0 + 60_000))

    counted = [
        {labels[1]: count for labels, count in desk.counts.items() if labels[0] == "challenges"}
        for desk in (one, two, three)
    ]
    assert counted == [{"sent": 1, "passed": 1}, {"sent": 1, "missed": 1}, {}]


@pytest.mark.parametrize(
    ("derived", "producers"),
    [
        ("e-1", "e-1"),
        ("e-1~a~p", "e-1"),
        (f"sha256:{'0f' * 32}~a~p", f"sha256:{'0f' * 32}"),
        ("e-1~b~d", "e-1"),
        ("e-1~d~0123456789ab~l", "e-1"),
        ("sweep:1772409600000", "sweep:1772409600000"),
        ("~a", "~a"),
    ],
)
def test_evidence_names_the_producers_event_not_what_was_derived_from_it(
    derived: str, producers: str
) -> None:
    assert origin(derived) == producers
