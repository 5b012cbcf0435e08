"""Decisions that stay the same to the byte while the code around them changes."""

import json
from pathlib import Path

import pytest

from tests.support.golden_replay import digests

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "digests.json"


@pytest.mark.slow
def test_the_same_recordings_give_the_same_bytes_as_before(tmp_path: Path) -> None:
    """Compare two outputs with `session-risk diff` where this fails: its recordings are the same in every revision."""
    assert digests(tmp_path) == json.loads(GOLDEN.read_text())
