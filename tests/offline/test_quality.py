"""Quality of a model: the same rates as slow counting, by ground truth or by verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features.table import FEATURE_NAMES, FEATURE_SET
from pipeline.offline.replay.labels import Label
from pipeline.offline.training.quality import known_rows, limit, quality
from pipeline.offline.training.vectors import Row, Vectors, drawn, in_chunks, weights
from pipeline.sources.ground_truth import Truth
from schemas.decisions import SessionFeatures
from tests.support.samples import T0


def row(session: str, second: float = 0, level: str = "LOW", label: str = "", truth: str = "", began: float = 0) -> Row:
    """A vector of *session*; *truth* is `benign` or a family of attacks that *began* at a second."""
    session_features = SessionFeatures(
        session_id=session,
        event_id=f"{session}-{second}",
        occurred_at=T0 + round(second * 1000),
        scored_at=T0 + round(second * 1000),
        level=level,  # type: ignore[arg-type]
        model="none",
        policy="p",
        feature_set=FEATURE_SET,
        values=dict.fromkeys(FEATURE_NAMES, 1.0),
    )
    known = None
    if truth:
        known = Truth(
            tenant=session_features.tenant,
            session_id=session,
            label="benign" if truth == "benign" else "attack",
            family=truth,
            started_at=T0 + round(began * 1000),
            ended_at=T0 + 10**6,
        )
    return Row.of(session_features, Label(label, T0, "soc", None) if label else None, known)


def test_an_attack_counts_from_its_beginning_and_not_before() -> None:
    vectors = Vectors.of(
        [row("a", second, truth="theft", began=10) for second in (9, 10, 12)]
        + [row("b", second, truth="benign") for second in range(100)]
    )
    scores = np.array([0.9, 0.4, 0.95, *np.linspace(0, 0.5, 100)])

    rows = known_rows(vectors, scores, 1.0)

    assert rows is not None
    found = quality(rows)
    assert found.plain == {
        "by": "truth",
        "attack_rows": 2,
        "honest_rows": 100,
        "auc": 0.9,
        "average_precision": pytest.approx(0.5 + 0.5 * 2 / 22, abs=1e-6),
        "recall_of_rows": {"0.1_percent": 0.5, "1_percent": 0.5},
        "recall_of_sessions": {"0.1_percent": 1.0, "1_percent": 1.0},
        "scores_at_budgets": {"0.1_percent": 0.5, "1_percent": 0.494949},
        "families": [
            {"family": "theft", "sessions": 1, "found_at_0.1_percent": 1, "found_at_1_percent": 1}
            | {"median_delay_s": 2.0}
        ],
    }
    assert (found.delays_s, found.attacked_sessions) == ([2.0], 1)


def test_without_truth_verdicts_say_what_was_an_attack_and_no_delay_is_known() -> None:
    vectors = Vectors.of(
        [
            row("a", label="true_positive"),
            row("b", label="false_positive"),
            row("c", label="unsure"),
            row("d"),
        ]
    )

    rows = known_rows(vectors, np.array([0.9, 0.1, 0.5, 0.5]), 1.0)

    assert rows is not None
    fields = quality(rows).plain
    assert (fields["by"], fields["attack_rows"], fields["honest_rows"], fields["auc"]) == (
        "verdicts",
        1,
        1,
        1.0,
    )
    assert fields["families"][0]["family"] == "unknown"
    assert fields["families"][0]["median_delay_s"] is None
    assert quality(rows).delays_s == []


@pytest.mark.parametrize(
    "rows", [[], [row("a", truth="theft")], [row("b", truth="benign")], [row("c", label="unsure")]]
)
def test_with_only_attacks_or_only_honest_rows_there_is_no_evaluation(rows: list[Row]) -> None:
    assert known_rows(Vectors.of(rows), np.zeros(len(rows)), 1.0) is None


@given(
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from([1.0, 5.0])), min_size=1, max_size=30),
    st.sampled_from([0.001, 0.01, 0.2, 0.5]),
)
def test_above_a_limit_are_no_more_than_the_budget_and_below_it_would_be_more(
    rows: list[tuple[int, float]], budget: float
) -> None:
    scores, weight = (np.array(column, np.float64) for column in zip(*rows, strict=True))

    found = limit(scores, weight, budget)

    assert weight[scores > found].sum() <= budget * weight.sum()
    assert weight[scores >= found].sum() > budget * weight.sum()


def test_the_weight_of_a_row_is_the_number_of_rows_it_stands_for_in_the_log() -> None:
    vectors = Vectors.of([row("a"), row("b", level="HIGH"), row("c", level="MEDIUM")])

    assert weights(vectors, 0.002).tolist() == [500.0, 1.0, 1.0]
    assert weights(vectors, 0.0).tolist() == [1.0, 1.0, 1.0]


def test_a_fair_sample_contains_all_low_rows_and_the_same_share_of_the_rest() -> None:
    vectors = Vectors.of([row("a", number, level="HIGH") for number in range(2_000)] + [row("b")])

    kept = drawn(vectors, 0.1)

    assert bool(kept[-1])
    assert 150 < int(kept.sum()) < 250
    assert (drawn(vectors, 0.05) <= kept).all()
    assert drawn(vectors, 1.0).all()


def test_chunks_together_are_the_rows_as_they_came() -> None:
    rows = [row(f"s-{number}", number) for number in range(25)]

    parts = [*in_chunks(iter(rows), 10)]

    assert [len(part) for part in parts] == [10, 10, 5]
    assert Vectors.together(parts).sessions == [("default", f"s-{number}") for number in range(25)]
    assert len(Vectors.together([])) == 0
