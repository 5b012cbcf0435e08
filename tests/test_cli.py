"""The command line: every command answers, and what goes wrong is one sentence and an exit code."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import pytest
from click.testing import CliRunner, Result

from models.detectors.trained import METHOD
from pipeline import cli
from pipeline.policy import fitted
from pipeline.recorded import OUTPUT_TOPICS
from pipeline.recording import Truth, write
from pipeline.scorecard import Scorecard
from pipeline.settings_table import table
from pipeline.simulate import simulate
from pipeline.stage import Message
from schemas.decode import encode
from schemas.export import COMMITTED, documents
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK, SESSION_SHADOW, TOPICS

ROOT = Path(__file__).parent.parent
HERE = {**os.environ, "PYTHONPATH": str(ROOT)}
NOWHERE = "127.0.0.1:1"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(one) for one in arguments])


def _told(*arguments: str | Path) -> Any:
    done = _run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled recording of a small hour."""
    folder = tmp_path_factory.mktemp("cli") / "recording"
    simulation = simulate(3, 1.5, 40, attack_share=0.5)
    with write(folder) as writer:
        for topic, event in simulation:
            writer.event(topic, event)
        for row in simulation.truth:
            writer.truth(row)
    return folder


@pytest.fixture(scope="module")
def model(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model trained on it, and what was told of that."""
    folder = tmp_path_factory.mktemp("models") / "small"
    return folder, _told("train", recording, "--out", folder, "--name", "small")


@pytest.fixture(scope="module")
def replayed(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """What a replay of it said, and what was told of that."""
    folder = tmp_path_factory.mktemp("replays") / "out"
    return folder, _told("replay", recording, "--out", folder)


# --- All commands ---


def _walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner, found in command.commands.items():
            yield from _walk(f"{name} {inner}".strip(), found)


EVERY_COMMAND = dict(_walk("", cli.main))


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_a_command_and_each_of_its_options_is_told_in_a_sentence(name: str) -> None:
    done = _run(*name.split(), "--help")

    assert done.exit_code == 0
    assert (EVERY_COMMAND[name].help or "").split("\n\n")[0].strip().endswith((".", "marked."))
    for parameter in EVERY_COMMAND[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_every_module_of_a_command_is_listed_with_the_sentence_it_has_itself() -> None:
    modules = {path.stem for path in (ROOT / "pipeline" / "commands").glob("*.py")} - {"__init__"}

    assert modules == set(cli.COMMANDS)
    for name, text in cli.COMMANDS.items():
        command = import_module(f"pipeline.commands.{name}").command
        assert (command.name, command.short_help) == (name, text)


def test_help_lists_every_command_in_order() -> None:
    lines = [
        line.split(maxsplit=1) for line in _run("--help").stdout.partition("Commands:\n")[2].splitlines()
    ]

    assert {words[0]: words[1] for words in lines if words} == cli.COMMANDS
    assert [words[0] for words in lines if words] == list(cli.COMMANDS)


def test_help_loads_nothing_that_takes_time() -> None:
    code = (
        "import sys\nfrom pipeline.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'faust', 'sklearn', 'numpy', 'aiokafka', 'pydantic', 'rich'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=HERE, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "loaded []"


# --- What goes wrong ---


@pytest.mark.parametrize("name", cli.EXIT_CODES)
def test_an_expected_error_exists_and_keeps_its_code(name: str) -> None:
    module, _, error = name.rpartition(".")
    kind = getattr(import_module(module), error)

    made = kind.__new__(kind)
    assert cli.exit_code(made) == cli.EXIT_CODES[name]


def test_an_error_nobody_expects_is_shown_as_the_bug_it_is() -> None:
    assert cli.exit_code(ZeroDivisionError()) is None

    def run() -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli._exit_code_of(run)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(98, "metrics cannot listen on here:1"), "metrics cannot listen on here:1"),
        (OSError(28, "No space left on device", "out/x"), "out/x: No space left on device"),
        (OSError("a sentence"), "a sentence"),
        (ValueError("a sentence"), "a sentence"),
    ],
)
def test_an_error_is_told_without_its_number(error: Exception, text: str) -> None:
    assert cli.sentence(error) == text


WRONG: tuple[tuple[dict[str, str], str, int, str], ...] = (
    ({}, "replay {tmp}/absent --out {tmp}/o", 2, "does not exist"),
    ({}, "replay {tmp} --out {tmp}/o", 2, "holds no recording"),
    ({}, "replay {rec} --out {rec}", 2, "already holds"),
    ({}, "replay {rec} --out {tmp}/o --policy {tmp}/absent.toml", 2, "No such file"),
    ({}, "replay {rec} --out {tmp}/o --model {tmp}", 2, "no readable model"),
    ({}, "replay {rec} --out {tmp}/o --challenger {tmp}", 2, "no readable model"),
    ({}, "replay --out {tmp}/o", 2, "name a RECORDING, or --from-topics"),
    ({}, "replay {rec} --from-topics --out {tmp}/o", 2, "name a RECORDING, or --from-topics"),
    ({}, "replay {rec} --since 1h --out {tmp}/o", 2, "--since goes with --from-topics"),
    ({}, "replay --from-topics --since lately --out {tmp}/o", 2, "'lately' is no time: write a span"),
    ({}, "replay --from-topics --out {tmp}/o", 3, "no broker answers"),
    ({}, "diff {tmp} {tmp}/absent", 2, "does not exist"),
    ({}, "diff {tmp} {tmp}", 2, "holds no replay's output"),
    ({}, "feedback d-1 wrong", 2, "'wrong' is not one of"),
    ({}, "feedback d-1 unsure --expires 1h", 2, "only a false_positive expires"),
    ({}, "feedback d-1 false_positive --expires 2020-01-01", 2, "is over already"),
    ({}, "feedback d-1 false_positive", 3, "no broker answers"),
    ({}, "train {tmp}", 2, "holds no recording"),
    ({}, "train {rec} --test {tmp}", 2, "holds no recording"),
    ({}, "evaluate {tmp} {rec}", 2, "no readable model"),
    ({}, "compare {tmp} {tmp} --on {rec}", 2, "no readable model"),
    ({}, "drift {rec} --model {tmp}", 2, "no readable model"),
    ({}, "export --from {tmp} --out {tmp}/o", 2, "holds no recording"),
    ({}, "export --out {tmp}/o", 3, "no broker answers"),
    ({}, "convert cloudtrail {tmp}/absent.json --out {tmp}/o", 2, "does not exist"),
    ({}, "convert cloudtrail {root}/README.md --out {tmp}/o", 2, "README.md"),
    ({}, "policy check {root}/pyproject.toml", 2, "pyproject.toml: "),
    ({}, "simulate --out {tmp}/o --hours 0", 2, "--hours"),
    ({}, "simulate --out {tmp}/o --families roaming,mass_reed", 2, "did you mean mass_read?"),
    ({}, "explain", 2, "DECISION_ID"),
    ({}, "frobnicate", 2, "No such command 'frobnicate'"),
    ({"SESSION_RISK_PARTITIONS": "some"}, "settings", 2, "SESSION_RISK_PARTITIONS=some"),
    ({"SESSION_RISK_BORKER": "x"}, "worker", 2, "is SESSION_RISK_BROKER meant?"),
    ({"SESSION_RISK_EMBEDDED": "true"}, "worker --workers 2", 2, "use --workers 1"),
    ({"SESSION_RISK_EMBEDDED": "true"}, "topics check", 2, "unset SESSION_RISK_EMBEDDED"),
    ({}, "worker", 3, "no broker answers"),
    ({}, "worker --workers 2", 3, "no broker answers"),
    ({}, "topics create", 3, "no broker answers"),
    ({}, "topics check", 3, "no broker answers"),
    ({}, "model promote new", 3, "no broker answers"),
    ({}, "promote new", 3, "no broker answers"),
    ({}, "rollback", 3, "no broker answers"),
    ({}, "model mode observe", 3, "no broker answers"),
    ({}, "demo --broker 127.0.0.1:1", 3, "no broker answers"),
)


@pytest.mark.parametrize(("settings", "line", "code", "part"), WRONG, ids=[row[1] for row in WRONG])
def test_what_is_wrong_is_said_in_words_and_by_the_exit_code(
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    line: str,
    code: int,
    part: str,
) -> None:
    for name, value in {"SESSION_RISK_BROKER": NOWHERE, **settings}.items():
        monkeypatch.setenv(name, value)

    done = _run(*line.format(tmp=tmp_path, rec=recording, root=ROOT).split())

    assert done.exit_code == code, done.output
    assert part in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.output
    assert done.stdout == ""


def test_what_is_interrupted_leaves_nothing_behind_and_ends_with_130(tmp_path: Path) -> None:
    out = tmp_path / "out"
    endless = [
        "simulate",
        "--hours",
        "1000",
        "--principals",
        "300",
        "--out",
        str(out),
    ]  # for minutes, at least
    command = [sys.executable, "-m", "pipeline.cli", *endless]
    with subprocess.Popen(command, env=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not (out.is_dir() and any(out.iterdir())):
            assert process.poll() is None and time.monotonic() < deadline  # noqa: PT018
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)

    assert (process.returncode, stdout) == (130, b"")
    assert b"Traceback" not in stderr
    assert list(out.iterdir()) == []


def test_a_recording_that_turns_out_damaged_leaves_nothing_behind(recording: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.mkdir()
    packed = gzip.compress((recording / "api-calls.jsonl").read_bytes())
    (cut / "api-calls.jsonl.gz").write_bytes(packed[: len(packed) // 2])

    done = _run("replay", cut, "--out", tmp_path / "out")

    assert done.exit_code == 2
    assert "cannot be read any further" in done.stderr
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_worker_that_is_told_to_stop_ends_in_order(tmp_path: Path) -> None:
    settings = {"SESSION_RISK_EMBEDDED": "true", "SESSION_RISK_METRICS_PORT": str(_free_port())}
    command = [sys.executable, "-m", "pipeline.cli", "worker"]
    with subprocess.Popen(
        command, env=HERE | settings, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as worker:
        assert worker.stderr is not None
        said = []
        for line in worker.stderr:
            said.append(line)
            if "decides" in line:
                break
        with urlopen(f"http://127.0.0.1:{settings['SESSION_RISK_METRICS_PORT']}/metrics") as answer:
            metrics = answer.read().decode()
        worker.send_signal(signal.SIGTERM)
        said += worker.stderr.readlines()
        assert worker.wait(timeout=30) == 0, "".join(said)

    assert re.search(
        r'^session_risk_policy_info\{mode="enforce",policy="default@\w+"\} 1.0$', metrics, re.MULTILINE
    )
    assert "Traceback" not in "".join(said)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- What comes out ---


def test_a_replay_tells_people_what_it_tells_a_program_and_says_the_same_bytes_again(
    recording: Path, replayed: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, told = replayed

    shown = _run("replay", recording, "--out", tmp_path / "again").stdout

    assert f"{told['events']:,} events in" in shown
    assert f"policy {told['policy']} and model {told['model']}" in shown
    assert all(row["family"] in shown for row in told["families"])
    assert max(map(len, shown.splitlines())) <= 100 + 2 * len(str(tmp_path))
    assert _bytes(tmp_path / "again") == _bytes(folder)


def test_a_replay_is_told_as_it_was_said(recording: Path, replayed: tuple[Path, Any]) -> None:
    folder, told = replayed

    files = _bytes(folder)
    assert set(files) <= {f"{topic}.jsonl" for topic in OUTPUT_TOPICS}
    lines = [json.loads(line) for line in files["session-risk.jsonl"].splitlines()]
    levels = [line["level"] for line in lines]
    assert told["decisions"] == {level: levels.count(level) for level in ("LOW", "MEDIUM", "HIGH")}
    assert told["events"] == sum(len(p.read_bytes().splitlines()) for p in _inputs(recording))
    assert {"attack", "benign"} == {row["label"] for row in told["families"]}


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _inputs(recording: Path) -> list[Path]:
    return [path for path in recording.glob("*.jsonl") if path.name != "truth.jsonl"]


def test_a_recording_without_truth_is_replayed_without_families(recording: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in _inputs(recording):
        (plain / path.name).symlink_to(path)

    told = _told("replay", plain, "--out", tmp_path / "out")

    assert "families" not in told
    assert "false_revocations" not in told


def test_a_policy_and_a_model_that_are_named_decide(
    recording: Path, model: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, trained = model
    policy = tmp_path / "mine.toml"
    policy.write_text('name = "mine"\nmode = "observe"\n', encoding="utf-8")

    told = _told("replay", recording, "--out", tmp_path / "out", "--policy", policy, "--model", folder)

    assert told["policy"].startswith("mine@")
    assert told["model"] == trained["id"]
    assert (told["revocations"], told["challenges"]) == (0, 0)


def test_a_challenger_changes_no_decision_and_its_word_is_recorded(
    recording: Path, model: tuple[Path, Any], replayed: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, trained = model
    out = tmp_path / "out"

    _told("replay", recording, "--out", out, "--challenger", folder)

    said, alone = _bytes(out), _bytes(replayed[0])
    shadows = [json.loads(line) for line in said.pop(f"{SESSION_SHADOW}.jsonl").splitlines()]
    assert said == alone
    assert {one["challenger"]["model"] for one in shadows} == {trained["id"]}
    assert {one["champion"]["model"] for one in shadows} == {replayed[1]["model"]}


def test_training_again_gives_the_same_bytes_and_leaves_nothing_of_an_older_model(
    recording: Path, model: tuple[Path, Any], tmp_path: Path
) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "forest.npz").write_bytes(b"of an older version")

    _told("train", recording, "--out", tmp_path / "again", "--name", "small")

    assert _bytes(tmp_path / "again") == _bytes(model[0])
    assert [name for name in sorted(_bytes(model[0])) if not name.endswith(".png")] == [
        "card.json",
        "card.md",
        "detector.npz",
        "reference.npz",
        "roles.npz",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]


def test_a_model_is_told_on_its_card_and_learns_nothing_from_attacks(
    recording: Path, model: tuple[Path, Any]
) -> None:
    folder, told = model

    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    truth = [json.loads(line) for line in (recording / "truth.jsonl").read_text("utf-8").splitlines()]
    attacked = {row["session_id"] for row in truth if row["label"] == "attack"}
    assert attacked
    assert card["data"]["attacked_sessions_left_out"] == len(attacked)
    assert card["data"]["rows"] == told["data"]["rows"] > 1_000
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


def test_too_little_to_train_on_is_said_so(tmp_path: Path) -> None:
    _told("simulate", "--out", tmp_path / "little", "--hours", "0.3", "--principals", "8")

    done = _run("train", tmp_path / "little", "--out", tmp_path / "model")

    assert done.exit_code == 2
    assert "training needs at least 1,000 scored vectors" in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_simulation_is_a_labelled_recording_and_the_same_again(tmp_path: Path) -> None:
    told = [
        _told(
            "simulate",
            "--out",
            tmp_path / name,
            "--hours",
            "0.3",
            "--principals",
            "8",
            "--start",
            "2026-05-04",
        )
        for name in ("one", "two")
    ]

    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")
    )
    assert one == two
    assert len(one.pop("truth.jsonl").splitlines()) == told[0]["sessions"]
    assert sum(len(lines.splitlines()) for lines in one.values()) == told[0]["events"]
    first = min(json.loads(lines.splitlines()[0])["occurred_at"] for lines in one.values())
    assert 0 <= first - 1_777_852_800_000 < 600_000


def test_cloudtrail_becomes_a_recording_that_can_be_replayed(tmp_path: Path) -> None:
    logs = ROOT / "tests" / "data" / "cloudtrail"
    told = _told("convert", "cloudtrail", logs / "stratus", logs / "invictus", "--out", tmp_path / "in")

    replayed = _told("replay", tmp_path / "in", "--out", tmp_path / "out")

    assert replayed["events"] == sum(told["converted"].values()) > 20
    assert replayed["dead_letters"] == 0


def test_settings_show_every_setting_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("SECURITY_PROTOCOL", "SASL_SSL"),
        ("SASL_USERNAME", "me"),
        ("SASL_PASSWORD", "s3cret"),
    ):
        monkeypatch.setenv(f"SESSION_RISK_{name}", value)

    rows, shown = _told("settings"), _run("settings").stdout

    assert [row["env"] for row in rows] == [row.env for row in table()]
    values = {row["env"]: row["value"] for row in rows}
    assert values["SESSION_RISK_SASL_USERNAME"] == "me"
    assert "s3cret" not in json.dumps(rows) + shown
    assert max(map(len, shown.splitlines())) <= 100


def test_topics_are_listed_with_a_changelog_for_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_PARTITIONS", "5")

    told = {row["name"]: row["partitions"] for row in _told("topics", "list")}

    changelogs = {
        f"session-risk-{kind}-state-changelog": 5 for kind in ("session", "device", "principal", "network")
    }
    assert told == {topic.name: topic.partitions(5) for topic in TOPICS.values()} | changelogs


def test_the_schemas_that_are_exported_are_those_that_are_committed(tmp_path: Path) -> None:
    done = _run("schemas", "export", "--out", tmp_path / "json")

    assert done.exit_code == 0
    for name in documents():
        assert (tmp_path / "json" / name).read_bytes() == (COMMITTED / name).read_bytes()


def test_a_policy_is_shown_with_what_differs_from_the_default(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("prior = -5.0\n[rules.mass_read]\nenabled = false\n", encoding="utf-8")

    shown = _run("policy", "show", path).stdout
    told = _told("policy", "check", path)

    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0] == f"policy {told['id']}"
    assert [line for line in lines if " not " in line or line.endswith(" added")] == [
        f"prior -5.0 not {fitted()['prior']}",
        "rules.mass_read.enabled false not true",
    ]


# --- The summary of a replay ---


def test_a_family_is_found_only_once_its_attack_is_on() -> None:
    attack = Truth(
        tenant="t", session_id="early", label="attack", family="theft", started_at=1_000, ended_at=9_000
    )
    honest = replace(attack, session_id="honest", label="benign", family="travel")
    others = (replace(attack, session_id=name) for name in ("late", "missed"))
    card = Scorecard.against([attack, *others, honest])

    def say(topic: str, session_id: str, **members: Any) -> None:
        told = {"tenant": "t", "session_id": session_id, **members}
        card.take(Message(topic, session_id.encode(), encode(told)))

    say(SESSION_RISK, "early", level="HIGH", occurred_at=500)
    say(SESSION_RISK, "early", level="LOW", occurred_at=1_500)
    say(SESSION_RISK, "late", level="MEDIUM", occurred_at=3_500)
    say(SESSION_RISK, "late", level="HIGH", occurred_at=5_000)
    say(SESSION_CHALLENGES, "late", challenge_id="c")
    for _ in range(2):
        say(SESSION_REVOCATIONS, "late", revocation_id="r")
    say(SESSION_REVOCATIONS, "honest", revocation_id="h")
    card.take(Message("session-features", b"late", b"{}"))

    assert card.plain() == {
        "decisions": {"LOW": 1, "MEDIUM": 1, "HIGH": 2},
        "revocations": 2,
        "challenges": 1,
        "families": [
            {"family": "theft", "label": "attack", "sessions": 3, "found": 1, "challenged": 1, "revoked": 1}
            | {"delay_s": 2.5},
            {"family": "travel", "label": "benign", "sessions": 1, "found": 0, "challenged": 0, "revoked": 1}
            | {"delay_s": None},
        ],
        "false_revocations": 1,
    }
