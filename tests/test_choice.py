"""Detectors are compared on vectors whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.columns import KINDS
from models.detectors import distance
from models.detectors.methods import METHODS
from models.detectors.trained import COHORT, COHORTS, METHOD
from models.features import FEATURE_NAMES
from pipeline.choice import Result, Variant, compare, in_half, sessions_found
from pipeline.choice_report import CRITERIA, REPORT, TAKEN, best, report
from pipeline.choice_vectors import Vectors, vectors_of
from pipeline.policy import Policy
from pipeline.scorer import Options
from playing import recorded
from role_samples import sample_roles
from samples import auth, call

FAMILIES = ("ordinary", "flood", "quiet", "burst", "drip")
PER_SESSION = 12


def population(seed: int, sessions: int = 200) -> Vectors:
    """Every fifth session is attacked from its seventh vector on, a family each in turn."""
    random = np.random.default_rng(seed)
    values = random.lognormal(1.0, 1.0, (sessions * PER_SESSION, len(FEATURE_NAMES)))
    of = np.arange(len(values)) // PER_SESSION
    attacked = of % 5 == 0
    attack = attacked & (np.arange(len(values)) % PER_SESSION >= 6)
    values[attack, 2:4] *= 1e6
    family = [FAMILIES[1 + one // 5 % 4] if one % 5 == 0 else FAMILIES[0] for one in range(sessions)]
    return Vectors(
        values=values,
        kinds=np.full(len(values), KINDS.index("human"), np.uint8),
        sessions=of,
        names=[("acme", f"s-{one}") for one in range(sessions)],
        at=np.arange(len(values), dtype=np.int64) * 1_000,
        attack=attack,
        attacked=attacked,
        attacked_sessions=sessions // 5,
        family=family,
        first=0,
        last=len(values) * 1_000,
    )


@pytest.fixture(scope="module")
def result() -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distance, "SAMPLE", 300)
        populations = iter([(1, population(1), population(2))])
        return compare(populations, {"lab": population(3)}, lambda _: None)


def test_every_method_is_tried_for_every_way_of_fitting_it(result: Result) -> None:
    unlabelled = [variant for variant in result.variants if variant.labels == "none"]

    assert unlabelled == [Variant(method, cohorts) for method in METHODS for cohorts in COHORTS]
    assert {name for name, variant in result.recordings if name == "lab"} == {"lab"}
    assert {way for way, _ in result.explained} == {"removed", "put_in", "both"}


def test_detectors_that_see_what_is_far_off_find_it(result: Result) -> None:
    figures = result.variants[Variant("components", "global")].figures

    assert figures["auc"][0] > 0.99
    assert [figures[name] for name in CRITERIA] == [[1.0], [1.0]]


def test_too_few_labels_are_told_in_the_report(result: Result) -> None:
    assert all("sessions are labelled" in complaint for complaint in result.complaints)
    assert ("What could not be trained" in report(result, "asked")) == bool(result.complaints)


def test_the_report_names_the_command_every_method_and_the_best(result: Result) -> None:
    text = report(result, "session-risk detectors --seeds 1")

    assert "session-risk detectors --seeds 1" in text
    assert all(f"`{method}`" in text for method in METHODS)
    assert f"by `{best(result).method}`" in text
    assert all(family in text for family in FAMILIES[1:])


def test_the_report_that_ships_speaks_of_what_train_takes() -> None:
    text = REPORT.read_text(encoding="utf-8")

    assert Variant(METHOD, COHORT) == TAKEN
    assert f"**`{METHOD}`**" in text
    assert "`session-risk train` takes" in text


def test_a_family_is_found_where_a_vector_of_the_attack_is_over_the_threshold() -> None:
    tried = population(4, sessions=10)
    over = np.zeros(len(tried), np.bool_)
    over[0] = True  # before the attack
    over[5 * PER_SESSION + 8] = True

    assert sessions_found(tried, over) == {"flood": 0.0, "quiet": 1.0}


def test_half_the_families_are_the_same_whoever_else_there_is() -> None:
    names = [f"family-{one}" for one in range(100)]

    assert 30 < sum(map(in_half, names)) < 70


def test_calls_surprise_only_where_roles_are_known() -> None:
    records = recorded([auth(0), *(call(at, operation="iam:CreateAccessKey") for at in range(1, 5))])
    column = FEATURE_NAMES.index("surprise_10m")

    bare, known = (
        vectors_of(records, (), Policy(), Options(), 1.0, roles).values[:, column]
        for roles in (None, sample_roles())
    )

    assert len(bare) == len(known) >= 5
    assert (bool(bare.any()), bool(known.any())) == (False, True)
