"""`session-risk export`: files and Kafka give the same rows, and vectors left out are reported."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import EmbeddedBroker
from schemas.topics import SESSION_FEATURES, SESSION_FEEDBACK
from tests.support.counting_processor import produce
from tests.support.exports import HOUR, back, files, vector, verdict
from tests.support.samples import T0


def _run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["export", *map(str, arguments), "--json"])


@pytest.fixture
def replayed(tmp_path: Path) -> Path:
    """What a replay wrote, and the verdicts beside it."""
    folder = tmp_path / "replayed"
    folder.mkdir()
    lines = [json.dumps(vector(n, T0 + n, session_id=f"s-{n % 2}")) for n in range(20)]
    (folder / f"{SESSION_FEATURES}.jsonl").write_text("\n".join(lines), "utf-8")
    word = verdict(T0 + HOUR, session_id="s-1").model_dump_json(exclude_none=True)
    (folder / f"{SESSION_FEEDBACK}.jsonl").write_text(word + "\nno verdict\n", "utf-8")
    return folder


def test_an_export_of_files_shows_what_it_did(replayed: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty folder may exist
    done = _run("--from", replayed, "--out", tmp_path / "out", "--until", "2026-03-02T01:00:00+01:00")
    later = _run("--from", replayed, "--out", tmp_path / "out", "--until", "2026-03-02T00:30")

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
            "session-risk: 20 vectors were scored with policy default@1, which is not available: it is assumed that it "
            "logged the share 0.002 of LOW; set another with --low-share"
        ),
        "session-risk: 1 verdicts could not be read",
    ]


def test_an_export_of_kafka_has_the_same_rows(replayed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedBroker() as broker:
        broker.create([SESSION_FEATURES, SESSION_FEEDBACK])
        records = [
            (topic, b"s-1", line.encode())
            for topic in (SESSION_FEATURES, SESSION_FEEDBACK)
            for line in (replayed / f"{topic}.jsonl").read_text("utf-8").splitlines()
        ]
        asyncio.run(produce(Connection(broker.bootstrap), records))
        monkeypatch.setenv("SESSION_RISK_BROKER", broker.bootstrap)
        done = _run("--out", tmp_path / "kafka")
    assert done.exit_code == 0, done.output

    _run("--from", replayed, "--out", tmp_path / "files")
    assert files(tmp_path / "kafka") == files(tmp_path / "files")


def test_an_invalid_time_is_refused_with_an_example(replayed: Path, tmp_path: Path) -> None:
    done = _run("--from", replayed, "--out", tmp_path / "out", "--since", "yesterday")

    assert done.exit_code == 2
    assert "'yesterday' is not a time: write 2026-03-02 or 2026-03-02T14:30:00+01:00" in done.stderr


def test_a_model_that_cannot_be_used_does_not_keep_its_successor_from_being_trained(
    replayed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "default").mkdir(parents=True)
    monkeypatch.setenv("SESSION_RISK_MODEL_DIR", str(tmp_path / "models"))

    done = _run("--from", replayed, "--out", tmp_path / "out")

    assert done.exit_code == 0
    assert done.stderr.startswith(f"session-risk: scores are left out: {tmp_path / 'models' / 'default'}: no ")
    assert len(back(tmp_path / "out")) == 20
