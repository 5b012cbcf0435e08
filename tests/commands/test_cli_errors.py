"""An error on the command line is one sentence and an exit code, and leaves nothing behind."""

from __future__ import annotations

import gzip
import re
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from pipeline import cli
from tests.support.command_line import HERE, ROOT, invoked, recording

__all__ = ["recording"]  # a fixture

NOWHERE = "127.0.0.1:1"


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
def test_an_error_is_shown_without_its_number(error: Exception, text: str) -> None:
    assert cli.message_of(error) == text


WRONG: tuple[tuple[dict[str, str], str, int, str], ...] = (
    ({}, "replay {tmp}/absent --out {tmp}/o", 2, "does not exist"),
    ({}, "replay {tmp} --out {tmp}/o", 2, "has no recording"),
    ({}, "replay {rec} --out {rec}", 2, "already has"),
    ({}, "replay {rec} --out {tmp}/o --policy {tmp}/absent.toml", 2, "No such file"),
    ({}, "replay {rec} --out {tmp}/o --model {tmp}", 2, "no readable model"),
    ({}, "replay {rec} --out {tmp}/o --challenger {tmp}", 2, "no readable model"),
    ({}, "replay --out {tmp}/o", 2, "give a RECORDING, or --from-topics"),
    ({}, "replay {rec} --from-topics --out {tmp}/o", 2, "give a RECORDING, or --from-topics"),
    ({}, "replay {rec} --since 1h --out {tmp}/o", 2, "--since needs --from-topics"),
    ({}, "replay --from-topics --since lately --out {tmp}/o", 2, "'lately' is no time: write a span"),
    ({}, "replay --from-topics --out {tmp}/o", 3, "no broker answers"),
    ({}, "diff {tmp} {tmp}/absent", 2, "does not exist"),
    ({}, "diff {tmp} {tmp}", 2, "has no output of a replay"),
    ({}, "feedback d-1 wrong", 2, "'wrong' is not one of"),
    ({}, "feedback d-1 unsure --expires 1h", 2, "only a false_positive expires"),
    ({}, "feedback d-1 false_positive --expires 2020-01-01", 2, "is in the past"),
    ({}, "feedback d-1 false_positive", 3, "no broker answers"),
    ({}, "train {tmp}", 2, "has no recording"),
    ({}, "train {rec} --test {tmp}", 2, "has no recording"),
    ({}, "evaluate {tmp} {rec}", 2, "no readable model"),
    ({}, "compare {tmp} {tmp} --on {rec}", 2, "no readable model"),
    ({}, "drift {rec} --model {tmp}", 2, "no readable model"),
    ({}, "export --from {tmp} --out {tmp}/o", 2, "has no recording"),
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
    ({"SESSION_RISK_EMBEDDED": "true"}, "topics check", 2, "unset SESSION_RISK_EMBEDDED"),
    ({}, "worker", 3, "no broker answers"),
    ({}, "topics create", 3, "no broker answers"),
    ({}, "topics check", 3, "no broker answers"),
    ({}, "model promote new", 2, "model new cannot be loaded, and workers could not either: "),
    ({}, "promote ../default", 2, "'../default' is no name of a model"),
    ({}, "model promote default", 3, "no broker answers"),
    ({}, "promote default", 3, "no broker answers"),
    ({}, "promote default --compare {rec}", 3, "no broker answers"),
    ({}, "promote default --compare {tmp}/absent", 2, "does not exist"),
    ({}, "rollback", 3, "no broker answers"),
    ({}, "model mode observe", 3, "no broker answers"),
    ({}, "demo --broker 127.0.0.1:1", 3, "no broker answers"),
)


@pytest.mark.parametrize(("settings", "line", "code", "part"), WRONG, ids=[row[1] for row in WRONG])
def test_an_error_is_a_sentence_and_an_exit_code(
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

    done = invoked(*line.format(tmp=tmp_path, rec=recording, root=ROOT).split())

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
    # A shell that runs the tests in the background ignores interrupts, and so would the command.
    restored = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, env=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        signal.signal(signal.SIGINT, restored)
        deadline = time.monotonic() + 120  # a machine that is busy starts slowly
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

    done = invoked("replay", cut, "--out", tmp_path / "out")

    assert done.exit_code == 2
    assert "cannot be read further" in done.stderr
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_worker_that_is_stopped_ends_in_order(tmp_path: Path) -> None:
    settings = {"SESSION_RISK_EMBEDDED": "true", "SESSION_RISK_METRICS_PORT": str(_free_port())}
    command = [sys.executable, "-m", "pipeline.cli", "worker"]
    with subprocess.Popen(command, env=HERE | settings, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as worker:
        assert worker.stderr is not None
        lines = []
        for line in worker.stderr:
            lines.append(line)
            if "decides" in line:
                break
        with urlopen(f"http://127.0.0.1:{settings['SESSION_RISK_METRICS_PORT']}/metrics") as answer:
            metrics = answer.read().decode()
        worker.send_signal(signal.SIGTERM)
        lines += worker.stderr.readlines()
        assert worker.wait(timeout=30) == 0, "".join(lines)

    assert re.search(r'^session_risk_policy_info\{mode="enforce",policy="default@\w+"\} 1.0$', metrics, re.MULTILINE)
    assert "Traceback" not in "".join(lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
