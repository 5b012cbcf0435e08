"""What the code knows of itself, in the README, in the runbook, in DETECTIONS.md and in CAPACITY.md.

``python -m pipeline.offline.docs.generate`` writes it, tests hold it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.detections import ATTACK_VERSION, DETECTIONS, Detection
from pipeline.kafka import acls
from pipeline.metrics import worker
from pipeline.offline.docs import capacity_page, detections_page, retention_page, settings_page
from pipeline.transmitter.metrics import METRICS as TRANSMITTER_METRICS

DETECTIONS_PAGE: Final = Path(__file__).parents[2] / "detections" / "DETECTIONS.md"
"""The page of all detections."""


def rules() -> str:
    """The table of detections."""
    head = ("detection", "holds when", "alone leads to", "step-up clears it", f"ATT&CK {ATTACK_VERSION}")
    return f"| {' | '.join(head)} |\n|---|---|---|---|---|\n" + "\n".join(
        f"| `{rule.id}` | {rule.text} | {_alone(rule)} | {'yes' if rule.cleared_by_step_up else 'no'} "
        f"| {', '.join(rule.attack)} |"
        for rule in DETECTIONS
    )


def _alone(rule: Detection) -> str:
    level, value = detections_page.alone(rule)
    return f"{level} ({value:g})"


PARTS: Final[dict[str, Callable[[], str]]] = {"rules": rules, "settings": settings_page.markdown}
"""Marked parts of the README and what writes them."""

RUNBOOK_PARTS: Final[dict[str, Callable[[], str]]] = {
    "roles": acls.markdown,
    "kept": retention_page.markdown,
    "metrics": worker.markdown,
    "transmitter-metrics": partial(worker.markdown, TRANSMITTER_METRICS.values()),
}
"""Marked parts of deploy/README.md and what writes them."""


def with_parts(text: str, parts: Mapping[str, Callable[[], str]] = PARTS) -> str:
    """*text* with every marked part written anew.

    Raises:
        ValueError: a part's marks are missing.
    """
    for name, write in parts.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not mark.search(text):
            raise ValueError(f"the page lacks the marks <!-- {name} --> and <!-- /{name} -->")
        body = write().strip("\n")
        text = mark.sub(lambda found, body=body: f"{found[1]}{body}\n{found[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    top = Path(__file__).parents[3]
    for page, parts in (
        (top / "README.md", PARTS),
        (top / "deploy" / "README.md", RUNBOOK_PARTS),
        (capacity_page.CAPACITY, capacity_page.PARTS),
    ):
        page.write_text(with_parts(page.read_text("utf-8"), parts), "utf-8")
    DETECTIONS_PAGE.write_text(detections_page.markdown(), "utf-8")
