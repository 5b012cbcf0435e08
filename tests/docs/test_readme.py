"""The README tells the truth: generated parts are current, tables complete, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.features.table import FEATURES
from pipeline.detections import DETECTIONS
from pipeline.offline.docs.generate import PARTS, with_parts
from schemas.topics import TOPICS

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_the_generated_parts_are_current() -> None:
    assert with_parts(README) == README, "run `make docs`"


@pytest.mark.parametrize("topic", TOPICS.values(), ids=list(TOPICS))
def test_every_topic_has_its_row(topic: object) -> None:
    name = getattr(topic, "name", "")

    assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE)


def test_every_detection_has_its_row() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", README, re.MULTILINE)

    assert [rule.id for rule in DETECTIONS] == [row for row in rows if row in {rule.id for rule in DETECTIONS}]


def test_the_number_of_features_it_names_is_the_number_there_is() -> None:
    assert f"over {len(FEATURES)} features" in " ".join(README.split())


def test_its_links_lead_to_files() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)

    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_a_missing_mark_is_said() -> None:
    with pytest.raises(ValueError, match=f"<!-- {next(iter(PARTS))} -->"):
        with_parts("no marks here")
