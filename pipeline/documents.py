"""Parts of the README that the code knows: ``python -m pipeline.documents`` writes, a test holds them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipeline import settings
from pipeline.policy import read_policy
from pipeline.risk import next_level, score
from pipeline.rules import ATTACK_VERSION, BIT, RULES


def rules() -> str:
    """The table of detections."""
    head = ("detection", "holds when", "alone leads to", "step-up clears it", f"ATT&CK {ATTACK_VERSION}")
    return f"| {' | '.join(head)} |\n|---|---|---|---|---|\n" + "\n".join(
        f"| `{rule.id}` | {rule.text} | {alone(rule.id)} | {'yes' if rule.cleared_by_step_up else 'no'} "
        f"| {', '.join(rule.attack)} |"
        for rule in RULES
    )


def alone(rule_id: str) -> str:
    """The level that one detection leads to alone under the default policy, with its score."""
    policy = read_policy(None)
    value = score(policy.prior + policy.weights()[BIT[rule_id]])
    return f"{next_level('LOW', value, 0.0, policy.levels)} ({value:g})"


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
