"""Times as they are written on the command line."""

from __future__ import annotations

import pytest

from pipeline.times import moment_ms

NOW = 1_772_409_600_000
"""2026-03-02T00:00:00Z."""


@pytest.mark.parametrize(
    ("text", "ahead", "ms"),
    [
        ("90s", False, NOW - 90_000),
        ("90m", True, NOW + 5_400_000),
        (" 2d ", False, NOW - 172_800_000),
        ("2026-03-02", False, NOW),
        ("2026-03-02T00:00:01", True, NOW + 1_000),
        ("2026-03-02T01:00:00+01:00", True, NOW),
        ("999999d", False, 0),
    ],
)
def test_a_span_is_relative_to_now_and_a_time_is_utc_unless_it_has_an_offset(text: str, ahead: bool, ms: int) -> None:
    assert moment_ms(text, NOW, ahead=ahead) == ms


@pytest.mark.parametrize("text", ["", "soon", "5", "5w", "-3h", "1.5h", "2026-13-01"])
def test_an_invalid_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write a span"):
        moment_ms(text, NOW, ahead=True)


def test_nothing_was_before_1970() -> None:
    with pytest.raises(ValueError, match="before 1970"):
        moment_ms("1969-12-31", NOW, ahead=False)
