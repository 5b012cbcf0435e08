"""The README: short, complete, and without a figure, a file or a command that differs from its source."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from ast import AsyncFunctionDef, ClassDef, FunctionDef, parse
from html import unescape
from pathlib import Path
from runpy import run_path

import pytest

from models.features.table import FEATURES
from pipeline.detections import DETECTIONS
from pipeline.offline.docs import pictures, readme_page
from pipeline.offline.docs.generate import flow
from pipeline.offline.scenarios.playback import stories as played
from pipeline.offline.scenarios.scenario import find_directory
from schemas.events import EVENT_TYPES
from schemas.topics import TOPICS

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BENCHMARKS = " ".join((ROOT / "tests" / "benchmarks" / "README.md").read_text("utf-8").split())
MAX_BYTES = 12_000


def _section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_it_is_read_in_minutes() -> None:
    assert len(README.encode()) <= MAX_BYTES


def test_every_topic_that_others_write_or_read_has_its_row() -> None:
    named = set(re.findall(r"`([a-z-]+)`", _section("What goes in, what comes out")))

    assert named >= {name for name, topic in TOPICS.items() if topic.direction in ("input", "output")}


def test_every_measured_figure_of_speed_is_on_the_page_of_benchmarks() -> None:
    rows = _rows(_section("How fast"))

    assert len(rows) >= 5
    for _, figures in rows:
        for figure in figures.removesuffix(" times as fast").split(", ") if "times" in figures else [figures]:
            assert figure in BENCHMARKS, figure


def test_the_quality_that_is_shown_was_measured_by_the_evaluation() -> None:
    measured = readme_page.evaluation()

    assert {row for row, _ in readme_page.QUALITY} <= set(measured)
    assert all(measured[row][1] in README for row, _ in readme_page.QUALITY)


def test_the_numbers_of_stories_features_and_detections_are_those_there_are() -> None:
    stories = played(find_directory(), readme_page.T)
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

    assert f"[{len(stories)} stories]" in README
    assert f"and {words[sum(story.twin for story in stories)]} of them are honest twins" in " ".join(README.split())
    picture = pictures.FLOW.read_text("utf-8")
    assert f">{len(FEATURES)} features<" in picture
    assert f">{len(DETECTIONS)}<" in picture


def test_every_package_has_its_line() -> None:
    rows = _rows(_section("Where things are"))

    packages = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert {re.match(r"\[(\w+)\]\(pipeline/\1\)", row[0])[1] for row in rows} == packages  # type: ignore[index]
    assert all(row[1] for row in rows)


def test_the_way_of_an_event_goes_through_at_most_thirteen_files_and_names_what_is_in_them() -> None:
    rows = _rows(_section("The way of one event"))

    assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert len(rows) <= 13
    for _, link, text in rows:
        path = link.partition("](")[2].rstrip(")")
        defined = _defined(ROOT / path)
        names = re.findall(r"`([A-Za-z_.]+)`", text)
        assert names, path
        assert set(names) <= defined | {"session-revocations"}, path


def _defined(path: Path) -> set[str]:
    """The functions and classes of a module, and its classes' methods as ``Class.method``."""
    names: set[str] = set()
    for node in parse(path.read_text("utf-8")).body:
        if isinstance(node, FunctionDef | AsyncFunctionDef | ClassDef):
            names.add(node.name)
        if isinstance(node, ClassDef):
            methods = [item for item in node.body if isinstance(item, FunctionDef | AsyncFunctionDef)]
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


def test_the_needed_python_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in README


def test_its_commands_are_make_targets_and_commands_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL))

    assert {"demo", "test", "kafka"} <= set(re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE))
    for target in re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in re.findall(r"\.venv/bin/session-risk ([a-z -]+?)(?= &&|  |$)", blocks, re.MULTILINE):
        shown = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *command.split(), "--help"], capture_output=True, check=False
        )
        assert shown.returncode == 0, command


# --- The pictures ---


def test_the_picture_of_the_flow_is_current() -> None:
    assert pictures.FLOW.read_text("utf-8") == flow(), "run `make docs`"


def test_the_picture_of_the_demonstration_shows_every_attack_and_no_twin() -> None:
    shown = picture_lines()
    stories = played(find_directory(), readme_page.T)

    expected = {
        (name, expectation.level, expectation.action)
        for story in stories
        for name, expectation in story.expect.items()
        if expectation.action != "allow"
    }
    rows = {tuple(line.split()[1:4]) for line in shown if re.match(r"\d\d:\d\d:\d\d ", line)}
    assert {row for row in rows if row[2] != "allow"} >= expected
    twins = {name for story in stories if story.twin for name in story.expect}
    assert {line.split()[1] for line in shown if len(line.split()) > 1} & twins == set()
    last = f"✔ all {len(stories)} stories, {sum(story.twin for story in stories)} of them honest twins"
    assert shown[-1].startswith(last)


def picture_lines() -> list[str]:
    """The text of the picture of the demonstration, line by line."""
    rows = re.findall(r"<text[^>]*>(.*)</text>", pictures.DEMO.read_text("utf-8"))
    return [unescape(re.sub(r"</?tspan[^>]*>", "", row)) for row in rows]


# --- The first revocation ---


def test_the_events_of_the_first_revocation_are_valid() -> None:
    for number, (topic, key, event) in enumerate(run_path(str(readme_page.FIRST_REVOCATION))["events"]("x")):
        full = event | {"event_id": f"x-{number}", "occurred_at": readme_page.T}
        assert isinstance(EVENT_TYPES[event["type"]].model_validate(full), TOPICS[topic].model)
        assert key == event[TOPICS[topic].key or ""]


def test_the_revocation_that_is_shown_is_what_the_contract_says() -> None:
    shown = json.loads(readme_page.revocation().strip("`").removeprefix("json"))

    TOPICS["session-revocations"].model.model_validate(shown)
    assert shown["detections"] == ["device_rooted"]


@pytest.mark.kafka
def test_the_first_revocation_comes_from_a_worker_on_kafka(tmp_path: Path) -> None:
    broker = os.environ["SESSION_RISK_BROKER"]
    program = [str(Path(sys.executable).with_name("session-risk"))]
    environment = {**os.environ, "SESSION_RISK_APP_ID": f"readme-{os.getpid()}", "SESSION_RISK_METRICS_PORT": "0"}
    environment["SESSION_RISK_DATA_DIR"] = str(tmp_path)
    subprocess.run([*program, "topics", "create"], env=environment, check=True, capture_output=True)
    source = readme_page.FIRST_REVOCATION.read_text("utf-8").replace("127.0.0.1:9092", broker)
    (tmp_path / "first.py").write_text(source, "utf-8")

    with subprocess.Popen([*program, "worker"], env=environment, stderr=subprocess.DEVNULL) as worker:
        try:
            done = subprocess.run(
                [sys.executable, str(tmp_path / "first.py")], capture_output=True, text=True, timeout=90, check=True
            )
        finally:
            worker.terminate()

    example = json.loads(readme_page.revocation().strip("`").removeprefix("json"))
    received = json.loads(done.stdout)
    assert {name: received[name] for name in ("reason_admin", "detections", "score")} == {
        name: example[name] for name in ("reason_admin", "detections", "score")
    }
    assert list(received) == list(example)
