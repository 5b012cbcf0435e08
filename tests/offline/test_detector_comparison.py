"""The comparison of detectors: what it measures, and what its report says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.detectors import distance
from models.detectors.methods import METHODS
from models.detectors.trained import COHORT, COHORTS, METHOD
from models.features.table import FEATURE_NAMES, FEATURE_SET
from pipeline.offline.replay.recording import write
from pipeline.offline.training.datasets import sample_of
from pipeline.offline.training.vectors import Row, Vectors
from pipeline.sources.ground_truth import Truth
from schemas.decisions import SessionFeatures
from tests.benchmarks import compare_detectors
from tests.benchmarks.compare_detectors import (
    CRITERIA,
    IN_USE,
    REPORT,
    Result,
    Variant,
    best,
    compare,
    in_half,
    report,
    sessions_found,
)
from tests.support.role_samples import sample_roles
from tests.support.run_processors import topic_of
from tests.support.samples import T0, auth, call, telemetry

FAMILIES = ("ordinary", "flood", "quiet", "burst", "drip")
PER_SESSION = 12


def population(seed: int, sessions: int = 200) -> Vectors:
    """Every fifth session is attacked from its seventh vector on, a family each in turn."""
    random = np.random.default_rng(seed)
    values = random.lognormal(1.0, 1.0, (sessions * PER_SESSION, len(FEATURE_NAMES)))
    of, nth = np.divmod(np.arange(len(values)), PER_SESSION)
    values[(of % 5 == 0) & (nth >= 6), 2:4] *= 1e6
    return Vectors.of(
        [
            Row(scored(f"s-{item}", at), vector, truth=truth(item))
            for item, at, vector in zip(of.tolist(), nth.tolist(), values, strict=True)
        ]
    )


def scored(session: str, at: int) -> SessionFeatures:
    return SessionFeatures(
        session_id=session,
        principal_kind="human",
        event_id=f"{session}-{at}",
        occurred_at=T0 + at,
        scored_at=T0 + at,
        level="LOW",
        model="none",
        policy="p",
        feature_set=FEATURE_SET,
        values={},
    )


def truth(session: int) -> Truth:
    attack = session % 5 == 0
    return Truth(
        tenant="default",
        session_id=f"s-{session}",
        label="attack" if attack else "benign",
        family=FAMILIES[1 + session // 5 % 4] if attack else FAMILIES[0],
        started_at=T0 + 6 if attack else T0,
        ended_at=T0 + PER_SESSION,
    )


@pytest.fixture(scope="module")
def result() -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distance, "SAMPLE", 300)
        populations = iter([(1, population(1), population(2))])
        return compare(populations, {"lab": population(3)}, lambda _: None)


def test_every_method_is_tested_with_every_way_of_fitting_it(result: Result) -> None:
    unlabelled = [variant for variant in result.variants if variant.labels == "none"]

    assert unlabelled == [Variant(method, cohorts) for method in METHODS for cohorts in COHORTS]
    assert {name for name, variant in result.recordings if name == "lab"} == {"lab"}
    assert {way for way, _ in result.explained} == {"removed", "put_in", "both"}


def test_a_detector_finds_vectors_that_are_far_from_normal(result: Result) -> None:
    figures = result.variants[Variant("components", "global")].figures

    assert figures["auc"][0] > 0.99
    assert [figures[name] for name in CRITERIA] == [[1.0], [1.0]]


def test_the_report_lists_variants_with_too_few_labels(result: Result) -> None:
    assert all("sessions are labelled" in failure for failure in result.failures)
    assert ("What could not be trained" in report(result, "command")) == bool(result.failures)


def test_the_report_names_the_command_every_method_and_the_best(result: Result) -> None:
    text = report(result, "compare_detectors --seeds 1")

    assert "compare_detectors --seeds 1" in text
    assert all(f"`{method}`" in text for method in METHODS)
    assert f"by `{best(result).method}`" in text
    assert all(family in text for family in FAMILIES[1:])


def test_if_another_method_finds_most_families_the_report_compares_it_with_the_one_in_use(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = report(result, "command")
    monkeypatch.setattr(compare_detectors, "best", lambda _: Variant("forest", "global"))

    beside = report(result, "command")

    head = "| | AUC | AP | recall at 0.1 % FPR | recall at 1 % FPR | µs a row |"
    rows = beside.split(head)[1].splitlines()[2:4]
    assert head not in alone
    assert [row.split(" | ")[0] for row in rows] == [
        "| `components`, all principals alike",
        "| `forest`, all principals alike",
    ]
    assert all(row.count("±") == 5 for row in rows)


def test_the_stored_report_is_about_the_method_that_train_uses() -> None:
    text = REPORT.read_text(encoding="utf-8")

    assert Variant(METHOD, COHORT) == IN_USE
    assert f"**`{METHOD}`**" in text
    assert "`session-risk train` uses" in text


def test_a_family_is_found_where_a_vector_of_the_attack_is_over_the_threshold() -> None:
    tried = population(4, sessions=10)
    over = np.zeros(len(tried), np.bool_)
    over[0] = True  # before the attack
    over[5 * PER_SESSION + 8] = True

    assert sessions_found(tried, over) == {"flood": 0.0, "quiet": 1.0}


def test_half_the_families_are_the_same_whoever_else_there_is() -> None:
    names = [f"family-{number}" for number in range(100)]

    assert 30 < sum(map(in_half, names)) < 70


def test_calls_surprise_only_where_roles_are_known(tmp_path: Path) -> None:
    recorded(tmp_path, [auth(0), *(call(at, operation="iam:CreateAccessKey") for at in range(1, 5))])
    column = FEATURE_NAMES.index("surprise_10m")

    bare, known = (sample_of(tmp_path, 100, roles).values[:, column] for roles in (None, sample_roles()))

    assert len(bare) == len(known) >= 5
    assert (bool(bare.any()), bool(known.any())) == (False, True)


def test_of_a_long_recording_about_as_many_vectors_as_asked_are_compared_of_every_level(
    tmp_path: Path,
) -> None:
    bad = {"session_id": "s-2", "device_id": "phone-2"}
    calls = [call(at, **(bad if at % 2 else {})) for at in range(1, 1_000)]
    recorded(tmp_path, [telemetry(0, device_id="phone-2", rooted=True), auth(0), auth(0, **bad), *calls])

    every, some = sample_of(tmp_path, 10_000), sample_of(tmp_path, 300)

    assert [int((every.level == level).sum()) > 450 for level in ("LOW", "HIGH")] == [True, True]
    assert [100 < int((some.level == level).sum()) < 200 for level in ("LOW", "HIGH")] == [True, True]
    assert set(some.event_id.tolist()) < set(every.event_id.tolist())


def test_a_session_has_one_number_and_another_tenants_of_the_same_id_has_another() -> None:
    vectors = population(5, sessions=2)
    tenant = np.where(vectors.occurred_at == T0, "acme", vectors.tenant).astype(object)

    numbers = replace(vectors, tenant=tenant).session_numbers

    assert numbers.tolist() == [0, *[1] * (PER_SESSION - 1), 2, *[3] * (PER_SESSION - 1)]


def recorded(folder: Path, events: Iterable[dict[str, Any]]) -> None:
    with write(folder) as writer:
        for event in events:
            writer.event(topic_of(event), event)
