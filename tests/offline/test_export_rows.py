"""Vectors in Parquet are exactly those that were scored in the requested time, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.detectors.base import Moved
from models.features.table import FEATURE_NAMES, FEATURE_SET
from pipeline.offline.training import parquet
from pipeline.offline.training.export import MANIFEST, Period
from pipeline.offline.training.vectors import NAMES
from pipeline.sources.ground_truth import Truth
from tests.support.exports import DAY, HOUR, back, exported, files, vector, verdict
from tests.support.samples import T0


class Toy:
    """A detector whose score is the first feature."""

    is_general = False
    id = "toy@1"

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        return seen[:, 0].astype(np.float64)

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.zeros(len(scores), np.uint8)

    def explain(self, values: NDArray[np.float64], kind: int, limit: int) -> list[Moved]:
        return []


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1e30), min_size=1, max_size=5))
def test_a_value_comes_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    out = tmp_path_factory.mktemp("export") / "out"
    records = [vector(n, values=dict.fromkeys(FEATURE_NAMES, value)) for n, value in enumerate(values)]

    exported(out, records)

    assert back(out).values.tobytes() == np.repeat(np.array(values)[:, None], len(FEATURE_NAMES), 1).tobytes()


def test_a_row_holds_the_record_its_label_and_the_truth(tmp_path: Path) -> None:
    truth = Truth(tenant="acme", session_id="s-1", label="attack", family="theft", started_at=T0 + 5, ended_at=T0 + 9)

    exported(
        tmp_path / "out",
        [vector(3), vector(4, session_id="s-2", principal_kind=None, event_id=None)],
        verdict(T0 + HOUR, decision_id="d-1"),
        truth=(truth,),
        detector=Toy(),
    )

    rows = pq.read_table(next((tmp_path / "out").glob(parquet.PATTERN))).to_pylist()
    texts = [{name: _plain(value) for name, value in row.items() if name not in FEATURE_NAMES} for row in rows]
    same: dict[str, Any] = {"tenant": "acme", "level": "LOW", "model": "toy@1", "policy": "default@1"}
    same |= {"occurred_at": T0, "scored_at": T0, "feature_set": FEATURE_SET, "role": None}
    label = {"verdict": "true_positive", "label": 1, "label_at": T0 + HOUR, "label_by": "soc"}
    label |= {"label_decision_id": "d-1"}
    known = {"truth_label": "attack", "truth_family": "theft", "truth_started_at": T0 + 5}
    assert texts == [
        {**same, "session_id": "s-1", "principal_kind": "human", "event_id": "e-3", **label, **known}
        | {"score": float(np.float32(np.log1p(3)))},
        {**same, "session_id": "s-2", "principal_kind": None, "event_id": None}
        | dict.fromkeys([*label, *known])
        | {"score": float(np.float32(np.log1p(4)))},
    ]
    assert [[row[name] for name in FEATURE_NAMES] for row in rows] == [
        [number + place / 7 for place in range(len(FEATURE_NAMES))] for number in (3, 4)
    ]


def _plain(value: Any) -> Any:
    return round(value.timestamp() * 1000) if hasattr(value, "timestamp") else value


def test_the_role_of_a_call_is_read_back_and_an_export_without_roles_has_none(tmp_path: Path) -> None:
    exported(tmp_path / "out", [vector(1, role=0), vector(2, role=7), vector(3)])
    found = back(tmp_path / "out").role.tolist()

    part = next((tmp_path / "out").glob(parquet.PATTERN))
    pq.write_table(pq.read_table(part).drop_columns(["role"]), part)

    assert (found, back(tmp_path / "out").role.tolist()) == ([0, 7, -1], [-1, -1, -1])


def test_no_column_of_a_row_has_the_name_of_a_feature() -> None:
    names = [*NAMES, "feature_set", parquet.SCORE, *FEATURE_NAMES]

    assert len(names) == len(set(names))


def test_a_score_is_exported_only_for_the_model_that_computed_it(tmp_path: Path) -> None:
    exported(tmp_path / "out", [vector(1), vector(2, model="other@2")], detector=Toy())

    scores = pq.read_table(next((tmp_path / "out").glob(parquet.PATTERN)))["score"].to_pylist()
    assert [score is None for score in scores] == [False, True]


def test_each_day_of_event_time_has_its_folder(tmp_path: Path) -> None:
    exported(tmp_path / "out", [vector(1, T0 - 1), vector(2, T0), vector(3, T0 + DAY)])

    assert sorted(files(tmp_path / "out")) == [
        MANIFEST,
        *(f"date=2026-03-0{day}/part-0000.parquet" for day in (1, 2, 3)),
    ]


def test_what_is_exported_of_a_time_is_what_happened_in_it(tmp_path: Path) -> None:
    count = exported(
        tmp_path / "out",
        [vector(n, T0 + n * HOUR) for n in range(6)],
        period=Period(since=T0 + HOUR, until=T0 + 3 * HOUR),
    )

    assert back(tmp_path / "out").event_id.tolist() == ["e-1", "e-2"]
    assert count.left_out == {"before --since": 1, "from --until on": 3}


def test_a_vector_that_was_delivered_twice_is_exported_once(tmp_path: Path) -> None:
    count = exported(tmp_path / "out", [vector(1), vector(2), vector(1), vector(1, session_id="s-2")])

    assert (count.rows, count.left_out) == (3, {"delivered twice": 1})
