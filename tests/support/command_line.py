"""The command line as tests call it, a small recording to call it on, and what it wrote."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline import cli
from pipeline.offline.replay.recording import write
from pipeline.offline.simulation import simulate

ROOT = Path(__file__).parent.parent.parent
HERE = {**os.environ, "PYTHONPATH": str(ROOT)}


def invoked(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def json_output_of(*arguments: str | Path) -> Any:
    done = invoked(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled recording of a small hour; it is made once for all files."""
    return _recorded(tmp_path_factory.getbasetemp() / "cli-recording")


@cache
def _recorded(folder: Path) -> Path:
    simulation = simulate(3, 1.5, 40, attack_share=0.5)
    with write(folder) as writer:
        for topic, event in simulation:
            writer.event(topic, event)
        for row in simulation.truth:
            writer.truth(row)
    return folder


@pytest.fixture(scope="module")
def replayed(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """What a replay of it said, and what was told of that; it is played once for all files."""
    return _played(recording, tmp_path_factory.getbasetemp() / "cli-replay")


@cache
def _played(recording: Path, folder: Path) -> tuple[Path, Any]:
    return folder, json_output_of("replay", recording, "--out", folder)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def inputs_of(recording: Path) -> list[Path]:
    return [path for path in recording.glob("*.jsonl") if path.name not in ("truth.jsonl", "sessions.jsonl")]
