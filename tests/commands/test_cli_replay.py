"""`session-risk replay`: the same summary as text and as JSON, with and without ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.offline.replay.decision_log import OUTPUT_TOPICS
from tests.support.command_line import files_in, inputs_of, invoked, json_output_of, recording, replayed

__all__ = ["recording", "replayed"]  # fixtures


def test_a_replay_shows_the_same_as_text_and_as_json_and_repeats_its_bytes(
    recording: Path, replayed: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, output = replayed

    shown = invoked("replay", recording, "--out", tmp_path / "again").stdout

    assert f"{output['events']:,} events in" in shown
    assert f"policy {output['policy']} and model {output['model']}" in shown
    assert all(row["family"] in shown for row in output["families"])
    assert max(map(len, shown.splitlines())) <= 100 + 2 * len(str(tmp_path))
    assert files_in(tmp_path / "again") == files_in(folder)


def test_the_summary_of_a_replay_agrees_with_its_output(recording: Path, replayed: tuple[Path, Any]) -> None:
    folder, output = replayed

    files = files_in(folder)
    assert set(files) <= {f"{topic}.jsonl" for topic in OUTPUT_TOPICS}
    lines = [json.loads(line) for line in files["session-risk.jsonl"].splitlines()]
    levels = [line["level"] for line in lines]
    assert output["decisions"] == {level: levels.count(level) for level in ("LOW", "MEDIUM", "HIGH")}
    assert output["events"] == sum(len(p.read_bytes().splitlines()) for p in inputs_of(recording))
    assert {"attack", "benign"} == {row["label"] for row in output["families"]}


def test_a_recording_without_truth_is_replayed_without_families(recording: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in inputs_of(recording):
        (plain / path.name).symlink_to(path)

    output = json_output_of("replay", plain, "--out", tmp_path / "out")

    assert "families" not in output
    assert "false_revocations" not in output
