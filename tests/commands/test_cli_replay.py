"""`session-risk replay`: people and programs are told the same, of a recording with and without truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.offline.replay.decision_log import OUTPUT_TOPICS
from tests.support.command_line import files_in, inputs_of, invoked, recording, replayed, told_by

__all__ = ["recording", "replayed"]  # fixtures


def test_a_replay_tells_people_what_it_tells_a_program_and_says_the_same_bytes_again(
    recording: Path, replayed: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, details = replayed

    shown = invoked("replay", recording, "--out", tmp_path / "again").stdout

    assert f"{details['events']:,} events in" in shown
    assert f"policy {details['policy']} and model {details['model']}" in shown
    assert all(row["family"] in shown for row in details["families"])
    assert max(map(len, shown.splitlines())) <= 100 + 2 * len(str(tmp_path))
    assert files_in(tmp_path / "again") == files_in(folder)


def test_a_replay_is_told_as_it_was_said(recording: Path, replayed: tuple[Path, Any]) -> None:
    folder, details = replayed

    files = files_in(folder)
    assert set(files) <= {f"{topic}.jsonl" for topic in OUTPUT_TOPICS}
    lines = [json.loads(line) for line in files["session-risk.jsonl"].splitlines()]
    levels = [line["level"] for line in lines]
    assert details["decisions"] == {level: levels.count(level) for level in ("LOW", "MEDIUM", "HIGH")}
    assert details["events"] == sum(len(p.read_bytes().splitlines()) for p in inputs_of(recording))
    assert {"attack", "benign"} == {row["label"] for row in details["families"]}


def test_a_recording_without_truth_is_replayed_without_families(recording: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in inputs_of(recording):
        (plain / path.name).symlink_to(path)

    details = told_by("replay", plain, "--out", tmp_path / "out")

    assert "families" not in details
    assert "false_revocations" not in details
