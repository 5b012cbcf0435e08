"""The file of keys of pseudonyms, and the commands that read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.offline.replay.recording import write
from pipeline.offline.scenarios.playback import stories
from pipeline.offline.scenarios.scenario import find_directory
from pipeline.processing.pseudonyms import BadKeysError, read_keys
from schemas.topics import SESSION_REVOCATIONS, SESSION_RISK
from tests.support.pseudonym_keys import OLDER, ONE, SECRET, TWO
from tests.support.samples import T0


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "keys"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_first_key_is_in_use_and_with_the_others_what_was_said_before_is_found(tmp_path: Path) -> None:
    before = read_keys(_file(tmp_path, f"k1 {SECRET}"))
    after = read_keys(_file(tmp_path, "# since March", f"k2 {OLDER}", "", f"k1  {SECRET}"))

    assert after.of("device_id", "acme", "d-1") == TWO.of("device_id", "acme", "d-1")
    assert after.of_each_key("device_id", "acme", "d-1") == {
        "k2": TWO.of("device_id", "acme", "d-1"),
        "k1": before.of("device_id", "acme", "d-1"),
    }


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], ": holds no key; a line is an id and a secret, as `openssl rand -hex 32` gives"),
        ([SECRET], ", line 1: a key is two words, its id and its secret"),
        (["", f"k1 {SECRET} {OLDER}"], ", line 2: a key is two words, its id and its secret"),
        ([f"k:1 {SECRET}"], ", line 1: a key's id is 1 to 16 letters, digits, _ or -"),
        ([f"k1 {SECRET[:31]}"], ", line 1: the secret is too short; take 32 or more random characters"),
        (
            [f"k1 {SECRET}", f"k1 {OLDER}"],
            ", line 2: an earlier line has a key of this id; give every key one of its own",
        ),
    ],
)
def test_what_is_wrong_with_keys_is_said_without_them(
    tmp_path: Path, lines: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, *lines)
    with pytest.raises(BadKeysError) as refused:
        read_keys(path)
    assert str(refused.value) == f"{path}{complaint}"

    monkeypatch.setenv("SESSION_RISK_PSEUDONYM_KEY_FILE", str(path))
    for command in (
        ["worker"],
        ["pseudonym", "ana"],
        ["replay", str(tmp_path), "--out", str(tmp_path / "out")],
    ):
        done = CliRunner().invoke(main, command)
        assert (done.exit_code, done.stderr) == (2, f"session-risk: {path}{complaint}\n")


def test_who_may_read_the_keys_is_told_a_pseudonym_to_search_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, f"k2 {OLDER}", f"k1 {SECRET}")
    monkeypatch.setenv("SESSION_RISK_PSEUDONYM_KEY_FILE", str(path))

    done = CliRunner().invoke(main, ["pseudonym", "192.0.2.7", "--of", "ip", "--tenant", "acme", "--json"])
    shown = CliRunner().invoke(main, ["pseudonym", "ana"])

    assert (done.exit_code, shown.exit_code) == (0, 0)
    assert json.loads(done.stdout) == [
        {"key": "k2", "in_use": True, "pseudonym": TWO.of("ip", "acme", "192.0.2.7")},
        {"key": "k1", "in_use": False, "pseudonym": ONE.of("ip", "acme", "192.0.2.7")},
    ]
    assert ONE.of("principal_id", "default", "ana") in shown.stdout
    assert SECRET not in shown.output + done.output


def test_without_keys_names_leave_as_they_are_and_a_search_says_so() -> None:
    done = CliRunner().invoke(main, ["pseudonym", "ana"])

    assert done.exit_code == 2
    assert "names are not replaced: SESSION_RISK_PSEUDONYM_KEY_FILE is not set" in done.stderr


def test_a_replay_writes_pseudonyms_where_a_worker_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_PSEUDONYM_KEY_FILE", str(_file(tmp_path, f"k1 {SECRET}")))
    story = next(story for story in stories(find_directory(), T0) if story.name.startswith("a-phone-jailbroken"))
    with write(tmp_path / "in") as writer:
        for topic, event in story.events:
            writer.event(topic, event)

    done = CliRunner().invoke(main, ["replay", str(tmp_path / "in"), "--out", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    (decision, *_) = (tmp_path / "out" / f"{SESSION_RISK}.jsonl").read_bytes().splitlines()
    (command, *_) = (tmp_path / "out" / f"{SESSION_REVOCATIONS}.jsonl").read_bytes().splitlines()
    subject = json.loads(command)
    assert json.loads(decision)["principal_id"] == ONE.of("principal_id", subject["tenant"], subject["principal_id"])
