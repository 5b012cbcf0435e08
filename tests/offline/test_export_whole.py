"""An export is atomic, reproducible and in bounded memory; vectors left out are counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.detectors.base import NoDetector
from models.features.table import FEATURE_SET
from pipeline.offline.replay.labels import Labels, Truths
from pipeline.offline.replay.recording import RecordingError
from pipeline.offline.training import export, parquet
from pipeline.offline.training.export import Period, exporting, sentences
from tests.support.exports import DAY, HOUR, back, exported, files, vector, verdict
from tests.support.samples import T0


def test_memory_is_bounded_by_the_rows_of_a_part_however_many_days_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PART_ROWS", 10)
    most, made = 0, 0
    with exporting(
        tmp_path / "out", Period(), Labels((), None, 0), Truths(), detector=NoDetector(), low_share=1.0
    ) as exporter:

        def endless() -> Iterator[bytes]:
            nonlocal made
            while True:
                made += 1
                yield json.dumps(vector(made, T0 + made % 3 * DAY)).encode()

        for value in endless():
            exporter.take(value)
            most = max(most, sum(map(len, exporter._days.values())))
            if made == 100:
                break

    assert most == 9
    assert len(back(tmp_path / "out")) == 100
    parts = sorted(name for name in files(tmp_path / "out") if "2026-03-02" in name)
    assert parts[:2] == [f"date=2026-03-02/part-000{part}.parquet" for part in (0, 1)]


def test_only_so_many_vectors_back_a_second_delivery_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "REMEMBERED", 2)

    count = exported(tmp_path / "out", [vector(1), vector(2), vector(2), vector(3), vector(1)])

    assert (count.rows, count.left_out) == (4, {"delivered twice": 1})


def test_the_same_vectors_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        exported(tmp_path / name, [vector(n, T0 + n * HOUR) for n in range(50)], verdict(T0 + DAY))

    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "one")) == 4


def test_what_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> None:
        with exporting(
            tmp_path / "out", Period(), Labels((), None, 0), Truths(), detector=NoDetector(), low_share=1.0
        ) as exporter:
            exporter.take(json.dumps(vector()).encode())
            raise RecordingError("cut short")

    with pytest.raises(RecordingError, match="cut short"):
        broken()

    assert list(tmp_path.iterdir()) == []


def test_an_export_is_not_mixed_with_what_lies_there(tmp_path: Path) -> None:
    exported(tmp_path / "out", [vector()])
    before = files(tmp_path / "out")

    with pytest.raises(RecordingError) as refused:
        exported(tmp_path / "out", [vector(2)])

    assert str(refused.value) == (f"{tmp_path / 'out'} is not empty: give a new folder, or remove it")
    assert files(tmp_path / "out") == before


def test_vectors_of_another_feature_set_are_left_out_with_a_warning(tmp_path: Path) -> None:
    count = exported(tmp_path / "out", [vector(1), vector(2, feature_set="0123", values={"x": 1.0})])

    assert back(tmp_path / "out").event_id.tolist() == ["e-1"]
    assert sentences(count) == [
        (
            f"1 vectors of feature set 0123 are left out, the current one is {FEATURE_SET}: they cannot be "
            "mixed; export them with the version that scored them"
        )
    ]
    with pytest.raises(RecordingError) as refused:
        exported(tmp_path / "none", [vector(2, feature_set="0123")])
    assert str(refused.value) == "there is nothing to export (1 of feature set 0123)"
    assert not (tmp_path / "none").exists()


def test_records_that_are_not_vectors_are_counted_and_the_first_is_shown(tmp_path: Path) -> None:
    count = exported(tmp_path / "out", [vector(1), {"session_id": 5}, {}])

    assert count.left_out == {"unreadable": 2}
    (sentence,) = sentences(count)
    assert sentence.startswith("2 records are not vectors, the first: ")
    assert "session_id" in sentence


# --- read again -------------------------------------------------------------------------------------------


def test_files_with_another_feature_set_or_without_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError) as none:
        back(tmp_path)
    assert str(none.value) == (f"{tmp_path} has no export: expected {parquet.PATTERN}, as `session-risk export` writes")
    path = tmp_path / "date=2026-03-02" / "part-0000.parquet"
    path.parent.mkdir()
    path.write_bytes(b"PAR1")
    with pytest.raises(RecordingError, match="not a Parquet file"):
        back(tmp_path)

    foreign = pa.table({"x": [1]}).replace_schema_metadata({parquet.SET: b"0123"})
    pq.write_table(foreign, path)
    with pytest.raises(RecordingError) as other:
        back(tmp_path)
    assert str(other.value) == (
        f"{path}: has vectors of feature set 0123, but the current one is {FEATURE_SET}: export vectors "
        "that were scored with the current features"
    )


def test_an_export_contains_its_number_of_rows_and_their_sampling(tmp_path: Path) -> None:
    exported(tmp_path / "out", [vector(n, T0 + n * HOUR) for n in range(50)])

    assert parquet.is_export(tmp_path / "out")
    assert not parquet.is_export(tmp_path)
    assert (parquet.rows(tmp_path / "out"), parquet.low_share(tmp_path / "out")) == (50, 0.5)
    assert [len(part) for part in parquet.read(tmp_path / "out", 20)] == [20, 4, 20, 4, 2]
