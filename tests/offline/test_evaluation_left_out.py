"""Weights of evidence and models are judged in kinds of company that they were not learned from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.detectors import labelled
from models.detectors.base import BANDS
from models.detectors.labelled import TooFewLabels
from models.events.columns import KINDS
from models.features.table import FEATURE_NAMES
from pipeline.decisions.policy import Policy
from pipeline.decisions.risk import score
from pipeline.detections import BIT, DETECTIONS, FACTS, MASK_WORDS
from pipeline.detections.mask import of_bits
from pipeline.offline.evaluation.fitting import Fitted
from pipeline.offline.evaluation.foreign.learning import LabelledVectors, Taught, folds_of, learn
from pipeline.offline.evaluation.foreign.left_out import Fold, folds_of_worlds, under
from pipeline.offline.evaluation.foreign.weights import LEAST, fitted_weights, sessions_of
from pipeline.offline.simulation import SIMULATED
from tests.support.toy_detectors import TRAINED

PERSON = KINDS.index("human")


def taught(*sessions: tuple[bool, float, tuple[str, ...]]) -> Taught:
    """One vector a session: whether it is an attack, its score, and the detections that hold."""
    count = len(sessions)
    mask = np.array([of_bits((BIT[name] for name in names), MASK_WORDS) for _, _, names in sessions])
    vectors = LabelledVectors(
        np.zeros((count, len(FEATURE_NAMES)), np.float32),
        mask.reshape(count, MASK_WORDS),
        np.full(count, PERSON, np.uint8),
        np.array([attack for attack, _, _ in sessions]),
        np.arange(count),
        np.full(count, "bank"),
    )
    return Taught(TRAINED["components", "global"], vectors, np.array([score for _, score, _ in sessions]))


def many(attack: bool, score: float, names: tuple[str, ...], times: int) -> list[tuple[bool, float, tuple[str, ...]]]:
    return [(attack, score, names)] * times


# --- folds ------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=50))
def test_all_vectors_of_a_kind_of_company_are_in_one_fold(companies: list[str]) -> None:
    folds = folds_of(np.array(companies))

    pairs = set(zip(companies, folds.tolist(), strict=True))
    assert len(pairs) == len(set(companies))
    assert set(folds.tolist()) == set(range(min(5, len(set(companies)))))


def test_worlds_of_the_same_kinds_are_judged_together_by_what_the_others_taught() -> None:
    bank, both = frozenset({"bank"}), frozenset({"bank", "field"})

    assert folds_of_worlds([bank, both, bank]) == [Fold((0, 2), bank), Fold((1,), both)]


def test_the_scale_of_a_taught_model_comes_from_models_that_have_not_seen_the_company(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A marker of each company tells its attacks: only who has seen the company scores them high."""
    for name in ("MIN_ATTACKED", "MIN_HONEST", "MIN_BOOSTED", "MIN_COMPANIES"):
        monkeypatch.setattr(labelled, name, 1)
    worlds = [marked(number, company) for number, company in enumerate(("bank", "field"))]

    learned = learn(TRAINED["components", "global"], worlds, lambda _: None)

    attack = learned.vectors.attack
    seen = learned.detector.score(learned.vectors.seen, learned.vectors.kinds)
    assert (seen[attack].min() > seen[~attack].max(), learned.scores[attack].min() > learned.scores[~attack].max()) == (
        True,
        False,
    )


def test_a_simulated_company_teaches_its_attacks_but_gives_no_scale_and_no_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MIN_ATTACKED", "MIN_HONEST", "MIN_BOOSTED", "MIN_COMPANIES"):
        monkeypatch.setattr(labelled, name, 1)
    simulation = marked(2, SIMULATED)
    worlds = [marked(0, "bank"), marked(1, "field"), simulation]

    learned = learn(TRAINED["components", "global"], worlds, lambda _: None)

    assert set(learned.vectors.companies.tolist()) == {"bank", "field"}
    assert len(learned.scores) == 200
    scores = learned.detector.score(simulation.seen, simulation.kinds)
    assert scores[simulation.attack].min() > scores[~simulation.attack].max()


def test_simulated_companies_alone_are_not_enough() -> None:
    with pytest.raises(TooFewLabels, match="fewer than 2 kinds of company that are not simulated"):
        learn(TRAINED["components", "global"], [marked(0, "bank"), marked(1, SIMULATED)], lambda _: None)


def marked(feature: int, company: str) -> LabelledVectors:
    """A hundred sessions, of which one in ten is attacked and has *feature* set."""
    sessions = np.arange(100)
    attack = sessions % 10 == 0
    seen = np.zeros((100, len(FEATURE_NAMES)), np.float32)
    seen[attack, feature] = 5.0
    mask, kinds = np.zeros((100, MASK_WORDS), np.uint64), np.full(100, PERSON, np.uint8)
    return LabelledVectors(seen, mask, kinds, attack, sessions, np.full(100, company))


