"""The house keeps its order: what lies at the top, what the wheel holds, how long things are, the pins."""

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("pipeline", "models", "schemas")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

TOP = {
    *(*PACKAGES, "tests", "deploy"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *("pyproject.toml", "constraints.txt", "Makefile", "conftest.py"),
}

LONGEST_FILE = 300
LONGEST_FUNCTION = 40


def test_at_the_top_lies_only_what_belongs_there() -> None:
    names = {path.split("/")[0] for path in _files() if not path.startswith(".")}

    assert names == TOP


def test_nothing_lies_about_that_is_too_large_to_read() -> None:
    large = [path for path in _files() if (ROOT / path).stat().st_size > 1_000_000]

    assert large == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_imported_from_this_checkout(package: str) -> None:
    assert Path(import_module(package).__file__ or "").parent == ROOT / package


def test_the_wheel_holds_the_three_packages_the_scenarios_and_nothing_else(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])

    inside = {name for name in ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}

    code = {path for path in _files() if path.split("/")[0] in PACKAGES}
    stories = {path for path in _files() if path.startswith("tests/scenarios/")}
    assert inside == code | {path.replace("tests/scenarios", "pipeline/scenarios_data") for path in stories}


def test_the_command_is_where_the_project_says() -> None:
    module, _, function = PROJECT["scripts"]["session-risk"].partition(":")

    assert callable(getattr(import_module(module), function))


def test_no_file_is_too_long_to_hold_in_the_head() -> None:
    lengths = {str(path): len(text.splitlines()) for path, text in _sources()}

    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_too_long_to_see_at_once_and_most_are_short() -> None:
    lengths = {name: lines for path, text in _sources() for name, lines in _functions(path, ast.parse(text))}

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}
    assert sorted(lengths.values())[len(lengths) // 2] < 15


def test_every_dependency_and_what_it_needs_is_pinned() -> None:
    pins = _pins()
    named = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]

    needed = {name for text in named for name in _closure(Requirement(text))}

    assert needed - set(pins) == set()
    assert all(Requirement(text).specifier.contains(pins[canonicalize_name(Requirement(text).name)]) for text in named)


def test_nothing_is_pinned_that_is_not_needed() -> None:
    to_build = {canonicalize_name(name) for name in ("hatchling", "editables")}
    named = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"], *to_build]

    needed = {name for text in named for name in _closure(Requirement(text))}

    assert set(_pins()) - needed == set()


def test_the_documents_name_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    for path in [*ROOT.glob("*.md"), ROOT / "deploy" / "README.md"]:
        named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert {item or other for item, other in named} <= targets, path.name


def test_every_make_target_is_listed_with_a_sentence() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None

    listed = re.findall(r"^([a-z-]+):.*## [A-Z]", makefile, re.MULTILINE)

    assert listed == phony[1].split()


def test_a_make_target_runs_a_command_that_exists() -> None:
    commands = import_module("pipeline.cli").main.commands

    run = re.findall(r"\$\(BIN\)/session-risk ([a-z]+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert run
    assert set(run) <= set(commands)


def test_ci_can_be_run_and_runs_every_check() -> None:
    script = ROOT / ".ci" / "run"

    assert os.access(script, os.X_OK)
    steps = re.findall(r"^step (.*)$", script.read_text(encoding="utf-8"), re.MULTILINE)
    tests = ["make test", "make test-transmitter", "make test-kafka", "make test-faults"]
    assert steps == ["make install", "make check", *tests]


def _files() -> list[str]:
    """Name every file that is part of the project: what git knows or would add."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [path for path in found if (ROOT / path).is_file()]


def _sources() -> Iterator[tuple[Path, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def _functions(path: Path, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Count the lines of each function, its docstring left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stmt = node.body[0] if ast.get_docstring(node) is not None else None
            number = 0 if stmt is None else (stmt.end_lineno or 0) - stmt.lineno + 1
            yield f"{path}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1 - number


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def _closure(requirement: Requirement, seen: frozenset[str] = frozenset()) -> set[str]:
    """Return the canonical names of *requirement* and of all it brings along on this Python."""
    name = canonicalize_name(requirement.name)
    if name in seen:
        return set()
    found: set[str] = {name}
    for text in distribution(name).requires or ():
        needed = Requirement(text)
        extras = requirement.extras or {""}
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            found |= _closure(needed, seen | {name})
    return found
