"""`session-risk explain`: the sum that is the score, the evidence, the commands, from files and from Kafka."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.commands import explain
from pipeline.decisions.policy import Policy, fitted, parse_policy
from pipeline.decisions.risk import score
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.offline.replay.decision_log import (
    OUTPUT_TOPICS,
    Source,
    UnknownDecisionError,
    account,
    prior_of,
    total_of,
)
from pipeline.offline.replay.recording import write
from pipeline.offline.scenarios.playback import in_order, steady
from pipeline.offline.scenarios.scenario import find_directory, load
from schemas.topics import REVOCATION_ACKS, SESSION_REVOCATIONS, SESSION_RISK
from tests.support.counting_processor import produce

START = 1_772_409_600_000
LEARNING = (
    "still learning what is normal here: new_device_privileged, rare_hour, concurrent_sessions, "
    "unfamiliar_scope, access_probing, aitm_sign_in, aitm_session_taken, anonymised_network, tor_network"
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recording of a jailbroken phone, and the output of its replay."""
    folder = tmp_path_factory.mktemp("explain")
    story = load(find_directory() / "a-phone-jailbroken.toml", START)
    with write(folder / "in") as writer:
        for topic, event in in_order([*story.events, *steady(1, START, story.play_until)]):
            writer.event(topic, event)
    done = CliRunner().invoke(main, ["replay", str(folder / "in"), "--out", str(folder / "out"), "--partitions", "1"])
    assert done.exit_code == 0, done.output
    return folder


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _fall(played: Path) -> dict[str, Any]:
    """The decision with which the session was revoked."""
    return next(fields for fields in _lines(played / "out" / f"{SESSION_RISK}.jsonl") if fields["level"] == "HIGH")


def _explain(played: Path, *options: str) -> str:
    decision = _fall(played)["decision_id"]
    done = CliRunner().invoke(main, ["explain", decision, "--in", str(played / "out"), *options])
    assert done.exit_code == 0, done.output
    return re.sub(r" +", " ", done.stdout)


def test_the_contributions_shown_add_up_to_the_score(played: Path) -> None:
    decision = _fall(played)
    shown = [float(found) for found in re.findall(r"^ ?([+-]\d+\.\d\d) ", _explain(played), re.MULTILINE)]

    *parts, together = shown
    assert len(parts) == 1 + len(decision["reasons"])
    assert sum(parts) == pytest.approx(together, abs=0.01 * len(parts))
    assert score(together) == pytest.approx(decision["score"], abs=0.2)


def test_it_shows_subject_time_reasons_and_commands(played: Path) -> None:
    text, decision = _explain(played), _fall(played)

    (revocation,) = {line["revocation_id"] for line in _lines(played / "out" / f"{SESSION_REVOCATIONS}.jsonl")}
    for part in (
        "session ana of tenant default",
        "who human ana@acme.example",
        "when 2026-03-02 00:08:",
        "level LOW → HIGH, action revoke",
        f"policy {decision['policy']}, model {decision['model']}, mode enforce",
        f"{fitted()['prior']:.2f} before any evidence",
        f"+{fitted()['detections']['device_rooted']['weight']:.2f} device_rooted: The session's device",
        "no posture faults",
        LEARNING,
        f"{revocation} on session-revocations, due 2026-03-02 00:",
        "opened",
    ):
        assert part in " ".join(text.split())


def test_evidence_is_looked_up_in_the_recording(played: Path) -> None:
    text = _explain(played, "--recording", str(played / "in"))

    assert re.search(r"00:08:00 a-phone-jailbroken-\d{4} device.telemetry: rooted True", text)


def test_a_program_reads_the_same_account(played: Path) -> None:
    decision = _fall(played)
    output = json.loads(_explain(played, "--json", "--recording", str(played / "in")))

    assert output["decision"] == decision
    assert output["prior"] == fitted()["prior"]
    assert score(output["prior"] + total_of(decision)) == decision["score"]
    assert output["revocation"]["decision_id"] == decision["decision_id"]
    assert output["challenge"] is None
    assert [finding["activity_id"] for finding in output["findings"]] == [1]
    named = {event for reason in decision["reasons"] for event in reason.get("evidence") or ()}
    assert {event["event_id"] for event in output["events"]} == {event.partition("~")[0] for event in named}


def test_every_decision_of_a_replay_can_be_explained(played: Path) -> None:
    for fields in _lines(played / "out" / f"{SESSION_RISK}.jsonl"):
        done = CliRunner().invoke(main, ["explain", fields["decision_id"], "--in", str(played / "out")])
        assert done.exit_code == 0, done.output


def test_an_unknown_decision_is_an_error(played: Path) -> None:
    done = CliRunner().invoke(main, ["explain", "nobody-knows", "--in", str(played / "out")])

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "session-risk: there is no decision nobody-knows on session-risk\n"


def test_a_folder_without_output_of_a_replay_is_an_error(played: Path) -> None:
    done = CliRunner().invoke(main, ["explain", "x", "--in", str(played / "in")])

    assert done.exit_code == 2
    assert "has no session-risk.jsonl" in done.stderr


# --- From Kafka ---


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        broker.create([*OUTPUT_TOPICS, REVOCATION_ACKS])
        yield broker


