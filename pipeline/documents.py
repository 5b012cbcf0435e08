"""What the code knows of itself, in the README, in DETECTIONS.md and in deploy/CAPACITY.md.

``python -m pipeline.documents`` writes it, tests hold it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipeline import capacity_page, catalogue, settings
from pipeline.rules import ATTACK_VERSION, RULES, Rule

DETECTIONS: Final = Path(__file__).parent / "DETECTIONS.md"
"""The page of all detections."""


def rules() -> str:
    """The table of detections."""
    head = ("detection", "holds when", "alone leads to", "step-up clears it", f"ATT&CK {ATTACK_VERSION}")
    return f"| {' | '.join(head)} |\n|---|---|---|---|---|\n" + "\n".join(
        f"| `{rule.id}` | {rule.text} | {_alone(rule)} | {'yes' if rule.cleared_by_step_up else 'no'} "
        f"| {', '.join(rule.attack)} |"
        for rule in RULES
    )


def _alone(rule: Rule) -> str:
    level, value = catalogue.alone(rule)
    return f"{level} ({value:g})"


PARTS: Final[dict[str, Callable[[], str]]] = {"rules": rules, "settings": settings.markdown}
"""Marked parts of the README and what writes them."""


def with_parts(text: str) -> str:
    """*text* with every marked part written anew.

    Raises:
        ValueError: a part's marks are missing.
    """
    for name, write in PARTS.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not mark.search(text):
            raise ValueError(f"README.md lacks the marks <!-- {name} --> and <!-- /{name} -->")
        body = write().strip("\n")
        text = mark.sub(lambda found, body=body: f"{found[1]}{body}\n{found[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    page = Path(__file__).parent.parent / "README.md"
    page.write_text(with_parts(page.read_text("utf-8")), "utf-8")
    DETECTIONS.write_text(catalogue.markdown(), "utf-8")
    capacity_page.CAPACITY.write_text(capacity_page.markdown(), "utf-8")
