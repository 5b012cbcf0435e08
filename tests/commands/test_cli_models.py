"""Models on the command line: training, the card, models for a replay, challengers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.detectors.trained import METHOD
from schemas.topics import SESSION_SHADOW
from tests.support.command_line import files_in, invoked, json_output_of, recording, replayed
from tests.support.exports import files

pytestmark = pytest.mark.slow

__all__ = ["recording", "replayed"]  # fixtures


@pytest.fixture(scope="module")
def model(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model trained on the recording, and the JSON output of the training."""
    folder = tmp_path_factory.mktemp("models") / "small"
    return folder, json_output_of("train", recording, "--out", folder, "--name", "small")


def test_a_policy_and_a_model_that_are_named_decide(recording: Path, model: tuple[Path, Any], tmp_path: Path) -> None:
    folder, trained = model
    policy = tmp_path / "mine.toml"
    policy.write_text('name = "mine"\nmode = "observe"\n', encoding="utf-8")

    output = json_output_of("replay", recording, "--out", tmp_path / "out", "--policy", policy, "--model", folder)

    assert output["policy"].startswith("mine@")
    assert output["model"] == trained["id"]
    assert (output["revocations"], output["challenges"]) == (0, 0)


def test_a_challenger_changes_no_decision_and_its_word_is_recorded(
    recording: Path, model: tuple[Path, Any], replayed: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, trained = model
    out = tmp_path / "out"

    json_output_of("replay", recording, "--out", out, "--challenger", folder)

    by_key, alone = files_in(out), files_in(replayed[0])
    shadows = [json.loads(line) for line in by_key.pop(f"{SESSION_SHADOW}.jsonl").splitlines()]
    assert by_key == alone
    assert {shadow["challenger"]["model"] for shadow in shadows} == {trained["id"]}
    assert {shadow["champion"]["model"] for shadow in shadows} == {replayed[1]["model"]}


def test_training_again_gives_the_same_bytes_and_leaves_nothing_of_an_older_model(
    recording: Path, model: tuple[Path, Any], tmp_path: Path
) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "forest.npz").write_bytes(b"of an older version")

    json_output_of("train", recording, "--out", tmp_path / "again", "--name", "small")

    assert files_in(tmp_path / "again") == files_in(model[0])
    assert [name for name in sorted(files_in(model[0])) if not name.endswith(".png")] == [
        "card.json",
        "card.md",
        "detector.npz",
        "reference.npz",
        "roles.npz",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]


def test_a_card_describes_the_model_which_learns_nothing_from_attacks(recording: Path, model: tuple[Path, Any]) -> None:
    folder, output = model

    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    truth = [json.loads(line) for line in (recording / "truth.jsonl").read_text("utf-8").splitlines()]
    attacked = {row["session_id"] for row in truth if row["label"] == "attack"}
    assert attacked
    assert card["data"]["attacked_sessions_left_out"] == len(attacked)
    assert card["data"]["rows"] == output["data"]["rows"] > 1_000
    assert card["data"]["window"][0].startswith("2026-03-02T00:0")
    assert len(card["thresholds"]) == 3
    assert card["fit"] == {
        "seed": 7,
        "method": METHOD,
        "second_stage": (
            "none: 0 attacked and 0 honest sessions are labelled; the second stage needs 5 and 20, "
            "so the model is trained without it"
        ),
    }


def test_too_little_training_data_is_an_error(tmp_path: Path) -> None:
    json_output_of("simulate", "--out", tmp_path / "little", "--hours", "0.3", "--principals", "8")

    done = invoked("train", tmp_path / "little", "--out", tmp_path / "model")

    assert done.exit_code == 2
    assert "training needs at least 1,000 scored vectors" in done.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_an_export_of_a_recording_has_the_vectors_that_its_replay_logs(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("SESSION_RISK_MODE", mode)
    invoked("replay", recording, "--out", tmp_path / "replayed")

    exported = [
        json_output_of("export", "--from", source, *labels, "--out", tmp_path / name)
        for name, source, labels in (
            ("of-replay", tmp_path / "replayed", ("--recording", recording)),
            ("of-recording", recording, ()),
        )
    ]

    assert exported[0]["rows"] == exported[1]["rows"] > 100
    assert files(tmp_path / "of-replay") == files(tmp_path / "of-recording")
