"""Vectors and labels in Parquet: exactly what was scored, point-in-time correct, all of it or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from counting import produce
from models.detector import Detector, Moved, NoDetector
from models.features import FEATURE_NAMES, FEATURE_SET
from pipeline import export, parquet
from pipeline.broker import EmbeddedBroker
from pipeline.cli import main
from pipeline.connection import Connection
from pipeline.export import MANIFEST, Asked, exporting, sentences
from pipeline.labels import MEANING, Label, Labels, Truths
from pipeline.recording import RecordingError, Truth
from pipeline.vectors import NAMES, Vectors
from samples import T0
from schemas.control import SessionFeedback
from schemas.topics import SESSION_FEATURES, SESSION_FEEDBACK

DAY = 86_400_000
HOUR = 3_600_000
FOREVER = 2**62


def vector(number: int = 0, at: int = T0, **members: Any) -> dict[str, Any]:
    """A record of `session-features`, its values telling the *number*."""
    return {
        "tenant": "acme",
        "session_id": "s-1",
        "principal_kind": "human",
        "event_id": f"e-{number}",
        "occurred_at": at,
        "scored_at": at,
        "level": "LOW",
        "model": "toy@1",
        "policy": "default@1",
        "feature_set": FEATURE_SET,
        "values": {name: number + place / 7 for place, name in enumerate(FEATURE_NAMES)},
        **members,
    }


def verdict(at: int, said: str = "true_positive", **members: Any) -> SessionFeedback:
    told = {"tenant": "acme", "session_id": "s-1", "reported_by": "soc", **members}
    return SessionFeedback.model_validate({**told, "verdict": said, "occurred_at": at})


class Toy:
    """A detector whose score is the first feature."""

    id = "toy@1"

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        return seen[:, 0].astype(np.float64)

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.zeros(len(scores), np.uint8)

    def explain(self, values: NDArray[np.float64], kind: int, most: int) -> list[Moved]:
        return []


def exported(
    out: Path,
    vectors: list[dict[str, Any]],
    *verdicts: SessionFeedback,
    asked: Asked = Asked(),  # noqa: B008 - frozen
    as_of: int | None = None,
    truth: tuple[Truth, ...] = (),
    detector: Detector = NoDetector(),  # noqa: B008 - knows nothing
) -> export.Count:
    """Export *vectors* to *out*; what became of them is returned."""
    labels = Labels(verdicts, as_of, 7 * DAY)
    with exporting(out, asked, labels, Truths(truth), detector=detector, low_share=0.5) as exporter:
        for one in vectors:
            exporter.take(json.dumps(one).encode())
    return exporter.count


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def back(folder: Path) -> Vectors:
    return Vectors.together(parquet.read(folder))


# --- Exactly what was scored ------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1e30), min_size=1, max_size=5))
def test_a_value_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    out = tmp_path_factory.mktemp("export") / "out"
    told = [vector(n, values=dict.fromkeys(FEATURE_NAMES, value)) for n, value in enumerate(values)]

    exported(out, told)

    assert back(out).values.tobytes() == np.repeat(np.array(values)[:, None], len(FEATURE_NAMES), 1).tobytes()


def test_a_row_holds_the_record_its_label_and_the_truth(tmp_path: Path) -> None:
    truth = Truth(
        tenant="acme", session_id="s-1", label="attack", family="theft", started_at=T0 + 5, ended_at=T0 + 9
    )

    exported(
        tmp_path / "out",
        [vector(3), vector(4, session_id="s-2", principal_kind=None, event_id=None)],
        verdict(T0 + HOUR, decision_id="d-1"),
        truth=(truth,),
        detector=Toy(),
    )

    rows = pq.read_table(next((tmp_path / "out").glob(parquet.PATTERN))).to_pylist()
    texts = [
        {name: _plain(value) for name, value in row.items() if name not in FEATURE_NAMES} for row in rows
    ]
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


def test_the_role_of_a_call_comes_back_and_an_export_from_before_it_was_told_has_none(tmp_path: Path) -> None:
    exported(tmp_path / "out", [vector(1, role=0), vector(2, role=7), vector(3)])
    found = back(tmp_path / "out").role.tolist()

    part = next((tmp_path / "out").glob(parquet.PATTERN))
    pq.write_table(pq.read_table(part).drop_columns(["role"]), part)

    assert (found, back(tmp_path / "out").role.tolist()) == ([0, 7, -1], [-1, -1, -1])


def test_no_column_of_a_row_has_the_name_of_a_feature() -> None:
    names = [*NAMES, "feature_set", parquet.SCORE, *FEATURE_NAMES]

    assert len(names) == len(set(names))


def test_a_score_is_told_only_of_the_model_that_gave_it(tmp_path: Path) -> None:
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
        asked=Asked(since=T0 + HOUR, until=T0 + 3 * HOUR),
    )

    assert back(tmp_path / "out").event_id.tolist() == ["e-1", "e-2"]
    assert count.left_out == {"before --since": 1, "from --until on": 3}


def test_a_vector_that_was_delivered_twice_is_exported_once(tmp_path: Path) -> None:
    count = exported(tmp_path / "out", [vector(1), vector(2), vector(1), vector(1, session_id="s-2")])

    assert (count.rows, count.left_out) == (3, {"delivered twice": 1})


# --- Point in time ----------------------------------------------------------------------------------------

VERDICTS = st.builds(
    verdict,
    st.integers(T0, T0 + 40),
    st.sampled_from(sorted(MEANING)),
    session_id=st.sampled_from(["s-1", "s-2"]),
    decision_id=st.sampled_from([None, "d-1", "d-2"]),
)
VECTORS = st.tuples(st.integers(T0, T0 + 40), st.sampled_from(["s-1", "s-2"]))


@given(st.lists(VERDICTS, max_size=8), VECTORS, st.none() | st.integers(T0, T0 + 40), st.integers(0, 40))
def test_a_label_is_the_last_word_on_a_question_that_was_asked_after_the_vector(
    said: list[SessionFeedback], scored: tuple[int, str], as_of: int | None, reach: int
) -> None:
    scored_at, session_id = scored

    found = Labels(said, as_of, reach).of(("acme", session_id), scored_at)

    known = [one for one in said if as_of is None or one.occurred_at <= as_of]
    known = sorted((one for one in known if one.session_id == session_id), key=lambda one: one.occurred_at)
    best = None
    for question in dict.fromkeys(one.decision_id for one in known):
        words = [one for one in known if one.decision_id == question]
        asked_in_time = scored_at <= words[0].occurred_at <= scored_at + reach
        if asked_in_time and (best is None or words[-1].occurred_at > best.occurred_at):
            best = words[-1]
    assert found == (
        None if best is None else Label(best.verdict, best.occurred_at, best.reported_by, best.decision_id)
    )


@settings(max_examples=40)
@given(st.lists(VERDICTS, max_size=8), st.lists(VECTORS, min_size=1, max_size=8), st.integers(T0, T0 + 40))
def test_an_export_of_the_past_knows_nothing_of_what_came_after_it(
    tmp_path_factory: pytest.TempPathFactory,
    said: list[SessionFeedback],
    scored: list[tuple[int, str]],
    as_of: int,
) -> None:
    folder = tmp_path_factory.mktemp("export")
    told = [vector(n, at, session_id=session) for n, (at, session) in enumerate(scored)]
    told.append(vector(99, T0, session_id="s-3"))  # that there is something

    exported(folder / "past", told, *said, as_of=as_of)
    then = [one for one in said if one.occurred_at <= as_of]
    exported(folder / "then", [one for one in told if one["scored_at"] <= as_of], *then, as_of=as_of)

    past = back(folder / "past")
    assert (past.scored_at <= as_of).all()
    assert (past.label_at <= as_of).all()
    assert ((past.label_at == 0) | (past.label_at >= past.scored_at)).all()
    with_label = {name: value for name, value in files(folder / "past").items() if name != MANIFEST}
    assert with_label == {name: value for name, value in files(folder / "then").items() if name != MANIFEST}


def test_a_verdict_that_was_corrected_counts_until_it_was(tmp_path: Path) -> None:
    said = [
        verdict(T0 + HOUR, "true_positive", decision_id="d-1"),
        verdict(T0 + 30 * DAY, "false_positive", decision_id="d-1"),
    ]
    words = []
    for name, as_of in (("before", T0 + DAY), ("after", T0 + 30 * DAY), ("now", None)):
        exported(tmp_path / name, [vector()], *said, as_of=as_of)
        row = back(tmp_path / name)
        words.append((row.verdict.tolist(), row.label.tolist()))

    assert words == [(["true_positive"], [1]), (["false_positive"], [0]), (["false_positive"], [0])]


def test_a_verdict_says_nothing_of_what_was_scored_after_it_or_long_before(tmp_path: Path) -> None:
    told = [vector(1, T0), vector(2, T0 + 8 * DAY), vector(3, T0 + 8 * DAY + 2)]

    exported(tmp_path / "out", told, verdict(T0 + 8 * DAY + 1))

    assert back(tmp_path / "out").label.tolist() == [-1, 1, -1]


# --- All of it or nothing ---------------------------------------------------------------------------------


def test_memory_is_bounded_by_the_rows_of_a_part_however_many_days_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PART_ROWS", 10)
    most, made = 0, 0
    with exporting(
        tmp_path / "out", Asked(), Labels((), None, 0), Truths(), detector=NoDetector(), low_share=1.0
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
            tmp_path / "out", Asked(), Labels((), None, 0), Truths(), detector=NoDetector(), low_share=1.0
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

    assert str(refused.value) == (
        f"{tmp_path / 'out'} is not empty: name a folder that is not there yet, or remove it"
    )
    assert files(tmp_path / "out") == before


def test_vectors_of_another_feature_set_are_put_apart_and_said_so(tmp_path: Path) -> None:
    count = exported(tmp_path / "out", [vector(1), vector(2, feature_set="0123", values={"x": 1.0})])

    assert back(tmp_path / "out").event_id.tolist() == ["e-1"]
    assert sentences(count) == [
        (
            f"1 vectors of feature set 0123 are left out, this is {FEATURE_SET}: sets do not mix; "
            "export them with the version that scored them"
        )
    ]
    with pytest.raises(RecordingError) as refused:
        exported(tmp_path / "none", [vector(2, feature_set="0123")])
    assert str(refused.value) == "there is nothing to export (1 of feature set 0123)"
    assert not (tmp_path / "none").exists()


def test_what_is_no_vector_is_counted_and_the_first_is_told(tmp_path: Path) -> None:
    count = exported(tmp_path / "out", [vector(1), {"session_id": 5}, {}])

    assert count.left_out == {"unreadable": 2}
    (sentence,) = sentences(count)
    assert sentence.startswith("2 records are no vectors, the first: ")
    assert "session_id" in sentence


# --- Read again -------------------------------------------------------------------------------------------


def test_files_of_another_feature_set_or_none_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError) as none:
        back(tmp_path)
    assert str(none.value) == (
        f"{tmp_path} holds no export: expected {parquet.PATTERN}, as `session-risk export` writes"
    )
    path = tmp_path / "date=2026-03-02" / "part-0000.parquet"
    path.parent.mkdir()
    path.write_bytes(b"PAR1")
    with pytest.raises(RecordingError, match="no Parquet file"):
        back(tmp_path)

    foreign = pa.table({"x": [1]}).replace_schema_metadata({parquet.SET: b"0123"})
    pq.write_table(foreign, path)
    with pytest.raises(RecordingError) as other:
        back(tmp_path)
    assert str(other.value) == (
        f"{path}: holds vectors of feature set 0123, this is {FEATURE_SET}: export again what was scored "
        "with these features"
    )


def test_an_export_tells_how_many_rows_it_has_and_how_they_were_drawn(tmp_path: Path) -> None:
    exported(tmp_path / "out", [vector(n, T0 + n * HOUR) for n in range(50)])

    assert parquet.is_export(tmp_path / "out")
    assert not parquet.is_export(tmp_path)
    assert (parquet.rows(tmp_path / "out"), parquet.low_share(tmp_path / "out")) == (50, 0.5)
    assert [len(part) for part in parquet.read(tmp_path / "out", 20)] == [20, 4, 20, 4, 2]


# --- The command ------------------------------------------------------------------------------------------


def _run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["export", *map(str, arguments), "--json"])


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """What a replay wrote, and the verdicts beside it."""
    folder = tmp_path / "said"
    folder.mkdir()
    lines = [json.dumps(vector(n, T0 + n, session_id=f"s-{n % 2}")) for n in range(20)]
    (folder / f"{SESSION_FEATURES}.jsonl").write_text("\n".join(lines), "utf-8")
    word = verdict(T0 + HOUR, session_id="s-1").model_dump_json(exclude_none=True)
    (folder / f"{SESSION_FEEDBACK}.jsonl").write_text(word + "\nno verdict\n", "utf-8")
    return folder


def test_an_export_of_files_tells_what_it_did(said: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty folder is as good as none
    done = _run("--from", said, "--out", tmp_path / "out", "--until", "2026-03-02T01:00:00+01:00")
    later = _run("--from", said, "--out", tmp_path / "out", "--until", "2026-03-02T00:30")

    assert done.exit_code == 2
    assert "there is nothing to export (20 from --until on)" in done.stderr
    assert json.loads(later.stdout) == {
        "out": str(tmp_path / "out"),
        "rows": 20,
        "labels": {"none": 10, "true_positive": 10},
        "left_out": {},
        "other_feature_sets": {},
    }
    assert later.stderr.splitlines() == [
        (
            "session-risk: 20 vectors were scored under policy default@1, which is not at hand: that it "
            "logged the share 0.002 of LOW is assumed; name another with --low-share"
        ),
        "session-risk: 1 verdicts could not be read",
    ]


def test_an_export_of_kafka_has_the_same_rows(
    said: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedBroker() as broker:
        broker.create([SESSION_FEATURES, SESSION_FEEDBACK])
        records = [
            (topic, b"s-1", line.encode())
            for topic in (SESSION_FEATURES, SESSION_FEEDBACK)
            for line in (said / f"{topic}.jsonl").read_text("utf-8").splitlines()
        ]
        asyncio.run(produce(Connection(broker.bootstrap), records))
        monkeypatch.setenv("SESSION_RISK_BROKER", broker.bootstrap)
        done = _run("--out", tmp_path / "kafka")
    assert done.exit_code == 0, done.output

    _run("--from", said, "--out", tmp_path / "files")
    assert files(tmp_path / "kafka") == files(tmp_path / "files")


def test_a_time_that_is_none_is_refused_with_how_to_write_it(said: Path, tmp_path: Path) -> None:
    done = _run("--from", said, "--out", tmp_path / "out", "--since", "yesterday")

    assert done.exit_code == 2
    assert "'yesterday' is no time: write 2026-03-02 or 2026-03-02T14:30:00+01:00" in done.stderr


def test_a_model_that_cannot_be_used_does_not_keep_its_successor_from_being_trained(
    said: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "default").mkdir(parents=True)
    monkeypatch.setenv("SESSION_RISK_MODEL_DIR", str(tmp_path / "models"))

    done = _run("--from", said, "--out", tmp_path / "out")

    assert done.exit_code == 0
    assert done.stderr.startswith(
        f"session-risk: scores are left out: {tmp_path / 'models' / 'default'}: no "
    )
    assert len(back(tmp_path / "out")) == 20
