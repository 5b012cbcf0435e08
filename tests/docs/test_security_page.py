"""SECURITY.md speaks of what there is: its links lead somewhere, its settings and commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.cli import COMMANDS
from pipeline.offline.docs.settings_page import table

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")


def _anchors(text: str) -> set[str]:
    """The anchors of the headings in *text*, as they are made of them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_its_links_lead_to_files_and_headings() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGE)

    assert links
    for file, anchor in links:
        target = ROOT / (file or "SECURITY.md")
        assert target.exists(), file
        assert not anchor or anchor in _anchors(target.read_text("utf-8")), (file, anchor)


def test_the_settings_and_commands_that_it_names_exist() -> None:
    settings = set(re.findall(r"SESSION_RISK_[A-Z_]+", PAGE))
    commands = set(re.findall(r"`session-risk ([a-z]+)", PAGE))

    assert settings
    assert commands
    assert settings <= {row.env for row in table()}
    assert commands <= set(COMMANDS)


def test_every_row_of_the_threat_model_says_who_what_what_stops_it_and_what_remains() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]

    assert len(rows) > 15
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {6}
