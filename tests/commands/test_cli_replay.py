"""`session-risk replay`: the same summary as text and as JSON, with and without ground truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.offline.replay.decision_log import OUTPUT_TOPICS
from pipeline.offline.replay.recording import write
from pipeline.offline.scenarios.playback import in_order
from pipeline.offline.scenarios.scenario import find_directory, load
from pipeline.sources.ground_truth import Truth
from tests.support.command_line import files_in, inputs_of, invoked, json_output_of, recording, replayed
from tests.support.samples import T0

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
    levels = [line["level"] for line in lines if not _repeats(line, lines)]
    assert output["decisions"] == {level: levels.count(level) for level in ("LOW", "MEDIUM", "HIGH")}
    assert output["decisions_repeated"] == len(lines) - len(levels) > 0
    assert output["events"] == sum(len(p.read_bytes().splitlines()) for p in inputs_of(recording))
    assert {"attack", "benign"} == {row["label"] for row in output["families"]}


def _repeats(decision: Any, decisions: list[Any]) -> bool:
    """Whether *decision* is the same as the one before it of its session."""

    def statement(line: Any) -> Any:
        reasons = sorted(reason["detection"] for reason in line["reasons"])
        return line["level"], line["action"], line.get("suppressed"), reasons

    session = [line for line in decisions if line["session_id"] == decision["session_id"]]
    place = next(index for index, line in enumerate(session) if line is decision)
    return place > 0 and statement(session[place - 1]) == statement(decision)


def test_a_recording_without_truth_is_replayed_without_families(recording: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in inputs_of(recording):
        (plain / path.name).symlink_to(path)

    output = json_output_of("replay", plain, "--out", tmp_path / "out")

    assert "families" not in output
    assert "false_revocations" not in output


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """Ana is challenged, as her session moves to an unknown network; she goes on calling, and calls an hour later."""
    return _moved(tmp_path / "moved", until_s=1_800)


def _moved(folder: Path, until_s: int) -> Path:
    story = load(find_directory() / "d-network-moved-step-up-missed.toml", T0)
    events = [timed for timed in in_order(story.events) if timed[1]["occurred_at"] <= T0 + until_s * 1000]
    topic, last = next((topic, event) for topic, event in reversed(events) if event.get("session_id") == "ana")
    later = {**last, "event_id": "much-later", "occurred_at": last["occurred_at"] + 3_600_000}
    honest = Truth(tenant="default", session_id="", label="benign", family="travel", started_at=T0, ended_at=T0 + 1)
    with write(folder) as writer:
        for name, event in [*events, (topic, later)]:
            writer.event(name, event)
        for session_id in {event["session_id"] for _, event in events if "session_id" in event}:
            writer.truth(replace(honest, session_id=session_id))
    return folder


def _played(recording: Path, name: str, *options: str) -> tuple[Any, dict[str, bytes]]:
    folder = recording.parent / name
    return json_output_of("replay", recording, "--out", folder, *options), files_in(folder)


def test_an_honest_person_answers_and_is_not_revoked(moved: Path) -> None:
    inputs = files_in(moved)
    nobody, unanswered = _played(moved, "nobody")
    away, same = _played(moved, "away", "--answers", "honest", "--answered-share", "0")
    ana, answered = _played(moved, "ana", "--answers", "honest", "--answered-share", "1")

    commands = ("answers", "challenges", "challenges_answered", "revocations", "revocations_unanswered")
    assert [nobody[name] for name in commands] == ["none", 1, 0, 1, 1]
    assert [away[name] for name in commands] == ["honest", 1, 0, 1, 1]
    assert [ana[name] for name in commands] == ["honest", 1, 1, 0, 0]
    assert [nobody[f"false_{name}"] for name in ("revocations", "revocations_unanswered")] == [1, 1]
    assert unanswered == same != answered
    assert _played(moved, "again", "--answers", "honest", "--answered-share", "1")[1] == answered
    assert files_in(moved) == inputs


def test_an_answer_comes_before_the_next_record_even_if_that_is_an_hour_later(tmp_path: Path) -> None:
    quiet = _moved(tmp_path / "quiet", until_s=1_200)  # the call from the cafe is the last but one of Ana's

    output, files = _played(quiet, "out", "--answers", "honest", "--answered-share", "1")

    decisions = [json.loads(line) for line in files["session-risk.jsonl"].splitlines()]
    times = [(line["occurred_at"] - T0) / 1000 for line in decisions if line["session_id"] == "ana"]
    assert output["challenges_answered"] == 1
    assert times == sorted(times)
    assert 1_210 <= next(time for time in times if time > 1_200) <= 1_290


def test_an_intruder_does_not_answer(moved: Path) -> None:
    truth = moved / "truth.jsonl"
    rows = [{**json.loads(line), "label": "attack"} for line in truth.read_text("utf-8").splitlines()]
    truth.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")

    output, _ = _played(moved, "intruder", "--answers", "honest", "--answered-share", "1")

    assert (output["challenges"], output["challenges_answered"], output["revocations"]) == (1, 0, 1)


def test_answers_need_a_truth_and_say_so(recording: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in inputs_of(recording):
        (plain / path.name).symlink_to(path)

    unlabelled = invoked("replay", plain, "--out", tmp_path / "out", "--answers", "honest")
    nobody = invoked("replay", recording, "--out", tmp_path / "out", "--answered-share", "0.5")
    topics = invoked("replay", "--from-topics", "--out", tmp_path / "out", "--answers", "honest")

    assert [done.exit_code for done in (unlabelled, nobody, topics)] == [2, 2, 2]
    assert f"{plain} is not labelled: --answers honest needs a truth.jsonl" in unlabelled.stderr
    assert "--answered-share needs --answers honest" in nobody.stderr
    assert "--answers honest needs a RECORDING with a truth.jsonl" in topics.stderr
    assert not (tmp_path / "out").exists()
