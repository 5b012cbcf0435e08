"""What a model found odd, in words and units of people: "412 records in 10 min, usually ≤ 30"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.detector import Moved
from models.features import FEATURES

BETWEEN: Final = "; "
"""Between the features of one reason."""
_FEATURE: Final = {feature.name: feature for feature in FEATURES}
_WINDOWS: Final = {"1m": " in 1 min", "10m": " in 10 min", "1h": " in 1 h"}
"""By the end of a feature's name."""
_BYTES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_PURE: Final = ("0 or 1", "0 to 1")
"""Units that only tell the range of a number without one."""


def number(value: float) -> str:
    """A number as people write it: three figures, all of them before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def amount(feature: str, value: float) -> str:
    """*value* of *feature* with its unit and window.

    >>> amount("records_10m", 412.0)
    '412 records in 10 min'
    >>> amount("bytes_out_1h", 5.21e9)
    '5.21 GB in 1 h'
    """
    unit = _FEATURE[feature].unit
    window = _WINDOWS.get(feature.rpartition("_")[2], "")
    if unit == "bytes":
        size, unit = next(((size, name) for size, name in _BYTES if abs(value) >= size), (1.0, unit))
        value /= size
    return f"{number(value)}{'' if unit in _PURE else f' {unit}'}{window}"


def bound(moved: Moved) -> str:
    """What is usual: the side on which the value lies outside; between both, the median.

    >>> bound(Moved("records_10m", 412.0, 0.0, 4.0, 30.0)), bound(Moved("novelty", 0.5, 0.0, 0.25, 1.0))
    ('≤ 30', 'about 0.25')
    """
    if moved.observed > moved.upper:
        return f"≤ {_plain(moved.feature, moved.upper)}"
    if moved.observed < moved.lower:
        return f"≥ {_plain(moved.feature, moved.lower)}"
    return f"about {_plain(moved.feature, moved.usual)}"


def piece(moved: Moved) -> str:
    """One feature as a part of a sentence.

    >>> piece(Moved("denied_10m", 12.0, 0.0, 0.0, 1.0))
    '12 calls in 10 min, usually ≤ 1 (calls answered with 401 or 403)'
    """
    what = _FEATURE[moved.feature].text.partition(",")[0]
    return f"{amount(moved.feature, moved.observed)}, usually {bound(moved)} ({what})"


def apart(told: str) -> tuple[str, str, str]:
    """A :func:`piece` taken apart again: what was seen, what is usual, and of what.

    >>> apart("12 calls in 10 min, usually ≤ 1 (calls answered with 401 or 403)")
    ('12 calls in 10 min', '≤ 1', 'calls answered with 401 or 403')
    """
    seen, _, rest = told.partition(", usually ")
    usual, _, what = rest.partition(" (")
    return seen, usual, what.removesuffix(")")


def together(head: str, parts: Sequence[str], most: int) -> str:
    """*head* and as many of the *parts*, whole, as fit into *most* characters."""
    told = head
    for part in parts:
        longer = f"{told}{BETWEEN if told != head else ''}{part}"
        if len(longer) > most:
            break
        told = longer
    return told


def _plain(feature: str, value: float) -> str:
    """As :func:`amount`, without what the amount beside it tells already."""
    if _FEATURE[feature].unit != "bytes":
        return number(value)
    return amount(feature, value).partition(" in ")[0]
