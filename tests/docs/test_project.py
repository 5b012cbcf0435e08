"""The project's form: what lies at the top, what the wheel holds, the list of long code, the pins."""

import os
import re
import tomllib
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.long_code import warnings
from tests.support.project_files import project_files

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("pipeline", "models", "schemas")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

TOP = {
    *(*PACKAGES, "tests", "deploy"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *("pyproject.toml", "constraints.txt", "Makefile", "conftest.py"),
}


def test_at_the_top_lies_only_what_belongs_there() -> None:
    names = {path.split("/")[0] for path in project_files() if not path.startswith(".")}

    assert names == TOP


def test_nothing_lies_about_that_is_too_large_to_read() -> None:
    large = [path for path in project_files() if (ROOT / path).stat().st_size > 1_000_000]

    assert large == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_imported_from_this_checkout(package: str) -> None:
    assert Path(import_module(package).__file__ or "").parent == ROOT / package


def test_the_wheel_holds_the_three_packages_the_scenarios_and_nothing_else(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])

    inside = {name for name in ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}

    code = {path for path in project_files() if path.split("/")[0] in PACKAGES}
    stories = {path for path in project_files() if path.startswith("tests/scenarios/")}
    assert inside == code | {path.replace("tests/scenarios", "pipeline/scenarios_data") for path in stories}


def test_the_command_is_where_the_project_says() -> None:
    module, _, function = PROJECT["scripts"]["session-risk"].partition(":")

    assert callable(getattr(import_module(module), function))


def test_long_files_and_long_functions_are_listed(tmp_path: Path) -> None:
    package = tmp_path / "pipeline"
    package.mkdir()
    long_function = ["def f():", '    """Say what', "", '    it does."""', *["    pass"] * 40]
    (package / "short.py").write_text("\n".join(["def f():", *["    pass"] * 39]))
    (package / "long.py").write_text("\n".join([*long_function, *[""] * 600]))

    assert list(warnings(tmp_path)) == [
        "pipeline/long.py: 643 lines, above 600: is it one idea?",
        "pipeline/long.py:1: f() has 41 lines, above 40",
    ]


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
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    suites = [
        "make test",
        "make test-slow",
        "make test-transmitter",
        "make test-kafka",
        "make test-attacks",
        "make test-faults",
    ]
    assert steps == ["make install", "make check", *suites]
    assert f"test-all: {' '.join(suite.removeprefix('make ') for suite in suites)} ##" in makefile


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