# --- weights ----------------------------------------------------------------------------------------------


def test_a_session_shows_its_highest_band_and_every_detection_that_held_before_or_after_the_attack_began() -> None:
    rows, attack, kinds = sessions_of(taught((False, 0.9985, ("mass_read",)), (True, 0.5, ())))

    assert rows[0, BIT["mass_read"]] == 1.0
    assert rows[:, len(DETECTIONS) :].tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [0.0] * len(BANDS)]
    assert (attack.tolist(), kinds.tolist()) == ([False, True], [PERSON, PERSON])


def test_a_suspicion_that_says_nothing_beyond_the_model_weighs_nothing_and_one_that_does_weighs_something() -> None:
    fitted = fitted_weights(
        taught(
            *many(False, 0.5, (), 900),
            *many(False, 0.9999, ("network_changed",), 10),
            *many(True, 0.99999, ("network_changed",), 40),
            *many(True, 0.5, ("impossible_travel",), 40),
            *many(True, 0.5, (), 10),
        ),
        Policy(),
    )

    assert fitted.weights["network_changed"] < 1.0
    assert fitted.weights["impossible_travel"] > 2.0
    assert fitted.anomaly[-1] > 2.0
    assert list(fitted.anomaly) == sorted(fitted.anomaly)


def test_a_suspicion_that_honest_sessions_never_show_leads_alone_to_the_level_of_its_severity() -> None:
    often = many(False, 0.5, ("impossible_travel",), 5)
    fitted = fitted_weights(taught(*often, *many(False, 0.5, (), 95), *many(True, 0.9999, (), 9)), Policy())

    reached = {name: score(fitted.prior + fitted.weights[name]) for name in ("mass_read", "posture_downgraded")}
    assert (
        reached["mass_read"] >= fitted.levels.high_raise > reached["posture_downgraded"] >= fitted.levels.medium_raise
    )
    assert fitted.weights["impossible_travel"] == LEAST


def test_a_suspicion_that_one_kind_of_principal_shows_often_guarantees_no_level() -> None:
    agents = many(False, 0.5, ("mass_read",), 5)
    sessions = taught(*agents, *many(False, 0.5, (), 5_000), *many(True, 0.9999, (), 9))
    sessions.vectors.kinds[:50] = KINDS.index("agent")

    fitted = fitted_weights(sessions, Policy())

    assert fitted.weights["mass_read"] == LEAST
    assert score(fitted.prior + fitted.weights["privilege_chain"]) >= fitted.levels.high_raise


def test_silence_while_calls_go_on_asks_however_often_honest_sessions_show_it() -> None:
    silent = many(False, 0.5, ("telemetry_silent_while_active",), 50)
    fitted = fitted_weights(taught(*silent, *many(False, 0.5, (), 50), *many(True, 0.9999, (), 9)), Policy())

    reached = score(fitted.prior + fitted.weights["telemetry_silent_while_active"])
    assert reached >= fitted.levels.medium_raise


def test_facts_keep_what_they_weigh_and_end_a_session_alone() -> None:
    policy = Policy()
    fitted = fitted_weights(taught(*many(False, 0.5, (), 90), *many(True, 0.9999, (), 9)), policy)

    judged = under(policy, fitted)
    for name in FACTS:
        weight = policy.weights()[BIT[name]]
        assert fitted.weights[name] >= weight
        if DETECTIONS[BIT[name]].severity == "HIGH":
            assert (
                judged.prior + fitted.weights[name]
                >= np.log(judged.levels.high_raise / (100 - judged.levels.high_raise)) - 0.01
            )


def test_a_policy_with_fitted_weights_keeps_everything_else_that_it_says() -> None:
    policy = Policy.model_validate(
        {"name": "ours", "detections": {"mass_read": {"limits": {"records": 9.0}, "weight": 3.0}}}
    )
    fitted = Fitted(-5.0, {"mass_read": 1.5}, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), policy.levels, 1, 1)

    judged = under(policy, fitted)

    assert (judged.name, judged.prior, judged.anomaly_weights) == ("ours", -5.0, fitted.anomaly)
    assert judged.detections["mass_read"].limits == {"records": 9.0}
    assert judged.weights()[BIT["mass_read"]] == 1.5


@pytest.mark.parametrize("attack", [True, False])
def test_sessions_of_one_class_teach_no_weights(attack: bool) -> None:
    with pytest.raises(ValueError, match="one of the two is missing"):
        fitted_weights(taught(*many(attack, 0.5, (), 3)), Policy())
