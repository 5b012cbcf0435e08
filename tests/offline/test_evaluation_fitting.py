"""Weights are fitted within a budget, and a detection alone reaches the level of its severity."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detectors.base import BANDS
from pipeline.decisions.policy import fitted, parse_policy
from pipeline.decisions.risk import LEVELS, next_level, score
from pipeline.detections import BIT, DETECTIONS, Detection
from pipeline.offline.evaluation.__main__ import FITTED_FILE
from pipeline.offline.evaluation.evidence import Sessions
from pipeline.offline.evaluation.fitting import MARGIN, Budget, learn, toml

pytestmark = pytest.mark.slow


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(10, 400), st.integers(0, 2**16))
def test_weaker_evidence_adds_up_to_no_more_than_the_budget_allows(attacks: int, honest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    attack = np.arange(attacks + 1 + honest) <= attacks
    rows = (rng.random((attack.size, len(DETECTIONS) + len(BANDS))) < 0.02).astype(float)

    seen = Sessions(rows, attack, np.full(attack.size, "human"))
    learned = learn(seen, 1000.0, Budget(revocations=20, challenges=5), {"human"})

    policy = parse_policy(toml(learned, ()))
    weights = np.array([*policy.weights(), *np.diff([0.0, *policy.anomaly_weights])])
    scores = 100 / (1 + np.exp(-(policy.prior + (rows @ weights)[~attack])))
    dear = {level: [detection.severity in level for detection in DETECTIONS] for level in ("HIGH", "MEDIUM HIGH")}
    held = {level: (rows[~attack][:, : len(DETECTIONS)][:, chosen] > 0).any(axis=1) for level, chosen in dear.items()}
    assert (scores[~held["HIGH"]] >= policy.levels.high_raise).sum() <= 2
    left = max(5 - held["MEDIUM HIGH"].sum(), 5 // 2)
    assert (scores[~held["MEDIUM HIGH"]] >= policy.levels.medium_raise).sum() <= left


@pytest.mark.parametrize("detection", DETECTIONS, ids=lambda detection: detection.id)
def test_a_detection_alone_reaches_the_level_of_its_severity(detection: Detection) -> None:
    rng = np.random.default_rng(3)
    rows = (rng.random((500, len(DETECTIONS) + len(BANDS))) < 0.05).astype(float)

    learned = learn(_of_people(rows, np.arange(500) < 50), 5000.0, Budget(), {"human"})

    policy = parse_policy(toml(learned, ()))
    alone = score(policy.prior + policy.weights()[BIT[detection.id]])
    level = next_level("LOW", alone, 0.0, policy.levels)
    assert level == detection.severity or LEVELS.index(level) > LEVELS.index(detection.severity) > 0


def _of_people(rows: np.ndarray, attack: np.ndarray) -> Sessions:
    return Sessions(rows, attack, np.full(attack.size, "human"))


def test_detections_that_explain_every_attack_do_not_reduce_the_weight_of_the_model() -> None:
    attack = np.arange(2000) < 100
    rows = np.zeros((2000, len(DETECTIONS) + len(BANDS)))
    rows[:60, len(DETECTIONS)] = rows[150:200, len(DETECTIONS)] = 1.0  # 60 % of attacks and 3 % of others are odd
    alone = learn(_of_people(rows, attack), 5000.0, Budget(), {"human"})
    rows[attack, BIT["device_rooted"]] = 1.0

    beside = learn(_of_people(rows, attack), 5000.0, Budget(), {"human"})

    assert beside.anomaly[0] / beside.weights["device_rooted"] > 0.2
    assert alone.anomaly[0] == pytest.approx(3.9, abs=0.3)
    assert beside.anomaly[0] == alone.anomaly[0]


def test_principals_who_are_not_challenged_do_not_use_the_budget_of_challenges() -> None:
    attack = np.arange(1000) < 20
    rows = np.zeros((1000, len(DETECTIONS) + len(BANDS)))
    rows[:15, len(DETECTIONS)] = rows[500:540, len(DETECTIONS)] = 1.0
    kinds = np.where((np.arange(1000) >= 500) & (np.arange(1000) < 540), "service", "human")

    all_learned = [
        learn(Sessions(rows, attack, kinds), 5000.0, Budget(), asks) for asks in ({"human"}, {"human", "service"})
    ]

    raised = [score(learned.prior + learned.anomaly[0]) >= learned.levels.medium_raise for learned in all_learned]
    assert raised == [True, False]


def test_the_budget_is_in_hours() -> None:
    assert Budget(revocations=1, challenges=2).allowed(25_000) == (50, 2)
    assert MARGIN > 0


def test_fitting_writes_the_file_that_policies_read() -> None:
    assert tomllib.loads(FITTED_FILE.read_text("utf-8")) == fitted()