def test_kafka_gives_the_same_account_and_the_enforcers_word(
    played: Path, broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        (topic, b"ana", line.encode())
        for topic in OUTPUT_TOPICS
        if (path := played / "out" / f"{topic}.jsonl").is_file()
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    (command,) = {line["revocation_id"] for line in _lines(played / "out" / f"{SESSION_REVOCATIONS}.jsonl")}
    ack = {"revocation_id": command, "session_id": "ana", "outcome": "revoked", "occurred_at": START}
    records.append((REVOCATION_ACKS, b"ana", json.dumps(ack).encode()))
    asyncio.run(produce(Connection(broker.bootstrap), records))
    monkeypatch.setenv("SESSION_RISK_BROKER", broker.bootstrap)

    done = CliRunner().invoke(main, ["explain", _fall(played)["decision_id"], "--json"])

    assert done.exit_code == 0, done.output
    from_kafka, from_files = json.loads(done.stdout), json.loads(_explain(played, "--json"))
    assert from_kafka.pop("acks") == [ack]
    assert from_files.pop("acks") == []
    assert from_kafka == from_files


def test_kafka_without_the_topics_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_BROKER", "127.0.0.1:1")

    done = CliRunner().invoke(main, ["explain", "x"])

    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1].startswith("session-risk: no broker answers at 127.0.0.1:1")


# --- The prior ---


def _decision(value: float, *contributions: float, policy: str = "elsewhere@1") -> dict[str, Any]:
    reasons = [{"contribution": contribution} for contribution in contributions]
    return {"decision_id": "d", "score": value, "policy": policy, "reasons": reasons}


def test_the_prior_is_that_of_the_policy_that_decided() -> None:
    policies = [Policy(), parse_policy('name = "shy"\nprior = -6.0')]
    observing = parse_policy('name = "shy"\nprior = -6.0\nmode = "observe"')

    assert prior_of(_decision(100.0, policy=policies[1].id), policies) == -6.0
    assert prior_of(_decision(100.0, policy=observing.id), policies) == -6.0


def test_without_the_policy_the_prior_is_computed_from_the_score_unless_that_is_near_an_end() -> None:
    assert prior_of(_decision(score(-4.0 + 4.0), 4.0), []) == -4.0
    assert prior_of(_decision(score(20.0), 24.0), []) is None


# --- What belongs together ---


def _source(**values: list[dict[str, Any]]) -> Source:
    def source(topic: str, text: str) -> Iterable[bytes]:
        lines = (json.dumps(value).encode() for value in values.get(topic.replace("-", "_"), []))
        return [value for value in lines if text.encode() in value]

    return source


def test_only_what_belongs_to_the_decision_is_shown() -> None:
    mine = _decision(50.0)
    other = {**_decision(60.0), "decision_id": "e", "caused_by": "d"}
    command = {"decision_id": "d", "revocation_id": "r"}
    acks = [{"revocation_id": "r", "outcome": "failed"}, {"revocation_id": "s", "detail": "not r"}]
    found = account(
        "d",
        _source(
            session_risk=[other, mine],
            session_revocations=[{"decision_id": "e", "revocation_id": "d"}, command],
            revocation_acks=acks,
            session_findings=[{"metadata": {"correlation_uid": "e"}, "message": "d"}],
        ),
    )

    assert (found.decision, found.revocation, found.challenge) == (mine, command, None)
    assert (found.acks, found.findings) == (acks[:1], [])


def test_an_id_that_is_only_mentioned_is_no_decision() -> None:
    with pytest.raises(UnknownDecisionError, match="no decision d on session-risk"):
        account("d", _source(session_risk=[{**_decision(60.0), "decision_id": "e", "caused_by": "d"}]))


# --- The model's word ---


def test_the_features_behind_the_models_score_have_a_line_each() -> None:
    reason = {
        "detection": "anomaly",
        "text": "Unlike others: 412 records in 10 min, usually ≤ 30 (read); 1,000, usually ≤ 9 (f)",
        "contribution": 0.9,
        "observed": "records_10m 412; novelty 0.9",
        "normal": "records_10m ≤ 30; novelty ≤ 0.1",
    }

    assert explain._rows_of(reason) == [
        ("+0.90", "anomaly: Unlike others", None, None),
        ("", "  read", "412 records in 10 min", "≤ 30"),
        ("", "  f", "1,000", "≤ 9"),
    ]


def test_an_unusual_order_of_calls_has_a_row_of_its_own() -> None:
    text = "Odd: GET /orders after GET /inbox; 21.5 nats in 10 min, usually ≤ 0.25 (surprise)"

    assert explain._rows_of({"detection": "anomaly", "text": text, "contribution": 0.9}) == [
        ("+0.90", "anomaly: Odd", None, None),
        ("", "  GET /orders after GET /inbox", None, None),
        ("", "  surprise", "21.5 nats in 10 min", "≤ 0.25"),
    ]


def test_without_features_the_models_reason_is_one_line() -> None:
    reason = {"detection": "anomaly", "text": "Unlike others.", "contribution": 0.5, "observed": "x"}

    assert explain._rows_of(reason) == [("+0.50", "anomaly: Unlike others.", None, None)]
