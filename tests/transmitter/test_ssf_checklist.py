"""The table of conformance in the transmitter's README and the tests say the same, both ways."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from pipeline.offline.docs.settings_page import table

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "pipeline" / "transmitter" / "README.md"

LINES = {"D": 6, "A": 6, "S": 11, "T": 10, "P": 7, "Q": 7, "K": 5}
"""Lines of each part of the list: discovery, authorization, streams, tokens, push, poll, pipeline."""


def _rows() -> list[tuple[str, str]]:
    """Id and test file of every row, in the table's order."""
    (table,) = re.findall(r"<!-- conformance -->\n(.*)<!-- /conformance -->", PAGE.read_text("utf-8"), re.DOTALL)
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    found = []
    for row in rows:
        assert len(row) == 4, row
        assert row[1].strip() in {"MUST", "MUST, suite", "suite", "ours"}, row
        (link,) = re.findall(r"\]\((.*)\)", row[3])
        found.append((row[0].strip(), (PAGE.parent / link).resolve().name))
    return found


def _tests() -> set[tuple[str, str]]:
    """Id and file of every test with an id in its name."""
    return {
        (found[1], path.name)
        for path in (ROOT / "tests" / "transmitter").glob("test_ssf_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and (found := re.match(r"test_([A-Z]\d+)_", node.name))
    }


def test_every_line_of_the_list_has_its_row_once_and_in_order() -> None:
    wanted = [f"{part}{number}" for part, count in LINES.items() for number in range(1, count + 1)]

    assert [name for name, _ in _rows()] == wanted


def test_every_row_names_the_file_that_has_its_test_and_every_test_has_its_row() -> None:
    assert set(_rows()) == _tests()


def test_no_test_with_an_id_is_left_out_or_expected_to_fail() -> None:
    marks = Counter(
        found
        for path in (ROOT / "tests" / "transmitter").glob("test_ssf_*.py")
        for found in re.findall(r"@pytest\.mark\.(skip|skipif|xfail)\b", path.read_text("utf-8"))
    )

    assert marks == {}


def test_its_links_lead_to_files() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", PAGE.read_text("utf-8"))

    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


def test_it_names_only_settings_that_exist() -> None:
    named = set(re.findall(r"SESSION_RISK_[A-Z_]+", PAGE.read_text("utf-8")))

    assert named
    assert named <= {row.env for row in table()}
