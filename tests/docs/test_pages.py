"""Every page: generated parts are current; links, files, modules, settings and commands that it names exist."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.offline.docs.generate import PAGES, with_parts
from pipeline.offline.docs.settings_page import table
from schemas.topics import TOPICS
from tests.support.project_files import project_files

ROOT = Path(__file__).parent.parent.parent
PAGE_NAMES = [path for path in project_files() if path.endswith(".md") and not path.startswith("tests/data/")]
TEXTS = {path: (ROOT / path).read_text("utf-8") for path in PAGE_NAMES}
HISTORY = "CHANGELOG.md"
"""It may name what was."""


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_generated_parts_are_current(page: Path) -> None:
    text = page.read_text("utf-8")

    assert with_parts(text, PAGES[page]) == text, "run `make docs`"


def test_a_missing_mark_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="<!-- topics -->"):
        with_parts("no marks here", {"topics": str})


def _anchors(text: str) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGE_NAMES)
def test_its_links_lead_to_files_and_headings(page: str) -> None:
    broken = []
    for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)", TEXTS[page]):
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or (anchor and anchor not in _anchors(path.read_text("utf-8"))):
            broken.append(f"{target}#{anchor}")

    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGE_NAMES if page != HISTORY])
def test_the_files_that_it_names_exist(page: str) -> None:
    folders = (ROOT, (ROOT / page).parent)
    named = re.findall(
        r"[`( ]((?:\w[\w.-]*/)*[\w-]+\.(?:py|toml|yml|yaml|sh|xml))(?=[`) :,;.]|$)", TEXTS[page], re.MULTILINE
    )

    assert [name for name in named if not any((folder / name).exists() for folder in folders) and "/" in name] == []


@pytest.mark.parametrize("page", PAGE_NAMES)
def test_the_modules_and_what_in_them_it_names_exist(page: str) -> None:
    named = re.findall(r"`((?:pipeline|models|schemas|tests)(?:\.\w+)+)", TEXTS[page])
    named += re.findall(r"python -m ((?:pipeline|models|schemas|tests)(?:\.\w+)+)", TEXTS[page])

    assert [name for name in named if not _exists(name)] == []


def _exists(dotted: str) -> bool:
    """Whether *dotted* is a module, or something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.with_suffix(".py").exists() or path.is_dir():
            thing = import_module(".".join(parts[:length])) if length < len(parts) else None
            for part in parts[length:]:
                thing = getattr(thing, part, None)
                if thing is None:
                    return False
            return True
    return False


@pytest.mark.parametrize("page", PAGE_NAMES)
def test_the_settings_that_it_names_exist(page: str) -> None:
    known = {row.env for row in table()}
    named = set(re.findall(r"SESSION_RISK_[A-Z_]*[A-Z]", TEXTS[page]))

    assert {
        name for name in named if name not in known and not any(row.startswith(name + "_") for row in known)
    } == set()


@pytest.mark.parametrize("page", PAGE_NAMES)
def test_the_commands_that_it_shows_exist(page: str) -> None:
    code = "\n".join(re.findall(r"^```\n(.*?)^```", TEXTS[page], re.MULTILINE | re.DOTALL))
    shown = re.findall(r"session-risk ((?:[a-z]+(?:-[a-z]+)* ?)+)", code)
    shown += re.findall(r"`session-risk ((?:[a-z]+(?:-[a-z]+)* ?)+)", TEXTS[page]) if page != HISTORY else []

    for words in shown:
        command: Any = main
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"session-risk {words}"
            command = command.commands[word]


@pytest.mark.parametrize("page", PAGE_NAMES)
def test_the_make_targets_that_it_names_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", TEXTS[page], re.MULTILINE)

    assert {first or second for first, second in named} <= targets


def test_every_topic_is_on_the_page_of_the_contract() -> None:
    rows = re.findall(r"^\| \[`([a-z-]+)`\]", TEXTS["schemas/README.md"], re.MULTILINE)

    assert rows == list(TOPICS)
