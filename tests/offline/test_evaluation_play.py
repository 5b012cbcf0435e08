"""A recording is replayed in variants, and the page shows goals and measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.detectors.base import BANDS, NoDetector
from pipeline.decisions.policy import Policy
from pipeline.detections import BIT, DETECTIONS
from pipeline.offline.evaluation.outcome import AttackResults, HonestCosts
from pipeline.offline.evaluation.page import Real, page, table
from pipeline.offline.evaluation.play import BY_HALVES, BY_TOPIC, FULL, Model, Variant, play
from pipeline.offline.evaluation.real import Detected, Takeovers
from pipeline.offline.evaluation.trial import TEST, TRAIN, Trial, World
from pipeline.offline.replay.recording import write
from schemas.decode import encode
from tests.support.evaluation_truth import truth
from tests.support.run_processors import topic_of
from tests.support.samples import T0, auth, call, telemetry

# --- playing ----------------------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ana's phone is jailbroken after a minute; Ben works on."""
    events = [
        telemetry(0, heartbeat_interval_ms=600_000, rooted=False),
        auth(1, device_id="phone-1"),
        call(30, device_id="phone-1"),
        telemetry(60, rooted=True),
        call(70, device_id="phone-1"),
        *(call(at, session_id="ben", principal_id="ben") for at in range(0, 300, 10)),
    ]
    with write(tmp_path / "recording") as writer:
        for event in sorted(events, key=lambda fields: int(fields["occurred_at"])):
            writer.line(topic_of(event), encode(event))
        writer.truth(truth("s-1", "attack", family="rooted", started_at=T0 + 60_000))
        writer.truth(truth("ben"))
    return tmp_path / "recording"


def test_what_is_seen_before_an_attack_is_honest_and_after_it_is_not(recording: Path) -> None:
    evidence = play(recording, Policy(), Model(NoDetector()))

    rows, attack, kinds = evidence.table(len(DETECTIONS), len(BANDS))
    assert kinds.tolist() == ["human", "human", "human"]
    assert attack.tolist() == [False, False, True]
    assert [np.flatnonzero(row).tolist() for row in rows] == [[], [], [BIT["device_rooted"]]]
    assert evidence.outcomes.attack_results() == AttackResults(1, 1, 1, 0.0, 0.0)


def test_a_variant_leaves_one_thing_out(recording: Path) -> None:
    revoked = {
        variant.name: play(recording, Policy(), Model(NoDetector()), variant).outcomes.attack_results().revoked
        for variant in {*BY_HALVES, *BY_TOPIC}
    }

    assert revoked == {
        "everything": 1,
        "detections only": 1,
        "model only": 0,
        "without device-telemetry": 0,
        "without api-calls": 1,
        "without auth-events": 1,
    }


def test_worlds_to_learn_in_are_not_those_to_be_judged_in() -> None:
    assert {world.purpose for world in TRAIN} == {"train"}
    assert {world.purpose for world in TEST} == {"test"}
    assert not {world.seed for world in TRAIN} & {world.seed for world in TEST}


# --- the page ---------------------------------------------------------------------------------------------


def test_a_table_shows_dashes_for_what_is_not_there() -> None:
    assert table(("a", "b"), [("x", None), (1200, 0.25)]) == "| a | b |\n|---|---|\n| x | – |\n| 1,200 | 0.2 |"


def test_the_page_shows_goals_and_measurements(recording: Path) -> None:
    trials = [
        Trial(variant, [play(recording, Policy(), Model(NoDetector()), variant)])
        for variant in (FULL, Variant("model only", detections=False))
    ]
    lab = Detected("lab", 2, "HIGH", ("mass_read",), {("mass_read", "preparation"): 3})
    nobody = AttackResults(0, 0, 0, None, None)
    switches = Takeovers(
        7, AttackResults(4, 3, 2, 9.0, 10.0), AttackResults(6, 5, 5, 1.0, 2.0), HonestCosts(8, 24.0, 1, 2)
    )
    disguised = Takeovers(7, AttackResults(4, 1, 0, None, None), nobody, HonestCosts(8, 24.0, 0, 0))
    unharmed = Detected("lab", 1, "MEDIUM", ("mass_read",), {("mass_read", "other"): 2})
    real = Real([Detected("aws.x", 1, "LOW", (), {})], lab, unharmed, switches, disguised)

    text = page([World("test", 1, 1.0, 2, 0.1)], "m@1", "p@1", trials, trials[:1], real, "| bank | 3 |")

    assert "<!-- worlds -->\n| bank | 3 |\n<!-- /worlds -->" in text
    assert "Decided by policy `p@1` and model `m@1`" in text
    assert "| attacks revoked | ≥ 75 % | 100 % |" in text
    assert "| revoked with model only | less than 100.0 % | 0.0 % |" in text
    assert "| `rooted` | – | 1 | 100 % | 100 % | 0.0 | 0.0 |" in text
    assert "| `aws.x` | LOW | – |" in text
    assert "| `mass_read` | 0 | 3 | 0 | 2 |" in text
    assert "| address and client of the intruder | 4 | 75 % | 50 % | 9.0 | 10.0 |" in text
    assert "| address and client kept, only behaviour changes | 4 | 25 % | 0 % | – | – |" in text
    assert "5 of 6 were revoked after its beginning" in text
