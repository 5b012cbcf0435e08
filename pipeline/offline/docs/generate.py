"""Generated documentation: which part of which page is written by which function.

A generated part stands between the marks ``<!-- name -->`` and ``<!-- /name -->``. ``python -m
pipeline.offline.docs.generate`` (`make docs`) writes all parts and the picture of the flow; tests compare the pages
with what would be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from models.features.table import FEATURES
from pipeline.detections import DETECTIONS
from pipeline.kafka import acls
from pipeline.metrics import worker
from pipeline.offline.docs import (
    capacity_page,
    detections_page,
    pictures,
    readme_page,
    retention_page,
    settings_page,
)
from pipeline.transmitter.metrics import METRICS as TRANSMITTER_METRICS

TOP: Final = Path(__file__).parents[3]
DETECTIONS_PAGE: Final = TOP / "pipeline" / "detections" / "DETECTIONS.md"
"""The page of all detections, generated as a whole."""

Parts = Mapping[str, Callable[[], str]]

RUNBOOK_PARTS: Final[Parts] = {
    "roles": acls.markdown,
    "kept": retention_page.markdown,
    "metrics": worker.markdown,
    "transmitter-metrics": partial(worker.markdown, TRANSMITTER_METRICS.values()),
}
"""Generated parts of deploy/README.md."""

PAGES: Final[Mapping[Path, Parts]] = {
    TOP / "README.md": {
        "revocation": readme_page.revocation,
        "topics": readme_page.topics,
        "worlds": readme_page.worlds,
        "quality": readme_page.quality,
    },
    TOP / "deploy" / "README.md": RUNBOOK_PARTS,
    TOP / "deploy" / "SETTINGS.md": {"settings": settings_page.markdown},
    TOP / "models" / "README.md": {"worlds": readme_page.worlds, "quality": readme_page.quality},
    TOP / "models" / "EVALUATION.md": {"worlds": readme_page.worlds_in_full},
    TOP / "pipeline" / "decisions" / "README.md": {"thresholds": readme_page.thresholds},
    TOP / "schemas" / "README.md": {"all-topics": readme_page.all_topics},
    capacity_page.CAPACITY: capacity_page.PARTS,
}
"""Every page with generated parts."""


def flow() -> str:
    """The picture of the README."""
    return pictures.flow(features=len(FEATURES), detections=len(DETECTIONS))


def with_parts(text: str, parts: Parts) -> str:
    """Return *text* with every marked part replaced.

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
    for page, parts in PAGES.items():
        page.write_text(with_parts(page.read_text("utf-8"), parts), "utf-8")
    DETECTIONS_PAGE.write_text(detections_page.markdown(), "utf-8")
    pictures.FLOW.write_text(flow(), "utf-8")
